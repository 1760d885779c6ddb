/* Where parameters lie on the device, and their way there and back. */
#ifndef CAIRN_CUDA_PARAMETERS_H
#define CAIRN_CUDA_PARAMETERS_H

#include "cairn/executor.h"

typedef struct cuda_executor cuda_executor;

/* A parameter in memory: [out][in] or [out][h,w][in], as values.h's head says. */
typedef struct {
    size_t offset, count; /* elements, in each of the executor's buffers */
    int out, c, h, w;     /* true sizes */
    int pitch;            /* of c */
    bool bf16_gradient;
    int group; /* its number in the executor's */
} cuda_parameter;

/* The parameters' places; sets executor->parameter and the totals. */
void parameters_lay_out(cuda_executor *executor);
/* Wait. Between PyTorch's layout on the host and ours on the device. */
cairn_status parameter_get(cuda_executor *executor, cairn_tensor_kind kind, int ordinal,
                           float *values);
cairn_status parameter_set(cuda_executor *executor, cairn_tensor_kind kind, int ordinal,
                           const float *values);

#endif
