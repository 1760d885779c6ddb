/* Tasks: what a plan is made of. Each is one library call or kernel, bound to its memory once and
 * for all. */
#ifndef CAIRN_CUDA_TASKS_H
#define CAIRN_CUDA_TASKS_H

#include "values.h"

typedef struct cuda_task {
    char name[64]; /* "features.0 forward" */
    double flops;
    cairn_status (*run)(const cuda_plan *plan, const struct cuda_task *task);
    const cuda_stage *stage;
    activation in, out;
    const void *other; /* a second input */
    bool adds;         /* to what is in `out` */
} cuda_task;

/* Appends a task, named for the layer (NULL: the net); NULL when memory is short. */
cuda_task *cuda_plan_add(cuda_plan *plan, const cuda_stage *stage, const char *what,
                         cairn_status (*run)(const cuda_plan *, const cuda_task *),
                         const activation *in, const activation *out);

#endif
