/* Batch normalisation as oneDNN's primitive, with the ReLU behind it; its folding into a
 * convolution in evaluation; and GELU, the other primitive that takes whatever layout its input
 * has. */
#include "plan.h"

/* What crosses a primitive is of the plan's type; a blocked layout stays. */
static cairn_status take_input(cpu_plan *plan, cpu_stage *stage, const tensor *given) {
    stage->src = *given;
    return plan_tensor(plan, &stage->dst, given->layout, NULL);
}

static cairn_status vector(cpu_plan *plan, int channels, float *data, tensor *made) {
    dnnl_dims_t dim = {channels};
    return plan_tensor(plan, made, onednn_layout_create(plan->pool, 1, dim, dnnl_f32, dnnl_a),
                       data);
}

static cairn_status parameter(cpu_plan *plan, const cairn_op *layer, int ordinal, tensor *made) {
    return vector(plan, layer->in.c, plan_parameter(plan, CAIRN_PARAMETER, ordinal), made);
}

/* Batch normalisation ---------------------------------------------------------------------------*/

static cairn_status run_statistics(const cpu_plan *plan, const cpu_task *task) {
    const cairn_op *op = task->layer;
    double m = (double)plan->count * op->in.h * op->in.w;
    move_statistics(task->in, task->with, plan_parameter(plan, CAIRN_PARAMETER, op->mean),
                    plan_parameter(plan, CAIRN_PARAMETER, op->variance), op->in.c, op->momentum, m);
    return CAIRN_OK;
}

static cairn_status add_statistics(cpu_plan *plan, const cpu_stage *stage) {
    cpu_task *added = plan_add(&plan->forward, stage->layer, "running statistics");
    if (!added)
        return CAIRN_FAILED;
    added->run = run_statistics;
    added->in = stage->mean.data;
    added->with = stage->variance.data;
    return CAIRN_OK;
}

/* The batch's statistics, to be written, or the running ones, to be read; and in training a ReLU's
 * workspace. */
static cairn_status place_statistics(cpu_plan *plan, cpu_stage *stage) {
    const cairn_op *layer = stage->layer;
    if (!plan->training) {
        cairn_status status = parameter(plan, layer, layer->mean, &stage->mean);
        return status ? status : parameter(plan, layer, layer->variance, &stage->variance);
    }
    cairn_status status = vector(plan, layer->in.c, NULL, &stage->mean);
    if (!status)
        status = vector(plan, layer->in.c, NULL, &stage->variance);
    if (!status && stage->relu)
        status = plan_tensor(plan, &stage->workspace,
                             onednn_op_layout(&stage->forward, dnnl_query_workspace_md), NULL);
    return status;
}

static cairn_status norm_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                 int *taken) {
    const cairn_op *layer = stage->layer;
    onednn_op *op = &stage->forward;
    tensor scale, shift;
    stage->relu = plan_next(plan, stage->ordinal, CAIRN_OP_RELU) != NULL;
    *taken += stage->relu;
    cairn_status status = take_input(plan, stage, given);
    if (!status)
        status = onednn_norm_forward(plan->pool, op, given->layout, layer->epsilon, plan->training,
                                     stage->relu);
    if (!status)
        status = place_statistics(plan, stage);
    if (!status)
        status = parameter(plan, layer, layer->weight, &scale);
    if (!status)
        status = parameter(plan, layer, layer->bias, &shift);
    if (status)
        return status;
    onednn_bind(op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(op, DNNL_ARG_MEAN, stage->mean.memory);
    onednn_bind(op, DNNL_ARG_VARIANCE, stage->variance.memory);
    onednn_bind(op, DNNL_ARG_SCALE, scale.memory);
    onednn_bind(op, DNNL_ARG_SHIFT, shift.memory);
    onednn_bind(op, DNNL_ARG_DST, stage->dst.memory);
    if (plan->training && stage->relu)
        onednn_bind(op, DNNL_ARG_WORKSPACE, stage->workspace.memory);
    status = plan_add_op(&plan->forward, op, layer, "forward", 0);
    return status || !plan->training ? status : add_statistics(plan, stage);
}

static cairn_status norm_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                  tensor *made) {
    const cairn_op *layer = stage->layer;
    onednn_op op = {0};
    tensor gradient, scale, shift, diff_scale = {0}, diff_shift = {0};
    onednn_layout layout = stage->src.layout;
    cairn_status status = plan_convert(plan, &plan->backward, given, layout, layer, &gradient);
    if (!status)
        status = onednn_norm_backward(plan->pool, &op, layout, layer->epsilon, stage->relu,
                                      &stage->forward);
    if (!status)
        status = plan_tensor(plan, made, layout, NULL);
    if (!status)
        status = parameter(plan, layer, layer->weight, &scale);
    if (!status)
        status = parameter(plan, layer, layer->bias, &shift);
    if (!status)
        status = plan_gradient(plan, scale.layout, layer->weight, &diff_scale);
    if (!status)
        status = plan_gradient(plan, scale.layout, layer->bias, &diff_shift);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(&op, DNNL_ARG_MEAN, stage->mean.memory);
    onednn_bind(&op, DNNL_ARG_VARIANCE, stage->variance.memory);
    onednn_bind(&op, DNNL_ARG_SCALE, scale.memory);
    onednn_bind(&op, DNNL_ARG_SHIFT, shift.memory); /* oneDNN 2 asks for it, and does not read it */
    onednn_bind(&op, DNNL_ARG_DIFF_DST, gradient.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_SRC, made->memory);
    onednn_bind(&op, DNNL_ARG_DIFF_SCALE, diff_scale.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_SHIFT, diff_shift.memory);
    if (stage->relu)
        onednn_bind(&op, DNNL_ARG_WORKSPACE, stage->workspace.memory);
    return plan_add_op(&plan->backward, &op, layer, "backward", 0);
}

