/* The layers that work on row-major float32: flatten, and the elementwise ones where no convolution
 * took them in. */
#include "cpu_executor.h"
#include "cpu_kernels.h"
#include "cpu_layers.h"
#include "elementwise.h"

#include <string.h>

/* The input of the layer in row-major float32, and an output of its own. */
static cairn_status plain_input(cpu_plan *plan, cpu_stage *stage, const tensor *given) {
    onednn_layout layout = plan_plain(plan, stage->layer->in, dnnl_f32);
    return plan_convert(plan, &plan->forward, given, layout, stage->layer, &stage->src);
}

static cairn_status plain_output(cpu_plan *plan, cpu_stage *stage) {
    onednn_layout layout = plan_plain(plan, stage->layer->out, dnnl_f32);
    return plan_tensor(plan, &stage->dst, layout, NULL);
}

/* To be changed in place. */
static cairn_status plain_gradient(cpu_plan *plan, const cpu_stage *stage, const tensor *given,
                                   tensor *gradient) {
    onednn_layout layout = plan_plain(plan, stage->layer->out, dnnl_f32);
    return plan_own(plan, &plan->backward, given, layout, stage->layer, gradient);
}

/* Flatten: a row-major [n,c,h,w] is a row-major [n,c*h*w] already -------------------------------*/

static cairn_status flatten_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                    int *taken) {
    (void)taken;
    cairn_status status = plain_input(plan, stage, given);
    if (status)
        return status;
    onednn_layout layout = plan_plain(plan, stage->layer->out, dnnl_f32);
    return plan_tensor(plan, &stage->dst, layout, stage->src.data);
}

static cairn_status flatten_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                     tensor *made) {
    tensor gradient;
    cairn_status status = plain_gradient(plan, stage, given, &gradient);
    return status ? status : plan_tensor(plan, made, stage->src.layout, gradient.data);
}

const layer_compiler compile_flatten = {flatten_forward, flatten_backward};

static cairn_status add_loop(cpu_plan *plan, task_list *list, const cpu_stage *stage,
                             const char *what,
                             cairn_status (*run)(const cpu_plan *, const cpu_task *),
                             const void *in, void *out) {
    cpu_task *added = plan_add(list, stage->layer, what);
    if (!added)
        return CAIRN_FAILED;
    added->run = run;
    added->ordinal = stage->ordinal;
    added->in = in;
    added->out = out;
    added->count = (size_t)plan->count * cairn_shape_count(stage->layer->out);
    added->flops = plan->count * cairn_op_flops(stage->layer, 0);
    return CAIRN_OK;
}

/* ReLU ------------------------------------------------------------------------------------------*/

static cairn_status run_relu(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    relu_forward(task->in, task->out, task->count);
    return CAIRN_OK;
}

static cairn_status relu_compile(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                 int *taken) {
    (void)taken;
    cairn_status status = plain_input(plan, stage, given);
    if (!status)
        status = plain_output(plan, stage);
    return status ? status
                  : add_loop(plan, &plan->forward, stage, "forward", run_relu, stage->src.data,
                             stage->dst.data);
}

static cairn_status relu_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                  tensor *made) {
    cairn_status status = plain_gradient(plan, stage, given, made);
    return status ? status : plan_mask(&plan->backward, stage->layer, &stage->dst, made, made);
}

const layer_compiler compile_relu = {relu_compile, relu_backward};

/* Dropout: the same loop forward and backward; the identity in evaluation -----------------------*/

static cairn_status run_dropout(const cpu_plan *plan, const cpu_task *task) {
    const cpu_executor *executor = plan->executor;
    if (executor->training)
        dropout(task->in, task->out, task->count, task->layer->p, executor->base.options.seed,
                executor->step, executor->micro_batch, (uint32_t)task->ordinal);
    else
        memcpy(task->out, task->in, task->count * sizeof(float));
    return CAIRN_OK;
}

static cairn_status dropout_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                    int *taken) {
    (void)taken;
    cairn_status status = plain_input(plan, stage, given);
    if (!status)
        status = plain_output(plan, stage);
    return status ? status
                  : add_loop(plan, &plan->forward, stage, "forward", run_dropout, stage->src.data,
                             stage->dst.data);
}

static cairn_status dropout_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                     tensor *made) {
    cairn_status status = plain_gradient(plan, stage, given, made);
    return status ? status
                  : add_loop(plan, &plan->backward, stage, "backward", run_dropout, made->data,
                             made->data);
}

const layer_compiler compile_dropout = {dropout_forward, dropout_backward};
