/* Max-pooling through cuDNN: descriptors, and the two passes. */
#include "cudnn_pooling.h"

#include "probe.h"

static cairn_status describe(cudnnTensorDescriptor_t *made, cuda_tensor shape) {
    cudnnTensorFormat_t format = shape.layout == CUDA_NHWC ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
    cudnnDataType_t type = shape.type == CUDA_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    TRY_CUDNN(cudnnCreateTensorDescriptor(made));
    TRY_CUDNN(cudnnSetTensor4dDescriptor(*made, format, type, shape.count, shape.pitch, shape.h,
                                         shape.w));
    return CAIRN_OK;
}

cairn_status pooling_create(cudnn_pooling *made, const cairn_op *op, cuda_tensor in,
                            cuda_tensor out) {
    cairn_status status = describe(&made->x, in);
    if (!status)
        status = describe(&made->y, out);
    if (status)
        return status;
    TRY_CUDNN(cudnnCreatePoolingDescriptor(&made->window));
    TRY_CUDNN(cudnnSetPooling2dDescriptor(made->window, CUDNN_POOLING_MAX, CUDNN_PROPAGATE_NAN,
                                          op->kernel, op->kernel, 0, 0, op->stride, op->stride));
    return CAIRN_OK;
}

static const float one = 1, zero = 0;

cudnnStatus_t pooling_forward(cudnnHandle_t cudnn, const cudnn_pooling *pooling, const void *x,
                              void *y) {
    return cudnnPoolingForward(cudnn, pooling->window, &one, pooling->x, x, &zero, pooling->y, y);
}

cudnnStatus_t pooling_backward(cudnnHandle_t cudnn, const cudnn_pooling *pooling, const void *x,
                               const void *y, const void *dy, void *dx) {
    return cudnnPoolingBackward(cudnn, pooling->window, &one, pooling->y, y, pooling->y, dy,
                                pooling->x, x, &zero, pooling->x, dx);
}

void pooling_release(cudnn_pooling *pooling) {
    if (pooling->window)
        cudnnDestroyPoolingDescriptor(pooling->window);
    if (pooling->y)
        cudnnDestroyTensorDescriptor(pooling->y);
    if (pooling->x)
        cudnnDestroyTensorDescriptor(pooling->x);
    *pooling = (cudnn_pooling){0};
}
