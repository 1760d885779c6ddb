/* The cuda backend's executor: what all its plans share. */
#ifndef CAIRN_CUDA_EXECUTOR_H
#define CAIRN_CUDA_EXECUTOR_H

#include "autotune.h"
#include "kernels.h"
#include "parameters.h"
#include "plan_memory.h"
#include "ring.h"

#include "cairn/executor.h"

#include <cublasLt.h>
#include <cudnn.h>

typedef struct {
    uint8_t *images, *labels;
} device_split;

struct cuda_executor {
    cairn_executor base;
    cudaStream_t stream;
    cudnnHandle_t cudnn;
    cublasLtHandle_t cublas;
    cuda_type type;
    cuda_layout layout;
    int pad; /* channels are padded to a multiple of it */
    cuda_parameter parameter[CAIRN_NET_PARAMETERS_MAX];
    const cairn_parameter *group[CUDA_GROUPS_MAX]; /* the first of each */
    int group_count;
    /* Elements of all; of those that are trained, and of those with a bf16 gradient, which come
     * first, in this order. */
    size_t total, trained_total, bf16_total;
    char *memory; /* one block: the buffers from here to `augmenter` lie in it */
    size_t memory_bytes;
    float *tensors[CAIRN_TENSOR_KINDS]; /* NULL: none is kept; the gradient: a micro-batch's */
    float *sum;             /* [total]: the step's, where micro-batches accumulate; or NULL */
    void *bf16_gradient;    /* [bf16_total] */
    void *shadow;           /* bf16 [total]: the parameters, for bf16 */
    uint8_t *group_numbers; /* of cuda_gradient, or NULL */
    void *clip_scratch;
    cuda_state *state;
    float *table; /* [4][256], of cuda_gather */
    cairn_augmenter *augmenter;
    device_split splits[2];
    cuda_block *blocks;                      /* the newest first */
    cuda_plan *plans;                        /* the same */
    cuda_timings timings[CAIRN_NET_OPS_MAX]; /* of pooling; 0: not measured */
    int infer_batch; /* samples of a large evaluation's batch; 0: not chosen yet */
    slot_ring ring;
};

#endif
