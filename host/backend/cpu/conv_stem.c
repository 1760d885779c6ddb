/* Stems, which stem.h computes, as tasks of a plan; and what they have in common with the
 * convolutions of conv_winograd.c. */
#include "plan.h"

#include "stem.h"

/* Here, since it has to run on every processor. */
bool channel_blocks_run(bool half) {
#ifdef __x86_64__
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), amx = dnnl_cpu_isa_avx512_core_amx;
    return __builtin_cpu_supports("avx512f") && !(half && (isa & amx) == amx);
#else
    (void)half;
    return false;
#endif
}

bool plan_takes_blocks(const cpu_plan *plan, const cairn_op *layer) {
    return channel_blocks_run(plan_type(plan) == dnnl_bf16) && layer->kernel == 3 &&
           layer->stride == 1 && layer->padding <= 2;
}

conv_shape plan_conv_shape(const cpu_plan *plan, const cairn_op *layer) {
    return (conv_shape){.count = plan->count,
                        .in = layer->in.c,
                        .out = layer->out.c,
                        .height = layer->in.h,
                        .width = layer->in.w,
                        .padding = layer->padding,
                        .half = plan_type(plan) == dnnl_bf16};
}

bool plan_halves(const cpu_stage *stage) {
    const cairn_op *pool = stage->pool;
    return pool && pool->kernel == 2 && pool->stride == 2 && pool->padding == 0 && !stage->sum;
}

cairn_status plan_pooled(cpu_plan *plan, cpu_stage *stage, tensor *made) {
    const cairn_shape shape = stage->pool->out;
    cairn_status status =
        plan_tensor(plan, made, plan_layout(plan, shape, plan_type(plan), dnnl_aBcd16b), NULL);
    if (status)
        return status;
    return plan_tensor(plan, &stage->workspace, plan_layout(plan, shape, dnnl_bf16, dnnl_aBcd16b),
                       NULL); /* of 16 bits, whatever they mean */
}

static cairn_status run_unpool(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    conv_unpool(&shape, task->in, task->chosen, task->out);
    return CAIRN_OK;
}

cairn_status plan_unpool(cpu_plan *plan, const cpu_stage *stage, const tensor *pooled,
                         tensor *gradient) {
    const cairn_op *layer = stage->layer;
    cairn_status status = plan_tensor(
        plan, gradient, plan_layout(plan, layer->out, plan_type(plan), dnnl_aBcd16b), NULL);
    cpu_task *added = status ? NULL : plan_add(&plan->backward, stage->pool, "backward");
    if (!added)
        return CAIRN_FAILED;
    added->layer = layer;
    added->run = run_unpool;
    added->in = pooled->data;
    added->chosen = stage->workspace.data;
    added->out = gradient->data;
    return CAIRN_OK;
}

bool plan_stem(const cpu_plan *plan, const cpu_stage *stage) {
    const cairn_op *layer = stage->layer;
    return plan_halves(stage) && stage->relu && plan_takes_blocks(plan, layer) &&
           layer->input == CAIRN_NET_INPUT && layer->in.c <= STEM_CHANNELS_MAX &&
           (!plan->training || plan_trains(plan, layer->weight));
}

static cairn_status run_transform(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    stem_transform(&shape, task->in, task->out);
    return CAIRN_OK;
}

static cairn_status run_forward(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    stem_forward(&shape, task->in, task->with, task->statistics, plan->executor->threads,
                 task->scratch, task->out, task->chosen);
    return CAIRN_OK;
}

static cairn_status run_weight_gradient(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    stem_weight_gradient(&shape, task->in, task->with, task->chosen, plan->executor->threads,
                         task->scratch, task->out, task->statistics);
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
    added->scratch =
        plan_scratch(plan, stem_scratch(&shape, plan->executor->threads) * sizeof(float));
    return added->scratch ? added : NULL;
}

static cairn_status add_transform(cpu_plan *plan, const cairn_op *layer, const float *weights,
                                  float **transformed) {
    conv_shape shape = plan_conv_shape(plan, layer);
    *transformed = plan_scratch(plan, stem_weights(&shape) * sizeof **transformed);
    cpu_task *added = *transformed ? plan_add(&plan->refresh, layer, "transform") : NULL;
    if (!added)
        return CAIRN_FAILED;
    added->run = run_transform;
    added->in = weights;
    added->out = *transformed;
    return CAIRN_OK;
}

cairn_status plan_stem_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                               const float *weights, float *bias) {
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
    added->with = transformed;
    added->statistics = bias;
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
    added->with = gradient.data;
    added->out = plan_parameter(plan, CAIRN_GRADIENT, layer->weight);
    if (plan_trains(plan, layer->bias))
        added->statistics = plan_parameter(plan, CAIRN_GRADIENT, layer->bias);
    return CAIRN_OK;
}
