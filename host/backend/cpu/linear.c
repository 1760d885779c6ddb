/* The linear layer as oneDNN's inner product: y [n,out] = x [n,in] W^T + b. Backward: dx = dy W,
 * dW = dy^T x, db = sum over n of dy. Activations are row-major, the weights as oneDNN likes them.
 */
#include "cpu_layers.h"

static onednn_layout matrix_layout(cpu_plan *plan, int rows, int columns, dnnl_data_type_t type,
                                   dnnl_format_tag_t tag) {
    dnnl_dims_t dim = {rows, columns};
    return onednn_layout_create(plan->pool, 2, dim, type, tag);
}

static onednn_layout weights_layout(cpu_plan *plan, const cairn_op *layer, dnnl_data_type_t type,
                                    dnnl_format_tag_t tag) {
    return matrix_layout(plan, layer->out.c, layer->in.c, type, tag);
}

/* All empty where there is no bias. */
static cairn_status bias_tensor(cpu_plan *plan, const cairn_op *layer, bool gradient,
                                tensor *bias) {
    *bias = (tensor){0};
    if (layer->bias < 0)
        return CAIRN_OK;
    dnnl_dims_t dim = {layer->out.c};
    onednn_layout layout = onednn_layout_create(plan->pool, 1, dim, dnnl_f32, dnnl_a);
    if (gradient)
        return plan_gradient(plan, layout, layer->bias, bias);
    return plan_tensor(plan, bias, layout, plan_parameter(plan, CAIRN_PARAMETER, layer->bias));
}

/* A row-major activation [n,features,1,1] as the matrix [n,features] over the same memory. */
static cairn_status as_matrix(cpu_plan *plan, const tensor *activation, int features,
                              dnnl_data_type_t type, tensor *matrix) {
    onednn_layout layout = matrix_layout(plan, plan->count, features, type, dnnl_ab);
    return plan_tensor(plan, matrix, layout, activation->data);
}

/* Scaling, where there is any: of the weights, before they are multiplied with, and of their
 * gradient. */
static cairn_status run_scaling(const cpu_plan *plan, const cpu_task *task) {
    (void)plan;
    const float *from = task->in;
    float *to = task->out;
    for (size_t i = 0; i < task->count; i++)
        to[i] = task->layer->scale * from[i];
    return CAIRN_OK;
}

static cairn_status add_scaling(cpu_plan *plan, task_list *list, const cairn_op *layer,
                                const float *from, float *to) {
    cpu_task *added = plan_add(list, layer, "scaling");
    if (!added)
        return CAIRN_FAILED;
    added->run = run_scaling;
    added->in = from;
    added->out = to;
    added->count = plan->graph.net->parameter[layer->weight].count;
    return CAIRN_OK;
}

/* The scaled weights, row-major: the parameter itself, or a copy that the plan refreshes. */
static cairn_status scaled_weights(cpu_plan *plan, const cairn_op *layer, float **weights) {
    float *master = plan_parameter(plan, CAIRN_PARAMETER, layer->weight);
    *weights = master;
    if (layer->scale == 1)
        return CAIRN_OK;
    size_t count = plan->graph.net->parameter[layer->weight].count;
    *weights = plan_scratch(plan, count * sizeof **weights);
    return *weights ? add_scaling(plan, &plan->refresh, layer, master, *weights) : CAIRN_FAILED;
}

/* In the layout that a primitive wants. */
static cairn_status refreshed_weights(cpu_plan *plan, const cairn_op *layer, onednn_layout wanted,
                                      tensor *weights) {
    float *scaled = NULL;
    cairn_status status = scaled_weights(plan, layer, &scaled);
    return status ? status
                  : plan_weights_from(plan, layer, weights_layout(plan, layer, dnnl_f32, dnnl_ab),
                                      scaled, wanted, weights);
}

