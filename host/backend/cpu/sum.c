/* Sums: of two branches, with the ReLU behind, and of the gradients that several readers of one
 * output send back. They work on whatever layout their input has. */
#include "plan.h"

size_t plan_elements(const tensor *given) {
    size_t size = plan_is_half(given) ? sizeof(bf16) : sizeof(float);
    return onednn_layout_bytes(given->layout) / size;
}

bool plan_is_half(const tensor *given) {
    return onednn_layout_type(given->layout) == dnnl_bf16;
}

static cairn_status run_sum(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    add_tensors(task->in, task->with, task->out, task->count, task->relu, task->half);
    return CAIRN_OK;
}

static cairn_status run_mask(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    mask_positive(task->in, task->with, task->out, task->count, task->half);
    return CAIRN_OK;
}

static cpu_task *add_loop(task_list *list, const cairn_op *layer, const char *what,
                          const tensor *in, const tensor *with, const tensor *out) {
    cpu_task *added = plan_add(list, layer, what);
    if (!added)
        return NULL;
    added->in = in->data;
    added->with = with->data;
    added->out = out->data;
    added->count = plan_elements(in);
    added->half = plan_is_half(in);
    return added;
}

cairn_status plan_sum(task_list *list, const cairn_op *layer, const char *what, const tensor *a,
                      const tensor *b, const tensor *y, bool relu) {
    cpu_task *added = add_loop(list, layer, what, a, b, y);
    if (!added)
        return CAIRN_FAILED;
    added->run = run_sum;
    added->relu = relu;
    return CAIRN_OK;
}

cairn_status plan_mask(task_list *list, const cairn_op *layer, const tensor *y,
                       const tensor *gradient, const tensor *masked) {
    cpu_task *added = add_loop(list, layer, "ReLU mask", y, gradient, masked);
    if (!added)
        return CAIRN_FAILED;
    added->run = run_mask;
    return CAIRN_OK;
}

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
