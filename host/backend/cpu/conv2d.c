/* Convolution, with the ReLU and max-pooling behind it, as oneDNN primitives.
 *
 * ReLU is fused into the convolution. Max and ReLU commute, so with pooling behind it the backward
 * pass masks the pooled gradient, a quarter of the elements: a window's winner passed its ReLU
 * exactly when the pooled value is positive. */
#include "plan.h"

static onednn_window window_of(const cairn_op *op) {
    return (onednn_window){op->kernel, op->stride, op->padding};
}

static onednn_layout any_layout(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type) {
    dnnl_dims_t dim = {plan->count, shape.c, shape.h, shape.w};
    return onednn_layout_create(plan->pool, 4, dim, type, dnnl_format_tag_any);
}

static onednn_layout weights_layout(cpu_plan *plan, const cairn_op *op, dnnl_data_type_t type,
                                    dnnl_format_tag_t tag) {
    dnnl_dims_t dim = {op->out.c, op->in.c, op->kernel, op->kernel};
    return onednn_layout_create(plan->pool, 4, dim, type, tag);
}

static onednn_layout bias_layout(cpu_plan *plan, const cairn_op *op) {
    dnnl_dims_t dim = {op->out.c};
    return onednn_layout_create(plan->pool, 1, dim, dnnl_f32, dnnl_a);
}

/* The convolution's weights in the layout that a primitive wants. */
static cairn_status refreshed_weights(cpu_plan *plan, const cairn_op *op, onednn_layout wanted,
                                      tensor *weights) {
    return plan_weights(plan, op, weights_layout(plan, op, dnnl_f32, dnnl_oihw), wanted, weights);
}

/* Max-pooling's forward op with its workspace, from stage->made to stage->dst. */
static cairn_status add_pooling(cpu_plan *plan, cpu_stage *stage, const cairn_op *pool) {
    onednn_op *op = &stage->pooling;
    cairn_status status =
        onednn_maxpool_forward(plan->pool, op, stage->made.layout,
                               any_layout(plan, pool->out, plan_type(plan)), window_of(pool));
    if (!status)
        status = plan_tensor(plan, &stage->dst, onednn_op_layout(op, dnnl_query_dst_md), NULL);
    if (!status)
        status = plan_tensor(plan, &stage->workspace, onednn_op_layout(op, dnnl_query_workspace_md),
                             NULL);
    if (status)
        return status;
    onednn_bind(op, DNNL_ARG_SRC, stage->made.memory);
    onednn_bind(op, DNNL_ARG_DST, stage->dst.memory);
    onednn_bind(op, DNNL_ARG_WORKSPACE, stage->workspace.memory);
    return plan_add_op(&plan->forward, op, pool, "forward", 0);
}

/* From the gradient of stage->dst to that of stage->made. */
static cairn_status add_pooling_backward(cpu_plan *plan, const cpu_stage *stage,
                                         const cairn_op *pool, const tensor *given, tensor *made) {
    onednn_op op = {0};
    cairn_status status = onednn_maxpool_backward(plan->pool, &op, stage->made.layout,
                                                  given->layout, window_of(pool), &stage->pooling);
    if (!status)
        status = plan_tensor(plan, made, stage->made.layout, NULL);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_DIFF_DST, given->memory);
    onednn_bind(&op, DNNL_ARG_WORKSPACE, stage->workspace.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_SRC, made->memory);
    return plan_add_op(&plan->backward, &op, pool, "backward", 0);
}

static cairn_status run_mask_f32(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    mask_positive_f32(task->in, task->out, task->count);
    return CAIRN_OK;
}

static cairn_status run_mask_bf16(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    mask_positive_bf16(task->in, task->out, task->count);
    return CAIRN_OK;
}

/* Masks the gradient of stage->dst, of the same layout, where the fused ReLU was zero. The padding
 * that blocked layouts add is zero in both and stays so. */
static cairn_status add_mask(cpu_plan *plan, const cpu_stage *stage, const tensor *gradient) {
    cpu_task *added = plan_add(&plan->backward, stage->layer, "ReLU mask");
    if (!added)
        return CAIRN_FAILED;
    bool half = plan_type(plan) == dnnl_bf16;
    added->run = half ? run_mask_bf16 : run_mask_f32;
    added->in = stage->dst.data;
    added->out = gradient->data;
    added->count = onednn_layout_bytes(stage->dst.layout) / (half ? sizeof(bf16) : sizeof(float));
    return CAIRN_OK;
}

/* Convolution -----------------------------------------------------------------------------------*/

/* How many ops go into this stage: the convolution, a ReLU, and a pooling behind that. */
static int fuse(const cpu_plan *plan, cpu_stage *stage) {
    const cairn_net *net = plan->executor->base.net;
    int next = stage->ordinal + 1;
    stage->relu = next < net->op_count && net->op[next].kind == CAIRN_OP_RELU;
    if (stage->relu)
        next++;
    if (stage->relu && next < net->op_count && net->op[next].kind == CAIRN_OP_MAXPOOL)
        stage->pool = &net->op[next++];
    return next - stage->ordinal;
}

