/* Compiling a net into a plan: first without memory, to learn how much is wanted, then once more
 * with it. */
#ifndef CAIRN_CUDA_COMPILE_H
#define CAIRN_CUDA_COMPILE_H

#include "cuda_plan.h"

/* A plan that has no memory yet, of which it wants cuda_plan_total and workspace_bytes. */
cairn_status cuda_plan_create(cuda_plan **made, cuda_executor *executor, int count,
                              cairn_plan_purpose purpose);
void cuda_plan_destroy(cuda_plan *plan); /* NULL is allowed */

/* Compiles it anew in that block, after which it can run. */
cairn_status cuda_plan_compile_in(cuda_plan *plan, const cuda_block *block);

/* The bytes that such a plan would want, workspace and all. */
cairn_status cuda_plan_measure(cuda_executor *executor, int count, cairn_plan_purpose purpose,
                               size_t *bytes);

#endif
