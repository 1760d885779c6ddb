/* The cpu backend's executor: what all its plans share. */
#ifndef CAIRN_BACKEND_CPU_EXECUTOR_H
#define CAIRN_BACKEND_CPU_EXECUTOR_H

#include "../timeline.h"
#include "update.h"

#include "cairn/arena.h"
#include "cairn/executor.h"

typedef struct cpu_plan cpu_plan;

/* Buffers that all plans share, since only one runs at a time. */
enum { BLOCKS_MAX = 4096 };
typedef struct {
    void *data;
    size_t bytes;
    const cpu_plan *taken; /* by the plan that was compiled last of those that have it */
} block;

typedef struct cpu_executor cpu_executor;
struct cpu_executor {
    cairn_executor base;
    cairn_arena *arena;
    int threads;
    /* By cairn_tensor_kind, all parameters in a row; NULL where none is kept. A micro-batch's
     * gradient; the step's is `sum` where these accumulate, else the same. */
    float *tensors[CAIRN_TENSOR_KINDS], *sum;
    size_t offset[CAIRN_NET_PARAMETERS_MAX]; /* of a parameter in each of them */
    size_t total;                            /* floats in each */
    update_span spans[CAIRN_NET_PARAMETERS_MAX];
    int span_count;
    cairn_split splits[2]; /* the caller's, by cairn_split_id */
    cairn_stats stats;
    cpu_plan *plans;
    const cpu_plan *refreshed; /* whose layouts of the weights the blocks hold; NULL: none */
    block blocks[BLOCKS_MAX];
    int block_count;
    uint64_t weights_version;   /* grows whenever parameters change */
    uint32_t step, micro_batch; /* of the training step under way, and in it */
    bool training;
    cairn_timeline timeline;
};

#endif
