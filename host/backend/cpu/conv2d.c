/* Convolution, with what is behind it (ReLU and pooling; in evaluation batch normalisation and a
 * sum too; GELU where the convolution itself needs no gradient), by stem.h or winograd.h where
 * those are for it, else as oneDNN primitives; and pooling by itself.
 *
 * ReLU is fused into the convolution. Max and ReLU commute, so with pooling behind it the backward
 * pass masks the pooled gradient, a quarter of the elements: a window's winner passed its ReLU
 * exactly when the pooled value is positive. */
#include "conv_blocks.h"
#include "conv_stem.h"
#include "conv_winograd.h"
#include "cpu_layers.h"
#include "elementwise.h"
#include "norm.h"

#include <string.h>

static onednn_window window_of(const cairn_op *op) {
    return (onednn_window){op->kernel, op->stride, op->padding};
}

static onednn_layout any_layout(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type) {
    return plan_layout(plan, shape, type, dnnl_format_tag_any);
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

static bool averages(const cairn_op *pool) {
    return pool->kind == CAIRN_OP_AVGPOOL;
}

/* Pooling's forward op, with max-pooling's workspace, from stage->made to stage->dst. */
static cairn_status add_pooling(cpu_plan *plan, cpu_stage *stage, const cairn_op *pool) {
    onednn_op *op = &stage->pooling;
    cairn_status status =
        onednn_pool_forward(plan->pool, op, stage->made.layout,
                            any_layout(plan, pool->out, onednn_layout_type(stage->made.layout)),
                            window_of(pool), averages(pool));
    if (!status)
        status = plan_tensor(plan, &stage->dst, onednn_op_layout(op, dnnl_query_dst_md), NULL);
    if (!status && !averages(pool))
        status = plan_tensor(plan, &stage->workspace, onednn_op_layout(op, dnnl_query_workspace_md),
                             NULL);
    if (status)
        return status;
    onednn_bind(op, DNNL_ARG_SRC, stage->made.memory);
    onednn_bind(op, DNNL_ARG_DST, stage->dst.memory);
    if (!averages(pool))
        onednn_bind(op, DNNL_ARG_WORKSPACE, stage->workspace.memory);
    return plan_add_op(&plan->forward, op, pool, "forward", 0);
}

/* From the gradient of stage->dst to that of stage->made. */
static cairn_status add_pooling_backward(cpu_plan *plan, const cpu_stage *stage,
                                         const cairn_op *pool, const tensor *given, tensor *made) {
    onednn_op op = {0};
    cairn_status status = onednn_pool_backward(plan->pool, &op, stage->made.layout, given->layout,
                                               window_of(pool), averages(pool), &stage->pooling);
    if (!status)
        status = plan_tensor(plan, made, stage->made.layout, NULL);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_DIFF_DST, given->memory);
    if (!averages(pool))
        onednn_bind(&op, DNNL_ARG_WORKSPACE, stage->workspace.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_SRC, made->memory);
    return plan_add_op(&plan->backward, &op, pool, "backward", 0);
}

/* Convolution -----------------------------------------------------------------------------------*/

/* Whether nothing but the bias, if that, is to be learned here or from what is before. */
static bool is_frozen(const cpu_plan *plan, const cairn_op *layer) {
    return !cairn_graph_trains(&plan->graph, layer->weight) &&
           !cairn_graph_wants(&plan->graph, layer->input);
}

/* Whether not even the bias is. */
static bool is_fully_frozen(const cpu_plan *plan, const cairn_op *layer) {
    return is_frozen(plan, layer) && !cairn_graph_trains(&plan->graph, layer->bias);
}

/* How many ops go into this stage: the convolution; in evaluation a batch normalisation, and a sum
 * with something that is there already; a ReLU, and a max-pooling behind that; or a GELU. */
static int fuse(const cpu_plan *plan, cpu_stage *stage) {
    int last = stage->ordinal;
    if (!plan->graph.training) {
        stage->norm = cairn_graph_next(&plan->graph, last, CAIRN_OP_BATCHNORM);
        last += stage->norm != NULL;
        stage->sum = cairn_graph_next(&plan->graph, last, CAIRN_OP_ADD);
        last += stage->sum != NULL;
    }
    stage->relu = cairn_graph_next(&plan->graph, last, CAIRN_OP_RELU) != NULL;
    stage->gelu =
        is_frozen(plan, stage->layer) && cairn_graph_next(&plan->graph, last, CAIRN_OP_GELU);
    last += stage->relu || stage->gelu;
    if (!stage->gelu)
        stage->pool = cairn_graph_next(&plan->graph, last, CAIRN_OP_MAXPOOL);
    last += stage->pool != NULL;
    return last - stage->ordinal + 1;
}

/* Where the convolution leaves its output. A sum adds to what is there before, so the other summand
 * must be: the output takes its memory where nobody reads it any more, not even this convolution;
 * else a copy is made. */
