/* The layers that our own kernels compute by themselves, where no convolution or linear layer took
 * them in. Flattening is a name: a linear layer's weights follow its input's memory. */
#include "plan.h"

static cairn_status task_status(const cuda_task *added) {
    return added ? CAIRN_OK : CAIRN_FAILED;
}

/* Flatten ---------------------------------------------------------------------------------------*/

static cairn_status flatten_forward(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                    int *taken) {
    (void)plan;
    (void)taken;
    stage->dst = *given;
    return CAIRN_OK;
}

static cairn_status flatten_backward(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                     activation *made) {
    (void)plan;
    (void)stage;
    *made = *given;
    return CAIRN_OK;
}

const layer_compiler cuda_compile_flatten = {flatten_forward, flatten_backward, NULL};

/* An output of the input's own shape: a flattened [c,h,w] stays what it is in memory. */
static activation same_shape(cuda_plan *plan, const activation *given) {
    return cuda_plan_output(plan, given,
                            (cairn_shape){given->shape.c, given->shape.h, given->shape.w});
}

/* ReLU; backward in place -----------------------------------------------------------------------*/

static cairn_status run_relu(const cuda_plan *plan, const cuda_task *task) {
    kernel_bias_relu(plan->executor->stream, task->in.shape, task->in.data, NULL, 1,
                     task->out.data);
    return CAIRN_OK;
}

static cairn_status run_relu_backward(const cuda_plan *plan, const cuda_task *task) {
    kernel_relu_backward(plan->executor->stream, task->in.shape, task->stage->dst.data,
                         task->in.data, task->out.data);
    return CAIRN_OK;
}

static cairn_status relu_forward(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                 int *taken) {
    (void)taken;
    stage->dst = same_shape(plan, given);
    return task_status(cuda_plan_add(plan, stage, "forward", run_relu, given, &stage->dst));
}

static cairn_status relu_backward(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                  activation *made) {
    *made = *given;
    return task_status(cuda_plan_add(plan, stage, "backward", run_relu_backward, given, made));
}

const layer_compiler cuda_compile_relu = {relu_forward, relu_backward, NULL};

/* Dropout; backward in place; the identity in evaluation ----------------------------------------*/

static cairn_status run_dropout(const cuda_plan *plan, const cuda_task *task) {
    const cuda_executor *executor = plan->executor;
    cuda_dropout dropout = {executor->base.options.seed, task->stage->layer->p,
                            (uint32_t)task->stage->ordinal};
    kernel_dropout(executor->stream, dropout, executor->state, task->in.shape, task->in.data, NULL,
                   task->out.data);
    return CAIRN_OK;
}

static cairn_status dropout_forward(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                    int *taken) {
    (void)taken;
    stage->dst = *given;
    if (!plan->training)
        return CAIRN_OK;
    stage->dst = same_shape(plan, given);
    return task_status(cuda_plan_add(plan, stage, "forward", run_dropout, given, &stage->dst));
}

static cairn_status dropout_backward(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                     activation *made) {
    *made = *given;
    return task_status(cuda_plan_add(plan, stage, "backward", run_dropout, given, made));
}

const layer_compiler cuda_compile_dropout = {dropout_forward, dropout_backward, NULL};

/* Max-pooling by itself. Ours, not cuDNN's: which of equals wins is part of the net's definition,
 * and cuDNN leaves it open --------------------------------------------------------------------- */

static cuda_pool window_of(const cairn_op *op) {
    return (cuda_pool){op->kernel, op->stride, 0};
}

static cairn_status run_maxpool(const cuda_plan *plan, const cuda_task *task) {
    kernel_pool(plan->executor->stream, window_of(task->stage->layer), task->in.shape,
                task->out.shape, task->in.data, NULL, task->out.data, task->stage->chosen);
    return CAIRN_OK;
}

static cairn_status run_maxpool_backward(const cuda_plan *plan, const cuda_task *task) {
    kernel_pool_backward(plan->executor->stream, window_of(task->stage->layer), task->out.shape,
                         task->in.shape, task->in.data, task->stage->chosen, task->out.data);
    return CAIRN_OK;
}

static cairn_status maxpool_forward(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                    int *taken) {
    (void)taken;
    stage->dst = cuda_plan_output(plan, given, stage->layer->out);
    stage->chosen = cuda_plan_keep(plan, (size_t)plan->count * tensor_features(stage->dst.shape));
    return task_status(cuda_plan_add(plan, stage, "forward", run_maxpool, given, &stage->dst));
}

static cairn_status maxpool_backward(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                     activation *made) {
    *made = cuda_plan_gradient(plan, given, stage->src.shape);
    return task_status(cuda_plan_add(plan, stage, "backward", run_maxpool_backward, given, made));
}

const layer_compiler cuda_compile_maxpool = {maxpool_forward, maxpool_backward, NULL};
