/* The device memory that plans live in. */
#ifndef CAIRN_CUDA_PLAN_MEMORY_H
#define CAIRN_CUDA_PLAN_MEMORY_H

#include "cairn/status.h"

#include <stddef.h>

typedef struct cuda_executor cuda_executor;
typedef struct cuda_plan cuda_plan;

/* A block that all plans may share, since only one runs at a time. Earlier, smaller ones stay for
 * the plans that have them. */
typedef struct cuda_block {
    struct cuda_block *next;
    char *data, *workspace;
    size_t bytes, workspace_bytes;
} cuda_block;

/* Makes the executor's newest block large enough for a plan that was measured. */
cairn_status cuda_plan_find_memory(cuda_executor *executor, const cuda_plan *plan);

#endif
