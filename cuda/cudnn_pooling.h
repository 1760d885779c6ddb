/* Max-pooling by cuDNN, between tensors of one type and layout. */
#ifndef CAIRN_CUDA_CUDNN_POOLING_H
#define CAIRN_CUDA_CUDNN_POOLING_H

#include "kernels.h"

#include "cairn/net.h"

#include <cudnn.h>

typedef struct {
    cudnnTensorDescriptor_t x, y;
    cudnnPoolingDescriptor_t window;
} cudnn_pooling;

cairn_status pooling_create(cudnn_pooling *made, const cairn_op *op, cuda_tensor in,
                            cuda_tensor out);
cudnnStatus_t pooling_forward(cudnnHandle_t cudnn, const cudnn_pooling *pooling, const void *x,
                              void *y);
cudnnStatus_t pooling_backward(cudnnHandle_t cudnn, const cudnn_pooling *pooling, const void *x,
                               const void *y, const void *dy, void *dx);
void pooling_release(cudnn_pooling *pooling);

#endif
