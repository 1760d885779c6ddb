/* Max-pooling that no convolution took in: by our kernels, or by cuDNN where that proved faster.
 *
 * Which of equals wins is part of a net's definition (the first), and cuDNN leaves it open; so its
 * way is open only to a training that need not be deterministic. Forward the two give the same, so
 * evaluation, which has nothing to keep, is always ours. */
#include "plan.h"

/* By cuDNN --------------------------------------------------------------------------------------*/

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

cudnnStatus_t pooling_forward(const cuda_executor *executor, const cudnn_pooling *pooling,
                              const void *x, void *y) {
    return cudnnPoolingForward(executor->cudnn, pooling->window, &one, pooling->x, x, &zero,
                               pooling->y, y);
}

cudnnStatus_t pooling_backward(const cuda_executor *executor, const cudnn_pooling *pooling,
                               const void *x, const void *y, const void *dy, void *dx) {
    return cudnnPoolingBackward(executor->cudnn, pooling->window, &one, pooling->y, y, pooling->y,
                                dy, pooling->x, x, &zero, pooling->x, dx);
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

static cairn_status run_cudnn(const cuda_plan *plan, const cuda_task *task) {
    return cudnn_check(
        pooling_forward(plan->executor, &task->stage->pooling, task->in.data, task->out.data),
        task->name);
}

static cairn_status run_cudnn_backward(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    return cudnn_check(pooling_backward(plan->executor, &stage->pooling, stage->src.data,
                                        stage->dst.data, task->in.data, task->out.data),
                       task->name);
}

/* By ourselves ----------------------------------------------------------------------------------*/

static cuda_pool window_of(const cairn_op *op) {
    return (cuda_pool){op->kernel, op->stride, 0};
}

static cairn_status run_ours(const cuda_plan *plan, const cuda_task *task) {
    kernel_pool(plan->executor->stream, window_of(task->stage->layer), task->in.shape,
                task->out.shape, task->in.data, NULL, task->out.data, task->stage->chosen);
    return CAIRN_OK;
}

static cairn_status run_our_backward(const cuda_plan *plan, const cuda_task *task) {
    kernel_pool_backward(plan->executor->stream, window_of(task->stage->layer), task->out.shape,
                         task->in.shape, task->in.data, task->stage->chosen, task->out.data);
    return CAIRN_OK;
}

/* The layer -------------------------------------------------------------------------------------*/

static bool is_cudnns(const cuda_plan *plan, const cuda_stage *stage) {
    return plan->graph.training && contest_lost(plan->executor, stage->ordinal);
}

static cairn_status forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    const bool theirs = is_cudnns(plan, stage);
    cairn_status status = CAIRN_OK;
    (void)taken;
    stage->dst = cuda_plan_output(plan, stage->layer->out);
    if (theirs)
        status = pooling_create(&stage->pooling, stage->layer, stage->src.shape, stage->dst.shape);
    else
        stage->chosen =
            cuda_plan_keep(plan, (size_t)plan->count * tensor_features(stage->dst.shape));
    if (status)
        return status;
    return cuda_plan_add(plan, stage, "forward", theirs ? run_cudnn : run_ours, &stage->src,
                         &stage->dst)
               ? CAIRN_OK
               : CAIRN_FAILED;
}

static cairn_status backward(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    activation made = cuda_plan_gradient(plan, stage->src.shape);
    if (!cuda_plan_add(plan, stage, "backward",
                       is_cudnns(plan, stage) ? run_cudnn_backward : run_our_backward, given,
                       &made))
        return CAIRN_FAILED;
    return cuda_plan_give(plan, stage, stage->layer->input, &made);
}

static void release(cuda_stage *stage) {
    pooling_release(&stage->pooling);
}

const layer_compiler cuda_compile_maxpool = {forward, backward, release};
