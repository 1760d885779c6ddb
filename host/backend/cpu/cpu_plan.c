/* Compiling a net into a plan: the layers by op kind, and what a plan holds while they compile. */
#include "cpu_plan.h"

#include "conv_blocks.h"
#include "cpu_executor.h"
#include "cpu_layers.h"
#include "elementwise.h"

#include <stdlib.h>

static const layer_compiler *compilers[] = {
    [CAIRN_OP_CONV2D] = &compile_conv2d,       [CAIRN_OP_RELU] = &compile_relu,
    [CAIRN_OP_MAXPOOL] = &compile_pool,        [CAIRN_OP_FLATTEN] = &compile_flatten,
    [CAIRN_OP_LINEAR] = &compile_linear,       [CAIRN_OP_DROPOUT] = &compile_dropout,
    [CAIRN_OP_BATCHNORM] = &compile_batchnorm, [CAIRN_OP_ADD] = &compile_add,
    [CAIRN_OP_AVGPOOL] = &compile_pool,        [CAIRN_OP_GELU] = &compile_activation,
    [CAIRN_OP_SILU] = &compile_activation,
};

/* Gradients -------------------------------------------------------------------------------------*/

/* Adds `made` to the gradient of an op's output. */
static cairn_status pass_gradient(cpu_plan *plan, int ordinal, const tensor *made,
                                  const cairn_op *layer) {
    if (!cairn_graph_wants(&plan->graph, ordinal))
        return CAIRN_OK;
    tensor *sum = &plan->value[ordinal].gradient, part, old = *sum;
    if (!sum->data) {
        *sum = *made;
        return CAIRN_OK;
    }
    cairn_status status = plan_convert(plan, &plan->backward, made, old.layout, layer, &part);
    if (!status && !part.shared)
        *sum = part;
    else if (!status && old.shared)
        status = plan_tensor(plan, sum, old.layout, NULL);
    return status ? status
                  : plan_sum(&plan->backward, layer, "gradient sum", &old, &part, sum, false);
}

/* Compiling -------------------------------------------------------------------------------------*/

/* The assembled batch. Only a convolution reads bf16; all else starts from float32. */
static cairn_status compile_input(cpu_plan *plan, const cairn_net *net) {
    bool convolved = false;
    for (int i = 0; i < net->op_count; i++)
        convolved |= net->op[i].input == CAIRN_NET_INPUT && net->op[i].kind == CAIRN_OP_CONV2D;
    plan->input_bf16 = plan_type(plan) == dnnl_bf16 && convolved;
    onednn_layout layout = plan_plain(plan, net->input, plan->input_bf16 ? dnnl_bf16 : dnnl_f32);
    const cairn_executor_options *options = &plan->executor->base.options;
    bool plain = cairn_augment_is_plain(&options->augment) && options->tta == CAIRN_TTA_NONE;
    size_t count = (size_t)plan->count;
    plan->targets = plan_scratch(plan, count * sizeof *plan->targets);
    plan->bytes = plain ? NULL : plan_scratch(plan, count * cairn_shape_count(net->input));
    return plan->targets && (plain || plan->bytes) ? plan_tensor(plan, &plan->input, layout, NULL)
                                                   : CAIRN_FAILED;
}

/* The last op's output in row-major order is the logits; their gradient has the same layout. */
static cairn_status compile_logits(void *compiled) {
    cpu_plan *plan = compiled;
    const cairn_net *net = plan->graph.net;
    const cairn_op *op = &net->op[net->op_count - 1];
    cpu_value *last = &plan->value[net->op_count - 1];
    tensor logits;
    onednn_layout layout = plan_plain(plan, op->out, dnnl_f32);
    cairn_status status = plan_convert(plan, &plan->forward, &last->value, layout, op, &logits);
    if (!status)
        status = plan_tensor(plan, &last->gradient, layout, NULL);
    if (status)
        return status;
    plan->logits = logits.data;
    plan->logits_gradient = last->gradient.data;
    return CAIRN_OK;
}

static cairn_status compile_forward(void *compiled, int number, int ordinal, int *taken) {
    cpu_plan *plan = compiled;
    cpu_stage *stage = &plan->stage[number];
    const cairn_op *layer = &plan->graph.net->op[ordinal];
    tensor given = *plan_value(plan, layer->input);
    stage->layer = layer;
    stage->ordinal = ordinal;
    cairn_status status = compilers[layer->kind]->forward(plan, stage, &given, taken);
    stage->last = ordinal + *taken - 1;
    plan->value[stage->last].value = stage->dst;
    return status;
}

static cairn_status compile_backward(void *compiled, int number) {
    cpu_plan *plan = compiled;
    cpu_stage *stage = &plan->stage[number];
    const cairn_op *layer = stage->layer;
    tensor made = {0};
    cairn_status status =
        compilers[layer->kind]->backward(plan, stage, &plan->value[stage->last].gradient, &made);
    if (!status)
        status = pass_gradient(plan, layer->input, &made, layer);
    return status ? status : pass_gradient(plan, layer->other, &made, layer);
}

static cairn_status compile(cpu_plan *plan) {
    static const cairn_graph_compiler compiler = {compile_forward, compile_logits,
                                                  compile_backward};
    cairn_status status = compile_input(plan, plan->graph.net);
    return status ? status : cairn_graph_compile(&plan->graph, &compiler, plan);
}

cairn_status plan_find(cpu_plan **found, cpu_executor *executor, int count,
                       cairn_plan_purpose wished) {
    const cairn_net *net = executor->base.net;
    cairn_plan_purpose purpose = cairn_plan_purpose_resolve(net, wished, true);
    for (cpu_plan *known = executor->plans; known; known = known->next)
        if (known->count == count && known->graph.purpose == purpose) {
            *found = known;
            return CAIRN_OK;
        }
    cpu_stage *stages = calloc((size_t)net->op_count, sizeof *stages);
    cpu_value *values = calloc((size_t)net->op_count, sizeof *values);
    cpu_plan *made = calloc(1, sizeof *made);
    cairn_status status = CAIRN_OK;
    if (!stages || !values || !made) {
        status = cairn_error_set(CAIRN_FAILED, "out of memory for a plan");
        goto done;
    }
    made->executor = executor;
    made->count = count;
    made->loops = plan_loops(plan_type(made));
    made->value = values;
    made->stage = stages;
    cairn_graph_survey(&made->graph, net, purpose);
    status = onednn_pool_create(&made->pool);
    if (!status)
        status = compile(made);
    made->value = NULL;
    made->stage = NULL;
done:
    free(stages);
    free(values);
    if (status) {
        plan_destroy(made);
        return status;
    }
    made->next = executor->plans;
    executor->plans = made;
    *found = made;
    return CAIRN_OK;
}

void plan_destroy(cpu_plan *plan) {
    if (!plan)
        return;
    onednn_pool_destroy(plan->pool);
    free(plan->refresh.task);
    free(plan->forward.task);
    free(plan->backward.task);
    free(plan);
}
