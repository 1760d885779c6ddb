/* Batch normalisation, with the ReLU or GELU behind it, by norm_kernels.h's loops; its folding into
 * a convolution in evaluation; and the gradient of a bias alone, by the same loops. */
#include "norm.h"

#include "cpu_executor.h"
#include "cpu_layers.h"
#include "norm_kernels.h"

/* Batch normalisation ---------------------------------------------------------------------------*/

/* By the layer's output, which has a normalisation's input's shape. */
static norm_shape shape_of(const cpu_plan *plan, const cpu_task *task) {
    const cairn_op *op = task->layer;
    return (norm_shape){.count = plan->count,
                        .channels = op->out.c,
                        .block = task->block,
                        .area = (size_t)op->out.h * (size_t)op->out.w,
                        .bf16 = task->bf16,
                        .activation = task->relu   ? RELU
                                      : task->gelu ? GELU
                                                   : LINEAR,
                        .epsilon = op->epsilon};
}

/* With the batch's statistics, [2][channels], or the running ones. */
static norm_parameters parameters_of(const cpu_plan *plan, const cairn_op *op, const float *batch) {
    return (norm_parameters){
        .weight = plan_parameter(plan, CAIRN_PARAMETER, op->weight),
        .shift = plan_parameter(plan, CAIRN_PARAMETER, op->bias),
        .mean = batch ? batch : plan_parameter(plan, CAIRN_PARAMETER, op->mean),
        .variance = batch ? batch + op->in.c : plan_parameter(plan, CAIRN_PARAMETER, op->variance)};
}

static cairn_status run_norm(const cpu_plan *plan, const cpu_task *task) {
    const cairn_op *op = task->layer;
    norm_shape shape = shape_of(plan, task);
    if (plan->graph.training) {
        float *mean = task->statistics, *variance = mean + op->in.c;
        norm_measure(&shape, task->in, task->scratch, mean, variance);
        norm_move(mean, variance, plan_parameter(plan, CAIRN_PARAMETER, op->mean),
                  plan_parameter(plan, CAIRN_PARAMETER, op->variance), op->in.c, op->momentum,
                  (double)plan->count * (double)shape.area);
    }
    norm_parameters norm = parameters_of(plan, op, task->statistics);
    norm_apply(&shape, &norm, task->in, task->scratch, task->out);
    return CAIRN_OK;
}

static cairn_status run_norm_backward(const cpu_plan *plan, const cpu_task *task) {
    const cairn_op *op = task->layer;
    norm_shape shape = shape_of(plan, task);
    norm_parameters norm = parameters_of(plan, op, task->statistics);
    /* A frozen one's gradient goes where nobody looks: behind the statistics. */
    float *unseen = task->statistics + 2 * op->in.c;
    float *dweight = cairn_graph_trains(&plan->graph, op->weight)
                         ? plan_parameter(plan, CAIRN_GRADIENT, op->weight)
                         : unseen;
    float *dshift = cairn_graph_trains(&plan->graph, op->bias)
                        ? plan_parameter(plan, CAIRN_GRADIENT, op->bias)
                        : unseen + op->in.c;
    norm_backward(&shape, &norm, task->in, task->gradient, task->scratch, dweight, dshift,
                  task->out);
    return CAIRN_OK;
}

/* A task of either pass; `gradient` is NULL forward. */
static cairn_status add_norm(cpu_plan *plan, task_list *list, const cpu_stage *stage,
                             const char *what, const tensor *gradient, const tensor *out) {
    cpu_task *added = plan_add(list, stage->layer, what);
    if (!added)
        return CAIRN_FAILED;
    added->run = gradient ? run_norm_backward : run_norm;
    added->in = stage->src.data;
    added->gradient = gradient ? gradient->data : NULL;
    added->out = out->data;
    added->bf16 = plan_is_bf16(&stage->src);
    added->relu = stage->relu;
    added->gelu = stage->gelu;
    added->block = stage->block;
    added->statistics = stage->statistics;
    norm_shape shape = shape_of(plan, added);
    added->scratch = plan_scratch(plan, norm_scratch(&shape));
    return added->scratch ? CAIRN_OK : CAIRN_FAILED;
}

