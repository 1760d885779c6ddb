/* The layers that our own kernels compute by themselves, where no convolution or linear layer took
 * them in. Flattening is a name: a linear layer's weights follow its input's memory. */
#include "cuda_executor.h"
#include "cuda_layers.h"

static cairn_status task_status(const cuda_task *added) {
    return added ? CAIRN_OK : CAIRN_FAILED;
}

/* Flatten ---------------------------------------------------------------------------------------*/

static cairn_status flatten_forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    (void)plan;
    (void)taken;
    stage->dst = stage->src;
    return CAIRN_OK;
}

static cairn_status pass_on(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    return cuda_plan_give(plan, stage, stage->layer->input, given);
}

const layer_compiler cuda_compile_flatten = {flatten_forward, pass_on, NULL};

/* An output of the input's own shape: a flattened [c,h,w] stays what it is in memory. */
static activation same_shape(cuda_plan *plan, const activation *given) {
    return cuda_plan_output(plan, (cairn_shape){given->shape.c, given->shape.h, given->shape.w});
}

/* Appends a task from `given` to a gradient of the input, in place where that may be. */
static cairn_status pass_through(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                 cairn_status (*run)(const cuda_plan *, const cuda_task *)) {
    activation made = cuda_plan_writable(plan, given);
    if (!cuda_plan_add(plan, stage, "backward", run, given, &made))
        return CAIRN_FAILED;
    return pass_on(plan, stage, &made);
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

static cairn_status relu_forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    (void)taken;
    stage->dst = same_shape(plan, &stage->src);
    return task_status(cuda_plan_add(plan, stage, "forward", run_relu, &stage->src, &stage->dst));
}

static cairn_status relu_backward(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    return pass_through(plan, stage, given, run_relu_backward);
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

static cairn_status dropout_forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    (void)taken;
    stage->dst = stage->src;
    if (!plan->graph.training)
        return CAIRN_OK;
    stage->dst = same_shape(plan, &stage->src);
    return task_status(
        cuda_plan_add(plan, stage, "forward", run_dropout, &stage->src, &stage->dst));
}

static cairn_status dropout_backward(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    return pass_through(plan, stage, given, run_dropout);
}

const layer_compiler cuda_compile_dropout = {dropout_forward, dropout_backward, NULL};

/* Average-pooling -------------------------------------------------------------------------------*/

static cuda_pool window_of(const cairn_op *op) {
    return (cuda_pool){op->kernel, op->stride, 0};
}

static cairn_status run_average(const cuda_plan *plan, const cuda_task *task) {
    kernel_average(plan->executor->stream, window_of(task->stage->layer), task->in.shape,
                   task->out.shape, task->in.data, task->out.data);
    return CAIRN_OK;
}

static cairn_status run_average_backward(const cuda_plan *plan, const cuda_task *task) {
    kernel_average_backward(plan->executor->stream, window_of(task->stage->layer), task->out.shape,
                            task->in.shape, task->in.data, task->out.data);
    return CAIRN_OK;
}

static cairn_status avgpool_forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    (void)taken;
    stage->dst = cuda_plan_output(plan, stage->layer->out);
    return task_status(
        cuda_plan_add(plan, stage, "forward", run_average, &stage->src, &stage->dst));
}

static cairn_status avgpool_backward(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    activation made = cuda_plan_gradient(plan, stage->src.shape);
    if (!cuda_plan_add(plan, stage, "backward", run_average_backward, given, &made))
        return CAIRN_FAILED;
    return pass_on(plan, stage, &made);
}

const layer_compiler cuda_compile_avgpool = {avgpool_forward, avgpool_backward, NULL};

/* Activations whose slope is a function of the input --------------------------------------------*/

static cairn_status run_activation(const cuda_plan *plan, const cuda_task *task) {
    kernel_activate(plan->executor->stream, task->stage->layer->kind, task->in.shape, task->in.data,
                    task->out.data);
    return CAIRN_OK;
}

static cairn_status run_activation_backward(const cuda_plan *plan, const cuda_task *task) {
    kernel_activate_backward(plan->executor->stream, task->stage->layer->kind, task->in.shape,
                             task->stage->src.data, task->in.data, task->out.data);
    return CAIRN_OK;
}

static cairn_status activation_forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    (void)taken;
    stage->dst = same_shape(plan, &stage->src);
    return task_status(
        cuda_plan_add(plan, stage, "forward", run_activation, &stage->src, &stage->dst));
}

static cairn_status activation_backward(cuda_plan *plan, cuda_stage *stage,
                                        const activation *given) {
    return pass_through(plan, stage, given, run_activation_backward);
}

const layer_compiler cuda_compile_activation = {activation_forward, activation_backward, NULL};

/* The sum of two branches, with the ReLU behind it. Both get the one gradient, which lies in memory
 * once ----------------------------------------------------------------------------------------- */

static cairn_status run_add(const cuda_plan *plan, const cuda_task *task) {
    kernel_add(plan->executor->stream, task->in.shape, task->stage->activation, task->in.data,
               task->other, task->out.data);
    return CAIRN_OK;
}

static cairn_status add_forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    cairn_status status = cuda_plan_take_other(plan, stage, stage->layer, stage->layer->other);
    if (status)
        return status;
    if (cairn_graph_next(&plan->graph, stage->ordinal, CAIRN_OP_RELU)) {
        stage->activation = CUDA_RELU;
        *taken = 2;
    }
    stage->dst = same_shape(plan, &stage->src);
    cuda_task *added = cuda_plan_add(plan, stage, "forward", run_add, &stage->src, &stage->dst);
    if (!added)
        return CAIRN_FAILED;
    added->other = stage->other.data;
    return CAIRN_OK;
}

static cairn_status add_backward(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    activation made = *given;
    if (stage->activation == CUDA_RELU) {
        made = cuda_plan_writable(plan, given);
        if (!cuda_plan_add(plan, stage, "backward", run_relu_backward, given, &made))
            return CAIRN_FAILED;
    }
    cairn_status status = pass_on(plan, stage, &made);
    return status ? status : cuda_plan_give(plan, stage, stage->layer->other, &made);
}

const layer_compiler cuda_compile_add = {add_forward, add_backward, NULL};
