/* What conv_stem.c and conv_winograd.c have in common as parts of a plan: for which convolutions
 * the loops of blocks.h are, and the pooling that they do as well. */
#include "conv_blocks.h"

/* In bf16 oneDNN is faster where the processor multiplies tiles of it. */
const channel_loops *plan_loops(dnnl_data_type_t type) {
#ifdef CAIRN_WITH_LOOPS
    static const channel_loops avx512 = {"AVX-512",        16,           dnnl_aBcd16b,
                                         &winograd_avx512, &stem_avx512, conv_unpool_avx512};
    static const channel_loops avx2 = {"AVX2",         8,          dnnl_aBcd8b,
                                       &winograd_avx2, &stem_avx2, conv_unpool_avx2};
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), amx = dnnl_cpu_isa_avx512_core_amx;
    if (type == dnnl_bf16 && (isa & amx) == amx)
        return NULL;
    if ((isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core)
        return &avx512;
    if ((isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2)
        return &avx2;
#else
    (void)type;
#endif
    return NULL;
}

onednn_layout plan_blocked(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type) {
    return plan_layout(plan, shape, type, plan->loops->tag);
}

bool plan_takes_blocks(const cpu_plan *plan, const cairn_op *layer) {
    return plan->loops && layer->kernel == 3 && layer->stride == 1 && layer->padding <= 2;
}

conv_shape plan_conv_shape(const cpu_plan *plan, const cairn_op *layer) {
    return (conv_shape){.count = plan->count,
                        .in = layer->in.c,
                        .out = layer->out.c,
                        .height = layer->in.h,
                        .width = layer->in.w,
                        .padding = layer->padding,
                        .bf16 = plan_type(plan) == dnnl_bf16};
}

/* Where only a bias is trained, its gradient goes by what was convolved, which has to be there. */
bool plan_pools_2x2(const cpu_plan *plan, const cpu_stage *stage) {
    const cairn_op *pool = stage->pool;
    return pool && pool->kernel == 2 && pool->stride == 2 && pool->padding == 0 && !stage->sum &&
           (!plan->graph.training || cairn_graph_trains(&plan->graph, stage->layer->weight));
}

cairn_status plan_pooled(cpu_plan *plan, cpu_stage *stage, tensor *made) {
    const cairn_shape shape = stage->pool->out;
    cairn_status status = plan_tensor(plan, made, plan_blocked(plan, shape, plan_type(plan)), NULL);
    if (status)
        return status;
    return plan_tensor(plan, &stage->workspace, plan_blocked(plan, shape, dnnl_bf16),
                       NULL); /* of 16 bits, whatever they mean */
}

static cairn_status run_unpool(const cpu_plan *plan, const cpu_task *task) {
    conv_shape shape = plan_conv_shape(plan, task->layer);
    plan->loops->unpool(&shape, task->in, task->chosen, task->out);
    return CAIRN_OK;
}

cairn_status plan_unpool(cpu_plan *plan, const cpu_stage *stage, const tensor *pooled,
                         tensor *gradient) {
    const cairn_op *layer = stage->layer;
    cairn_status status =
        plan_tensor(plan, gradient, plan_blocked(plan, layer->out, plan_type(plan)), NULL);
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