static cairn_status norm_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                 int *taken) {
    const cairn_op *layer = stage->layer;
    onednn_layout layout = given->layout;
    stage->relu = cairn_graph_next(&plan->graph, stage->ordinal, CAIRN_OP_RELU) != NULL;
    stage->gelu = cairn_graph_next(&plan->graph, stage->ordinal, CAIRN_OP_GELU) != NULL;
    *taken += stage->relu || stage->gelu;
    stage->block = plan_block(plan, layer->in, layout);
    if (!stage->block) {
        stage->block = 16;
        layout = plan_layout(plan, layer->in, onednn_layout_type(layout), dnnl_aBcd16b);
    }
    cairn_status status = plan_convert(plan, &plan->forward, given, layout, layer, &stage->src);
    if (!status)
        status = plan_tensor(plan, &stage->dst, layout, NULL);
    if (!status && plan->graph.training) {
        stage->statistics = plan_scratch(plan, 4 * (size_t)layer->in.c * sizeof(float));
        status = stage->statistics ? CAIRN_OK : CAIRN_FAILED;
    }
    return status ? status : add_norm(plan, &plan->forward, stage, "forward", NULL, &stage->dst);
}

static cairn_status norm_backward_compile(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                                          tensor *made) {
    tensor gradient;
    onednn_layout layout = stage->src.layout;
    cairn_status status =
        plan_convert(plan, &plan->backward, given, layout, stage->layer, &gradient);
    if (!status)
        status = plan_tensor(plan, made, layout, NULL);
    return status ? status : add_norm(plan, &plan->backward, stage, "backward", &gradient, made);
}

const layer_compiler compile_batchnorm = {norm_forward, norm_backward_compile};

/* Folding ---------------------------------------------------------------------------------------*/

static cairn_status run_fold(const cpu_plan *plan, const cpu_task *task) {
    const cairn_op *norm = task->norm, *layer = task->layer;
    norm_parameters parameters = parameters_of(plan, norm, NULL);
    float *folded = task->out;
    norm_fold(&parameters, norm->epsilon, task->weights, task->bias, layer->out.c,
              task->count / (size_t)layer->out.c, folded, folded + task->count);
    return CAIRN_OK;
}

cairn_status plan_fold(cpu_plan *plan, const cpu_stage *stage, float **weights, float **bias) {
    const cairn_op *layer = stage->layer;
    size_t count = plan->graph.net->parameter[layer->weight].count;
    cpu_task *added = plan_add(&plan->refresh, layer, "folding");
    *weights = plan_scratch(plan, (count + (size_t)layer->out.c) * sizeof **weights);
    if (!added || !*weights)
        return CAIRN_FAILED;
    *bias = *weights + count;
    added->run = run_fold;
    added->norm = stage->norm;
    added->weights = plan_parameter(plan, CAIRN_PARAMETER, layer->weight);
    added->bias = layer->bias < 0 ? NULL : plan_parameter(plan, CAIRN_PARAMETER, layer->bias);
    added->out = *weights;
    added->count = count;
    return CAIRN_OK;
}

/* A bias's gradient -----------------------------------------------------------------------------*/

static cairn_status run_bias_gradient(const cpu_plan *plan, const cpu_task *task) {
    norm_shape shape = shape_of(plan, task);
    bias_gradient(&shape, task->in, task->gradient, task->scratch, task->bias_gradient);
    return CAIRN_OK;
}

cairn_status plan_bias_gradient(cpu_plan *plan, const cpu_stage *stage, const tensor *given) {
    tensor made, gradient;
    const cairn_shape out = stage->layer->out;
    onednn_layout layout = given->layout;
    if (!plan_block(plan, out, layout))
        layout = plan_layout(plan, out, onednn_layout_type(layout), dnnl_aBcd16b);
    cairn_status status =
        plan_convert(plan, &plan->backward, &stage->made, layout, stage->layer, &made);
    if (!status)
        status = plan_convert(plan, &plan->backward, given, layout, stage->layer, &gradient);
    cpu_task *added = status ? NULL : plan_add(&plan->backward, stage->layer, "bias gradient");
    if (!added)
        return CAIRN_FAILED;
    added->run = run_bias_gradient;
    added->in = made.data;
    added->gradient = gradient.data;
    added->bias_gradient = plan_parameter(plan, CAIRN_GRADIENT, stage->layer->bias);
    added->bf16 = plan_is_bf16(given);
    added->gelu = stage->gelu;
    added->block = plan_block(plan, out, layout);
    norm_shape shape = shape_of(plan, added);
    added->scratch = plan_scratch(plan, norm_scratch(&shape));
    return added->scratch ? CAIRN_OK : CAIRN_FAILED;
}