const layer_compiler compile_batchnorm = {norm_forward, norm_backward};

/* Folding ---------------------------------------------------------------------------------------*/

static cairn_status run_fold(const cpu_plan *plan, const cpu_task *task) {
    const cairn_op *norm = task->norm, *layer = task->layer;
    norm_parameters parameters = {plan_parameter(plan, CAIRN_PARAMETER, norm->weight),
                                  plan_parameter(plan, CAIRN_PARAMETER, norm->bias),
                                  plan_parameter(plan, CAIRN_PARAMETER, norm->mean),
                                  plan_parameter(plan, CAIRN_PARAMETER, norm->variance),
                                  norm->epsilon};
    float *folded = task->out;
    fold_norm(&parameters, task->in, task->with, layer->out.c, task->count / (size_t)layer->out.c,
              folded, folded + task->count);
    return CAIRN_OK;
}

cairn_status plan_fold(cpu_plan *plan, const cpu_stage *stage, float **weights, float **bias) {
    const cairn_op *layer = stage->layer;
    size_t count = plan->executor->base.net->parameter[layer->weight].count;
    cpu_task *added = plan_add(&plan->refresh, layer, "folding");
    *weights = plan_scratch(plan, (count + (size_t)layer->out.c) * sizeof **weights);
    if (!added || !*weights)
        return CAIRN_FAILED;
    *bias = *weights + count;
    added->run = run_fold;
    added->norm = stage->norm;
    added->in = plan_parameter(plan, CAIRN_PARAMETER, layer->weight);
    added->with = layer->bias < 0 ? NULL : plan_parameter(plan, CAIRN_PARAMETER, layer->bias);
    added->out = *weights;
    added->count = count;
    return CAIRN_OK;
}

/* GELU ------------------------------------------------------------------------------------------*/

static cairn_status gelu_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                 int *taken) {
    (void)taken;
    onednn_op *op = &stage->forward;
    cairn_status status = take_input(plan, stage, given);
    if (!status)
        status = onednn_gelu_forward(plan->pool, op, given->layout);
    if (status)
        return status;
    onednn_bind(op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(op, DNNL_ARG_DST, stage->dst.memory);
    return plan_add_op(&plan->forward, op, stage->layer, "forward", 0);
}

static cairn_status gelu_backward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                  tensor *made) {
    onednn_op op = {0};
    tensor gradient;
    onednn_layout layout = stage->src.layout;
    cairn_status status =
        plan_convert(plan, &plan->backward, given, layout, stage->layer, &gradient);
    if (!status)
        status = onednn_gelu_backward(plan->pool, &op, layout, &stage->forward);
    if (!status)
        status = plan_tensor(plan, made, layout, NULL);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_SRC, stage->src.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_DST, gradient.memory);
    onednn_bind(&op, DNNL_ARG_DIFF_SRC, made->memory);
    return plan_add_op(&plan->backward, &op, stage->layer, "backward", 0);
}

const layer_compiler compile_gelu = {gelu_forward, gelu_backward};