static cairn_status conv2d_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                   int *taken) {
    const cairn_op *layer = stage->layer;
    onednn_op *op = &stage->forward;
    dnnl_data_type_t type = plan_type(plan);
    *taken = fuse(plan, stage);
    /* The first convolution reads the batch as it is assembled, row-major. */
    onednn_layout src =
        layer->input == CAIRN_NET_INPUT ? given->layout : any_layout(plan, layer->in, type);
    cairn_status status = onednn_conv_forward(
        plan->pool, op, src, weights_layout(plan, layer, type, dnnl_format_tag_any),
        bias_layout(plan, layer), any_layout(plan, layer->out, type), window_of(layer),
        stage->relu);
    tensor weights, bias;
    if (!status)
        status = plan_convert(plan, &plan->forward, given, onednn_op_layout(op, dnnl_query_src_md),
                              layer, &stage->src);
    if (!status)
        status =
            refreshed_weights(plan, layer, onednn_op_layout(op, dnnl_query_weights_md), &weights);
    if (!status)
        status = plan_tensor(plan, &bias, bias_layout(plan, layer),
                             plan_parameter(plan, CAIRN_PARAMETER, layer->bias));
    if (!status)
        status = plan_tensor(plan, &stage->made, onednn_op_layout(op, dnnl_query_dst_md), NULL);
    if (status)
        return status;
    onednn_bind(op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(op, DNNL_ARG_WEIGHTS, weights.memory);
    onednn_bind(op, DNNL_ARG_BIAS, bias.memory);
    onednn_bind(op, DNNL_ARG_DST, stage->made.memory);
    status =
        plan_add_op(&plan->forward, op, layer, "forward", plan->count * cairn_op_flops(layer, 0));
    stage->dst = stage->made;
    return status || !stage->pool ? status : add_pooling(plan, stage, stage->pool);
}

static cairn_status add_weight_gradient(cpu_plan *plan, const cpu_stage *stage,
                                        const tensor *gradient) {
    const cairn_op *layer = stage->layer;
    onednn_op op = {0};
    cairn_status status = onednn_conv_backward_weights(
        plan->pool, &op, stage->src.layout,
        weights_layout(plan, layer, dnnl_f32, dnnl_format_tag_any), bias_layout(plan, layer),
        gradient->layout, window_of(layer), &stage->forward);
    tensor weights, plain, bias;
    if (!status)
        status = plan_tensor(plan, &plain, weights_layout(plan, layer, dnnl_f32, dnnl_oihw),
                             plan_parameter(plan, CAIRN_GRADIENT, layer->weight));
    if (!status)
        status = plan_tensor(plan, &bias, bias_layout(plan, layer),
                             plan_parameter(plan, CAIRN_GRADIENT, layer->bias));
    if (status)
        return status;
    status =
        plan_stand_in(plan, &plain, onednn_op_layout(&op, dnnl_query_diff_weights_md), &weights);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_DST, gradient->memory);
    onednn_bind(&op, DNNL_ARG_DIFF_WEIGHTS, weights.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_BIAS, bias.memory);
    status = plan_add_op(&plan->backward, &op, layer, "weight gradient",
                         plan->count * cairn_op_flops(layer, 0));
    return status ? status : plan_copy(plan, &plan->backward, &weights, &plain, layer);
}

static cairn_status add_data_gradient(cpu_plan *plan, const cpu_stage *stage,
                                      const tensor *gradient, tensor *made) {
    const cairn_op *layer = stage->layer;
    onednn_op op = {0};
    dnnl_data_type_t type = plan_type(plan);
    cairn_status status =
        onednn_conv_backward_data(plan->pool, &op, any_layout(plan, layer->in, type),
                                  weights_layout(plan, layer, type, dnnl_format_tag_any),
                                  gradient->layout, window_of(layer), &stage->forward);
    tensor weights;
    if (!status)
        status =
            refreshed_weights(plan, layer, onednn_op_layout(&op, dnnl_query_weights_md), &weights);
    if (!status)
        status = plan_tensor(plan, made, onednn_op_layout(&op, dnnl_query_diff_src_md), NULL);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_DIFF_DST, gradient->memory);
    onednn_bind(&op, DNNL_ARG_WEIGHTS, weights.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_SRC, made->memory);
    return plan_add_op(&plan->backward, &op, layer, "data gradient",
                       plan->count * cairn_op_flops(layer, 0));
}

static cairn_status conv2d_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                    tensor *made) {
    tensor gradient;
    cairn_status status =
        plan_convert(plan, &plan->backward, given, stage->dst.layout, stage->layer, &gradient);
    if (!status && stage->relu)
        status = add_mask(plan, stage, &gradient);
    if (!status && stage->pool) {
        tensor pooled = gradient;
        status = add_pooling_backward(plan, stage, stage->pool, &pooled, &gradient);
    }
    if (!status)
        status = add_weight_gradient(plan, stage, &gradient);
    if (!status && stage->layer->input != CAIRN_NET_INPUT)
        status = add_data_gradient(plan, stage, &gradient, made);
    return status;
}

const layer_compiler compile_conv2d = {conv2d_forward, conv2d_backward};

/* Max-pooling by itself -------------------------------------------------------------------------*/

static cairn_status maxpool_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                    int *taken) {
    (void)taken;
    onednn_layout plain = plan_plain(plan, stage->layer->in, plan_type(plan));
    cairn_status status =
        plan_convert(plan, &plan->forward, given, plain, stage->layer, &stage->made);
    return status ? status : add_pooling(plan, stage, stage->layer);
}

static cairn_status maxpool_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                     tensor *made) {
    if (stage->layer->input == CAIRN_NET_INPUT)
        return CAIRN_OK;
    tensor gradient;
    cairn_status status =
        plan_convert(plan, &plan->backward, given, stage->dst.layout, stage->layer, &gradient);
    return status ? status : add_pooling_backward(plan, stage, stage->layer, &gradient, made);
}

const layer_compiler compile_maxpool = {maxpool_forward, maxpool_backward};