static cairn_status linear_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                   int *taken) {
    (void)taken;
    const cairn_op *layer = stage->layer;
    onednn_op *op = &stage->forward;
    dnnl_data_type_t type = plan_type(plan);
    tensor plain, weights, bias, dst;
    cairn_status status =
        plan_convert(plan, &plan->forward, given, plan_plain(plan, layer->in, type), layer, &plain);
    if (!status)
        status = as_matrix(plan, &plain, layer->in.c, type, &stage->src);
    if (!status)
        status = plan_tensor(plan, &stage->dst, plan_plain(plan, layer->out, dnnl_f32), NULL);
    if (!status)
        status = as_matrix(plan, &stage->dst, layer->out.c, dnnl_f32, &dst);
    if (!status)
        status = bias_tensor(plan, layer, false, &bias);
    if (!status)
        status = onednn_linear_forward(plan->pool, op, stage->src.layout,
                                       weights_layout(plan, layer, type, dnnl_format_tag_any),
                                       bias.layout, dst.layout);
    if (!status)
        status =
            refreshed_weights(plan, layer, onednn_op_layout(op, dnnl_query_weights_md), &weights);
    if (status)
        return status;
    onednn_bind(op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(op, DNNL_ARG_WEIGHTS, weights.memory);
    if (bias.memory)
        onednn_bind(op, DNNL_ARG_BIAS, bias.memory);
    onednn_bind(op, DNNL_ARG_DST, dst.memory);
    return plan_add_op(&plan->forward, op, layer, "forward",
                       plan->count * cairn_op_flops(layer, 0));
}

/* Backward, the weights stay row-major: the matrix products are as fast so, and 2 MiB for SimpleCNN
 * need not be moved. */
static cairn_status add_weight_gradient(cpu_plan *plan, const cpu_stage *stage,
                                        const tensor *gradient) {
    const cairn_op *layer = stage->layer;
    onednn_op op = {0};
    tensor weights, bias;
    cairn_status status = bias_tensor(plan, layer, true, &bias);
    if (!status)
        status = plan_gradient(plan, weights_layout(plan, layer, dnnl_f32, dnnl_ab), layer->weight,
                               &weights);
    if (!status)
        status = onednn_linear_backward_weights(plan->pool, &op, stage->src.layout, weights.layout,
                                                bias.layout, gradient->layout, &stage->forward);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_DST, gradient->memory);
    onednn_bind(&op, DNNL_ARG_DIFF_WEIGHTS, weights.memory);
    if (bias.memory)
        onednn_bind(&op, DNNL_ARG_DIFF_BIAS, bias.memory);
    status = plan_add_op(&plan->backward, &op, layer, "weight gradient",
                         plan->count * cairn_op_flops(layer, 0));
    return status || layer->scale == 1
               ? status
               : add_scaling(plan, &plan->backward, layer, weights.data, weights.data);
}

static cairn_status add_data_gradient(cpu_plan *plan, const cpu_stage *stage,
                                      const tensor *gradient, tensor *made) {
    const cairn_op *layer = stage->layer;
    onednn_op op = {0};
    dnnl_data_type_t type = plan_type(plan);
    tensor weights, diff_src;
    cairn_status status = plan_tensor(plan, made, plan_plain(plan, layer->in, type), NULL);
    if (!status)
        status = as_matrix(plan, made, layer->in.c, type, &diff_src);
    if (!status)
        status = onednn_linear_backward_data(plan->pool, &op, diff_src.layout,
                                             weights_layout(plan, layer, type, dnnl_ab),
                                             gradient->layout, &stage->forward);
    if (!status)
        status =
            refreshed_weights(plan, layer, onednn_op_layout(&op, dnnl_query_weights_md), &weights);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_DIFF_DST, gradient->memory);
    onednn_bind(&op, DNNL_ARG_WEIGHTS, weights.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_SRC, diff_src.memory);
    return plan_add_op(&plan->backward, &op, layer, "data gradient",
                       plan->count * cairn_op_flops(layer, 0));
}

static cairn_status linear_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                    tensor *made) {
    const cairn_op *layer = stage->layer;
    dnnl_data_type_t type = plan_type(plan);
    tensor plain, gradient;
    cairn_status status = plan_convert(plan, &plan->backward, given,
                                       plan_plain(plan, layer->out, type), layer, &plain);
    if (!status)
        status = as_matrix(plan, &plain, layer->out.c, type, &gradient);
    if (!status && (cairn_graph_trains(&plan->graph, layer->weight) ||
                    cairn_graph_trains(&plan->graph, layer->bias)))
        status = add_weight_gradient(plan, stage, &gradient);
    if (!status && cairn_graph_wants(&plan->graph, layer->input))
        status = add_data_gradient(plan, stage, &gradient, made);
    return status;
}

const layer_compiler compile_linear = {linear_forward, linear_backward};
