/* Convolutions that winograd.h computes, as tasks of a plan. */
#include "conv_winograd.h"

#include "conv_blocks.h"
#include "cpu_executor.h"

/* Channels, up to whole blocks. */
static int filled_up(const cpu_plan *plan, int channels) {
    int size = plan->loops->block;
    return (channels + size - 1) / size * size;
}

/* Where blocks are filled up to more than twice what there is, the multiplications that the method
 * saves are wasted again. */
bool plan_winograd(const cpu_plan *plan, const cairn_op *layer) {
    return plan_takes_blocks(plan, layer) &&
           filled_up(plan, layer->in.c) * filled_up(plan, layer->out.c) <=
               2 * layer->in.c * layer->out.c;
}

/* Of the convolution that makes the data gradient. */
static conv_shape turned_shape_of(const cpu_plan *plan, const cairn_op *layer) {
    return (conv_shape){.count = plan->count,
                        .in = layer->out.c,
                        .out = layer->in.c,
                        .height = layer->out.h,
                        .width = layer->out.w,
                        .padding = 2 - layer->padding,
                        .bf16 = plan_type(plan) == dnnl_bf16};
}

/* Working memory for whichever of the net's convolutions needs most, which take turns. */
static float *scratch_of(cpu_plan *plan) {
    const cairn_net *net = plan->graph.net;
    size_t most = 0;
    for (int i = 0; i < net->op_count && !plan->winograd; i++) {
        const cairn_op *op = &net->op[i];
        if (op->kind != CAIRN_OP_CONV2D || !plan_winograd(plan, op))
            continue;
        conv_shape shape = plan_conv_shape(plan, op);
        size_t needed = plan->loops->winograd->scratch(&shape, plan->executor->threads);
        most = needed > most ? needed : most;
    }
    if (!plan->winograd)
        plan->winograd = plan_scratch(plan, most * sizeof(float));
    return plan->winograd;
}

static cairn_status run_transform(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    plan->loops->winograd->transform(&shape, task->weights, false, task->out);
    return CAIRN_OK;
}

static cairn_status run_transform_turned(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = turned_shape_of(plan, task->layer);
    plan->loops->winograd->transform(&shape, task->weights, true, task->out);
    return CAIRN_OK;
}

static cairn_status run_forward(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    winograd_after after = {
        .bias = task->bias, .sum = task->sum, .relu = task->relu, .chosen = task->chosen};
    plan->loops->winograd->convolve(&shape, task->in, task->weights, after, plan->executor->threads,
                                    task->scratch, task->out);
    return CAIRN_OK;
}

static cairn_status run_data_gradient(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = turned_shape_of(plan, task->layer);
    plan->loops->winograd->convolve(&shape, task->in, task->weights, (winograd_after){0},
                                    plan->executor->threads, task->scratch, task->out);
    return CAIRN_OK;
}

static cairn_status run_weight_gradient(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    plan->loops->winograd->weight_gradient(&shape, task->in, task->gradient,
                                           plan->executor->threads, task->scratch, task->out,
                                           task->bias_gradient);
    return CAIRN_OK;
}

/* Transformed weights, refreshed after every change. */
static float *add_transform(cpu_plan *plan, const cairn_op *layer, const float *weights,
                            bool turned) {
    conv_shape shape = turned ? turned_shape_of(plan, layer) : plan_conv_shape(plan, layer);
    float *transformed =
        plan_scratch(plan, plan->loops->winograd->weights(&shape) * sizeof *transformed);
    cpu_task *added = transformed ? plan_add(&plan->refresh, layer, "transform") : NULL;
    if (!added)
        return NULL;
    added->run = turned ? run_transform_turned : run_transform;
    added->weights = weights;
    added->out = transformed;
    return transformed;
}

static cpu_task *add_convolution(cpu_plan *plan, task_list *list, const cairn_op *layer,
                                 const char *what, const void *in, void *out) {
    cpu_task *added = plan_add(list, layer, what);
    if (!added)
        return NULL;
    added->flops = plan->count * cairn_op_flops(layer, 0);
    added->in = in;
    added->out = out;
    added->scratch = scratch_of(plan);
    return added->scratch ? added : NULL;
}

cairn_status plan_winograd_forward(cpu_plan *plan, const cpu_stage *stage, const float *weights,
                                   const float *bias) {
    const cairn_op *layer = stage->layer;
    const float *transformed = add_transform(plan, layer, weights, false);
    cpu_task *added = transformed ? add_convolution(plan, &plan->forward, layer, "forward",
                                                    stage->src.data, stage->made.data)
                                  : NULL;
    if (!added)
        return CAIRN_FAILED;
    added->run = run_forward;
    added->weights = transformed;
    added->bias = bias;
    added->sum = stage->sum != NULL;
    added->relu = stage->relu;
    added->chosen = stage->pools ? stage->workspace.data : NULL;
    return CAIRN_OK;
}

cairn_status plan_winograd_data_gradient(cpu_plan *plan, const cairn_op *layer,
                                         const tensor *gradient, tensor *made) {
    cairn_status status =
        plan_tensor(plan, made, plan_blocked(plan, layer->in, plan_type(plan)), NULL);
    if (status)
        return status;
    const float *weights = plan_parameter(plan, CAIRN_PARAMETER, layer->weight);
    const float *transformed = add_transform(plan, layer, weights, true);
    cpu_task *added = transformed ? add_convolution(plan, &plan->backward, layer, "data gradient",
                                                    gradient->data, made->data)
                                  : NULL;
    if (!added)
        return CAIRN_FAILED;
    added->run = run_data_gradient;
    added->weights = transformed;
    return CAIRN_OK;
}

cairn_status plan_winograd_weight_gradient(cpu_plan *plan, const cpu_stage *stage,
                                           const tensor *gradient) {
    const cairn_op *layer = stage->layer;
    cpu_task *added =
        add_convolution(plan, &plan->backward, layer, "weight gradient", stage->src.data,
                        plan_parameter(plan, CAIRN_GRADIENT, layer->weight));
    if (!added)
        return CAIRN_FAILED;
    added->run = run_weight_gradient;
    added->gradient = gradient->data;
    if (cairn_graph_trains(&plan->graph, layer->bias))
        added->bias_gradient = plan_parameter(plan, CAIRN_GRADIENT, layer->bias);
    return CAIRN_OK;
}
