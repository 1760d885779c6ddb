/* Autotuning: our pooling and dropout beside cuDNN's, by time. */
#ifndef CAIRN_CUDA_AUTOTUNE_H
#define CAIRN_CUDA_AUTOTUNE_H

#include "cairn/executor.h"

typedef struct cuda_executor cuda_executor;

/* Seconds that an op takes forward and backward, by our kernels and by cuDNN; 0: not measured, or
 * not to be had. */
typedef struct {
    double ours, cudnn;
} cuda_timings;

/* Times our kernels and cuDNN's in turn on each pooling of the net, and so chooses for the plans to
 * come, where the run need not be deterministic. */
cairn_status autotune_choose(cuda_executor *executor);
/* Whether the training's pooling `ordinal` is cuDNN's. */
bool autotune_prefers_cudnn(const cuda_executor *executor, int ordinal);

/* Times each pooling and dropout of the net: fills pairs of rows, ours first, or ours alone where
 * cuDNN cannot do it. */
cairn_status autotune_list(cuda_executor *executor, cairn_timing *rows, int capacity, int *count);

#endif
