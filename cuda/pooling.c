/* Max-pooling that no convolution took in: by our kernels, or by cuDNN where that proved faster.
 *
 * Which of equals wins is part of a net's definition (the first), and cuDNN leaves it open; so its
 * way is open only to a training that need not be deterministic. Forward the two give the same, so
 * evaluation, which has nothing to keep, is always ours. */
#include "autotune.h"
#include "cuda_executor.h"
#include "cuda_layers.h"
#include "probe.h"

/* By cuDNN --------------------------------------------------------------------------------------*/
static cairn_status run_cudnn(const cuda_plan *plan, const cuda_task *task) {
    return cudnn_check(pooling_forward(plan->executor->cudnn, &task->stage->pooling, task->in.data,
                                       task->out.data),
                       task->name);
}

static cairn_status run_cudnn_backward(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    return cudnn_check(pooling_backward(plan->executor->cudnn, &stage->pooling, stage->src.data,
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
    return plan->graph.training && autotune_prefers_cudnn(plan->executor, stage->ordinal);
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