static cairn_status place_output(cpu_plan *plan, cpu_stage *stage, onednn_layout layout) {
    if (!stage->sum)
        return plan_tensor(plan, &stage->made, layout, NULL);
    int before = (int)(stage->sum - plan->graph.net->op) - 1;
    int other = cairn_graph_other(stage->sum, before);
    const tensor *summand = plan_value(plan, other);
    bool free_after = other != CAIRN_NET_INPUT && summand->data != stage->src.data &&
                      cairn_graph_output_of(&plan->graph, other)->last_reader == before + 1;
    if (free_after && onednn_layout_equal(summand->layout, layout)) {
        stage->made = *summand;
        return CAIRN_OK;
    }
    cairn_status status = plan_tensor(plan, &stage->made, layout, NULL);
    return status ? status : plan_copy(plan, &plan->forward, summand, &stage->made, stage->sum);
}

/* Weights, row-major, and bias, or NULL for none: the parameters, or what a fused normalisation
 * makes of them. */
static cairn_status find_weights(cpu_plan *plan, const cpu_stage *stage, float **weights,
                                 float **bias) {
    const cairn_op *layer = stage->layer;
    if (stage->norm)
        return plan_fold(plan, stage, weights, bias);
    *weights = plan_parameter(plan, CAIRN_PARAMETER, layer->weight);
    *bias = layer->bias < 0 ? NULL : plan_parameter(plan, CAIRN_PARAMETER, layer->bias);
    return CAIRN_OK;
}

/* The primitive's descriptor is made: binds its tensors, and appends it. */
static cairn_status add_primitive(cpu_plan *plan, cpu_stage *stage, float *master, float *offset) {
    const cairn_op *layer = stage->layer;
    onednn_op *op = &stage->forward;
    tensor weights, bias;
    cairn_status status =
        plan_weights_from(plan, layer, weights_layout(plan, layer, dnnl_f32, dnnl_oihw), master,
                          onednn_op_layout(op, dnnl_query_weights_md), &weights);
    if (!status && offset)
        status = plan_tensor(plan, &bias, bias_layout(plan, layer), offset);
    if (status)
        return status;
    onednn_bind(op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(op, DNNL_ARG_WEIGHTS, weights.memory);
    if (offset)
        onednn_bind(op, DNNL_ARG_BIAS, bias.memory);
    onednn_bind(op, DNNL_ARG_DST, stage->made.memory);
    return plan_add_op(&plan->forward, op, layer, "forward",
                       plan->count * cairn_op_flops(layer, 0));
}

/* The layouts that the convolution reads and writes; makes the descriptor of a primitive. */
static cairn_status choose_layouts(cpu_plan *plan, cpu_stage *stage, onednn_layout given,
                                   onednn_fused fused, onednn_layout *src, onednn_layout *dst) {
    const cairn_op *layer = stage->layer;
    dnnl_data_type_t type = plan_type(plan);
    dnnl_format_tag_t tag = stage->winograd ? plan->loops->tag : dnnl_format_tag_any;
    *src = plan_layout(plan, layer->in, type, tag);
    *dst = plan_layout(plan, layer->out, type, tag);
    if (stage->winograd)
        return *src && *dst ? CAIRN_OK : CAIRN_FAILED;
    /* The first convolution reads the batch as it is assembled, row-major. */
    if (layer->input == CAIRN_NET_INPUT)
        *src = given;
    bool biased = layer->bias >= 0 || stage->norm;
    cairn_status status = onednn_conv_forward(
        plan->pool, &stage->forward, *src, weights_layout(plan, layer, type, dnnl_format_tag_any),
        biased ? bias_layout(plan, layer) : NULL, *dst, window_of(layer), fused);
    if (status)
        return status;
    *src = onednn_op_layout(&stage->forward, dnnl_query_src_md);
    *dst = onednn_op_layout(&stage->forward, dnnl_query_dst_md);
    return CAIRN_OK;
}

static cairn_status conv2d_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                   int *taken) {
    const cairn_op *layer = stage->layer;
    float *weights, *bias;
    *taken = fuse(plan, stage);
    stage->stem = plan_stem(plan, stage);
    if (stage->stem) {
        cairn_status status = find_weights(plan, stage, &weights, &bias);
        return status ? status : plan_stem_forward(plan, stage, given, weights, bias);
    }
    stage->winograd = plan_winograd(plan, layer);
    stage->pools = stage->winograd && plan_pools_2x2(plan, stage);
    bool fully_frozen = is_fully_frozen(plan, layer);
    onednn_fused fused = {.sum = stage->sum != NULL,
                          .relu = stage->relu,
                          .gelu = stage->gelu && fully_frozen && !stage->winograd};
    onednn_layout src, dst;
    cairn_status status = choose_layouts(plan, stage, given->layout, fused, &src, &dst);
    if (!status)
        status = plan_convert(plan, &plan->forward, given, src, layer, &stage->src);
    if (!status)
        status = find_weights(plan, stage, &weights, &bias);
    if (!status)
        status =
            stage->pools ? plan_pooled(plan, stage, &stage->made) : place_output(plan, stage, dst);
    if (status)
        return status;
    status = stage->winograd ? plan_winograd_forward(plan, stage, weights, bias)
                             : add_primitive(plan, stage, weights, bias);
    stage->dst = stage->made;
    if (!status && stage->gelu && !fused.gelu) {
        if (!fully_frozen) /* the bias's gradient goes by what the GELU reads */
            status = plan_tensor(plan, &stage->dst, stage->made.layout, NULL);
        if (!status)
            status = plan_gelu(&plan->forward, layer, &stage->made, &stage->dst);
    }
    return status || !stage->pool || stage->pools ? status : add_pooling(plan, stage, stage->pool);
}

