/* Stems, which stem.h computes, as tasks of a plan. */
#include "conv_stem.h"

#include "conv_blocks.h"
#include "cpu_executor.h"

bool plan_stem(const cpu_plan *plan, const cpu_stage *stage) {
    const cairn_op *layer = stage->layer;
    return plan_pools_2x2(plan, stage) && stage->relu && plan_takes_blocks(plan, layer) &&
           layer->input == CAIRN_NET_INPUT && layer->in.c <= STEM_CHANNELS_MAX;
}

static cairn_status run_transform(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    plan->loops->stem->transform(&shape, task->weights, task->out);
    return CAIRN_OK;
}

static cairn_status run_forward(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    plan->loops->stem->forward(&shape, task->in, task->weights, task->bias, plan->executor->threads,
                               task->scratch, task->out, task->chosen);
    return CAIRN_OK;
}

static cairn_status run_weight_gradient(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    plan->loops->stem->weight_gradient(&shape, task->in, task->gradient, task->chosen,
                                       plan->executor->threads, task->scratch, task->out,
                                       task->bias_gradient);
    return CAIRN_OK;
}

/* A task of either pass, with its scratch memory. */
static cpu_task *add_task(cpu_plan *plan, task_list *list, const cpu_stage *stage,
                          const char *what) {
    conv_shape shape = plan_conv_shape(plan, stage->layer);
    cpu_task *added = plan_add(list, stage->layer, what);
    if (!added)
        return NULL;
    added->flops = plan->count * cairn_op_flops(stage->layer, 0);
    added->in = stage->src.data;
    added->chosen = stage->workspace.data;
    added->scratch = plan_scratch(
        plan, plan->loops->stem->scratch(&shape, plan->executor->threads) * sizeof(float));
    return added->scratch ? added : NULL;
}

static cairn_status add_transform(cpu_plan *plan, const cairn_op *layer, const float *weights,
                                  float **transformed) {
    conv_shape shape = plan_conv_shape(plan, layer);
    *transformed = plan_scratch(plan, plan->loops->stem->weights(&shape) * sizeof **transformed);
    cpu_task *added = *transformed ? plan_add(&plan->refresh, layer, "transform") : NULL;
    if (!added)
        return CAIRN_FAILED;
    added->run = run_transform;
    added->weights = weights;
    added->out = *transformed;
    return CAIRN_OK;
}

cairn_status plan_stem_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                               const float *weights, const float *bias) {
    const cairn_op *layer = stage->layer;
    float *transformed;
    cairn_status status =
        plan_convert(plan, &plan->forward, given, plan_plain(plan, layer->in, plan_type(plan)),
                     layer, &stage->src);
    if (!status)
        status = plan_pooled(plan, stage, &stage->dst);
    if (!status)
        status = add_transform(plan, layer, weights, &transformed);
    cpu_task *added =
        status ? NULL : add_task(plan, &plan->forward, stage, "forward, ReLU, pooling");
    if (!added)
        return CAIRN_FAILED;
    added->run = run_forward;
    added->weights = transformed;
    added->bias = bias;
    added->out = stage->dst.data;
    return CAIRN_OK;
}

cairn_status plan_stem_weight_gradient(cpu_plan *plan, const cpu_stage *stage,
                                       const tensor *given) {
    const cairn_op *layer = stage->layer;
    tensor gradient;
    cairn_status status =
        plan_convert(plan, &plan->backward, given, stage->dst.layout, layer, &gradient);
    cpu_task *added = status ? NULL : add_task(plan, &plan->backward, stage, "weight gradient");
    if (!added)
        return CAIRN_FAILED;
    added->run = run_weight_gradient;
    added->gradient = gradient.data;
    added->out = plan_parameter(plan, CAIRN_GRADIENT, layer->weight);
    if (cairn_graph_trains(&plan->graph, layer->bias))
        added->bias_gradient = plan_parameter(plan, CAIRN_GRADIENT, layer->bias);
    return CAIRN_OK;
}
