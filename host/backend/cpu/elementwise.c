/* Sums, of two branches with the ReLU behind and of the gradients that several readers of one
 * output send back; ReLU's masks; and activations. They work on whatever layout their input has. */
#include "elementwise.h"

#include "activations.h"
#include "cpu_kernels.h"
#include "cpu_layers.h"

/* Tasks -----------------------------------------------------------------------------------------*/

static cairn_status run_sum(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    add_tensors(task->in, task->other, task->out, task->count, task->relu, task->bf16);
    return CAIRN_OK;
}

static cairn_status run_mask(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    mask_positive(task->in, task->gradient, task->out, task->count, task->bf16);
    return CAIRN_OK;
}

static cpu_task *add_loop(task_list *list, const cairn_op *layer, const char *what,
                          const tensor *in, const tensor *out) {
    cpu_task *added = plan_add(list, layer, what);
    if (!added)
        return NULL;
    added->in = in->data;
    added->out = out->data;
    added->count = plan_elements(in);
    added->bf16 = plan_is_bf16(in);
    return added;
}

cairn_status plan_sum(task_list *list, const cairn_op *layer, const char *what, const tensor *a,
                      const tensor *b, const tensor *y, bool relu) {
    cpu_task *added = add_loop(list, layer, what, a, y);
    if (!added)
        return CAIRN_FAILED;
    added->run = run_sum;
    added->other = b->data;
    added->relu = relu;
    return CAIRN_OK;
}

cairn_status plan_mask(task_list *list, const cairn_op *layer, const tensor *y,
                       const tensor *gradient, const tensor *masked) {
    cpu_task *added = add_loop(list, layer, "ReLU mask", y, masked);
    if (!added)
        return CAIRN_FAILED;
    added->run = run_mask;
    added->gradient = gradient->data;
    return CAIRN_OK;
}

static cairn_status run_activation(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    activation_forward(task->kind, task->in, task->out, task->count, task->bf16);
    return CAIRN_OK;
}

static cairn_status run_activation_backward(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    activation_backward(task->kind, task->in, task->gradient, task->out, task->count, task->bf16);
    return CAIRN_OK;
}

static cairn_status add_activation_backward(task_list *list, const cairn_op *layer, const tensor *x,
                                            const tensor *gradient, const tensor *made) {
    cpu_task *added = add_loop(list, layer, "backward", x, made);
    if (!added)
        return CAIRN_FAILED;
    added->run = run_activation_backward;
    added->kind = layer->kind;
    added->gradient = gradient->data;
    return CAIRN_OK;
}

static cairn_status add_activation(task_list *list, const cairn_op *layer, cairn_op_kind kind,
                                   const char *what, const tensor *x, const tensor *y) {
    cpu_task *added = add_loop(list, layer, what, x, y);
    if (!added)
        return CAIRN_FAILED;
    added->run = run_activation;
    added->kind = kind;
    return CAIRN_OK;
}

cairn_status plan_gelu(task_list *list, const cairn_op *layer, const tensor *x, const tensor *y) {
    return add_activation(list, layer, CAIRN_OP_GELU, "GELU", x, y);
}

/* The layer that sums ---------------------------------------------------------------------------*/

static cairn_status add_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given, int *taken) {
    const cairn_op *layer = stage->layer;
    stage->relu = cairn_graph_next(&plan->graph, stage->ordinal, CAIRN_OP_RELU) != NULL;
    *taken += stage->relu;
    stage->src = *given;
    tensor other;
    cairn_status status = plan_convert(plan, &plan->forward, plan_value(plan, layer->other),
                                       given->layout, layer, &other);
    if (!status)
        status = plan_tensor(plan, &stage->dst, given->layout, NULL);
    return status ? status
                  : plan_sum(&plan->forward, layer, "forward", given, &other, &stage->dst,
                             stage->relu);
}

/* Both branches take the same gradient. */
static cairn_status add_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                 tensor *made) {
    cairn_status status =
        plan_convert(plan, &plan->backward, given, stage->dst.layout, stage->layer, made);
    tensor gradient = *made;
    if (!status && stage->relu && made->shared)
        status = plan_tensor(plan, made, stage->dst.layout, NULL);
    if (!status && stage->relu)
        status = plan_mask(&plan->backward, stage->layer, &stage->dst, &gradient, made);
    made->shared |= cairn_graph_wants(&plan->graph, stage->layer->input) &&
                    cairn_graph_wants(&plan->graph, stage->layer->other);
    return status;
}

const layer_compiler compile_add = {add_forward, add_backward};

/* Activations by themselves ---------------------------------------------------------------------*/

static cairn_status activation_compile(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                       int *taken) {
    (void)taken;
    stage->src = *given;
    cairn_status status = plan_tensor(plan, &stage->dst, given->layout, NULL);
    return status ? status
                  : add_activation(&plan->forward, stage->layer, stage->layer->kind, "forward",
                                   given, &stage->dst);
}

static cairn_status activation_backward_compile(cpu_plan *plan, cpu_stage *stage,
                                                const tensor *given, tensor *made) {
    tensor gradient;
    onednn_layout layout = stage->src.layout;
    cairn_status status =
        plan_convert(plan, &plan->backward, given, layout, stage->layer, &gradient);
    if (!status)
        status = plan_tensor(plan, made, layout, NULL);
    return status ? status
                  : add_activation_backward(&plan->backward, stage->layer, &stage->src, &gradient,
                                            made);
}

const layer_compiler compile_activation = {activation_compile, activation_backward_compile};