static cairn_status describe_weight_gradient(cpu_plan *plan, const cpu_stage *stage,
                                             const tensor *src, const tensor *gradient,
                                             onednn_op *op) {
    const cairn_op *layer = stage->layer;
    return onednn_conv_backward_weights(plan->pool, op, src->layout,
                                        weights_layout(plan, layer, dnnl_f32, dnnl_format_tag_any),
                                        layer->bias < 0 ? NULL : bias_layout(plan, layer),
                                        gradient->layout, window_of(layer), &stage->forward);
}

static cairn_status add_weight_gradient(cpu_plan *plan, const cpu_stage *stage,
                                        const tensor *given) {
    const cairn_op *layer = stage->layer;
    onednn_op op = {0};
    tensor src = stage->src, gradient = *given;
    cairn_status status = describe_weight_gradient(plan, stage, &src, &gradient, &op);
    /* oneDNN's plain loops, which it has for channels that do not fill its blocks, take some
     * hundred times as long as its matrix product of row-major float32. */
    if (!status && strncmp(onednn_op_implementation(&op), "ref", 3) == 0) {
        status = plan_convert(plan, &plan->backward, &stage->src,
                              plan_plain(plan, layer->in, dnnl_f32), layer, &src);
        if (!status)
            status = plan_convert(plan, &plan->backward, given,
                                  plan_plain(plan, layer->out, dnnl_f32), layer, &gradient);
        if (!status)
            status = describe_weight_gradient(plan, stage, &src, &gradient, &op);
    }
    tensor weights, plain, bias = {0};
    if (!status)
        status = plan_gradient(plan, weights_layout(plan, layer, dnnl_f32, dnnl_oihw),
                               layer->weight, &plain);
    if (!status && layer->bias >= 0)
        status = plan_gradient(plan, bias_layout(plan, layer), layer->bias, &bias);
    if (status)
        return status;
    status =
        plan_stand_in(plan, &plain, onednn_op_layout(&op, dnnl_query_diff_weights_md), &weights);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_SRC, src.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_DST, gradient.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_WEIGHTS, weights.memory);
    if (layer->bias >= 0)
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
        status = plan_weights(plan, layer, weights_layout(plan, layer, dnnl_f32, dnnl_oihw),
                              onednn_op_layout(&op, dnnl_query_weights_md), &weights);
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
    const cairn_op *layer = stage->layer;
    if (stage->stem)
        return plan_stem_weight_gradient(plan, stage, given);
    bool masks = stage->relu && !stage->pools;
    tensor gradient;
    cairn_status status =
        masks ? plan_own(plan, &plan->backward, given, stage->dst.layout, layer, &gradient)
              : plan_convert(plan, &plan->backward, given, stage->dst.layout, layer, &gradient);
    if (!status && masks)
        status = plan_mask(&plan->backward, layer, &stage->dst, &gradient, &gradient);
    if (!status && stage->pool) {
        tensor pooled = gradient;
        status = stage->pools ? plan_unpool(plan, stage, &pooled, &gradient)
                              : add_pooling_backward(plan, stage, stage->pool, &pooled, &gradient);
    }
    if (!status && cairn_graph_trains(&plan->graph, layer->weight))
        status = stage->winograd ? plan_winograd_weight_gradient(plan, stage, &gradient)
                                 : add_weight_gradient(plan, stage, &gradient);
    else if (!status && cairn_graph_trains(&plan->graph, layer->bias))
        status = plan_bias_gradient(plan, stage, &gradient);
    if (!status && cairn_graph_wants(&plan->graph, layer->input))
        status = stage->winograd ? plan_winograd_data_gradient(plan, layer, &gradient, made)
                                 : add_data_gradient(plan, stage, &gradient, made);
    return status;
}

const layer_compiler compile_conv2d = {conv2d_forward, conv2d_backward};

/* Pooling by itself -----------------------------------------------------------------------------*/

static cairn_status pool_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                 int *taken) {
    (void)taken;
    onednn_layout layout = given->layout;
    if (onednn_layout_type(layout) != plan_type(plan))
        layout = plan_plain(plan, stage->layer->in, plan_type(plan));
    cairn_status status =
        plan_convert(plan, &plan->forward, given, layout, stage->layer, &stage->made);
    return status ? status : add_pooling(plan, stage, stage->layer);
}

static cairn_status pool_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                  tensor *made) {
    tensor gradient;
    cairn_status status =
        plan_convert(plan, &plan->backward, given, stage->dst.layout, stage->layer, &gradient);
    return status ? status : add_pooling_backward(plan, stage, stage->layer, &gradient, made);
}

const layer_compiler compile_pool = {pool_forward, pool_backward};
