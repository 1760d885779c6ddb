/* What conv_stem.c and conv_winograd.c have in common as parts of a plan: for which convolutions
 * the loops of blocks.h are, and the pooling that they do as well. */
#include "plan.h"

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

/* Where only a bias is trained, its gradient goes by what was convolved, which has to be there. */
bool plan_halves(const cpu_plan *plan, const cpu_stage *stage) {
    const cairn_op *pool = stage->pool;
    return pool && pool->kernel == 2 && pool->stride == 2 && pool->padding == 0 && !stage->sum &&
           (!plan->training || plan_trains(plan, stage->layer->weight));
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
