/* Running a plan: task by task, or as one CUDA graph. */
#ifndef CAIRN_CUDA_CAPTURE_H
#define CAIRN_CUDA_CAPTURE_H

#include "cairn/executor.h"

#include <cuda_runtime_api.h>

typedef struct cuda_plan cuda_plan;

/* Enqueues the plan's tasks as one graph, over samples of a split; the slot is filled. */
cairn_status cuda_plan_launch(cuda_plan *plan, cairn_split_id source);
/* The same task by task, for profiling: an event is recorded before the first and after each. */
cairn_status cuda_plan_enqueue(cuda_plan *plan, cairn_split_id source, const cudaEvent_t *events);
/* Forgets the graphs, which hold the splits' addresses. */
void cuda_plan_drop_graphs(cuda_plan *plan);

#endif
