/* Compiling a net into a plan: the layers by op kind, and what a plan holds while they compile. */
#include "compile.h"

#include "capture.h"
#include "cuda_executor.h"
#include "cuda_layers.h"
#include "cuda_update.h"
#include "ends.h"

#include <stdlib.h>
#include <string.h>

static const layer_compiler *compilers[CAIRN_OP_KINDS] = {
    [CAIRN_OP_CONV2D] = &cuda_compile_conv2d,       [CAIRN_OP_RELU] = &cuda_compile_relu,
    [CAIRN_OP_MAXPOOL] = &cuda_compile_maxpool,     [CAIRN_OP_FLATTEN] = &cuda_compile_flatten,
    [CAIRN_OP_LINEAR] = &cuda_compile_linear,       [CAIRN_OP_DROPOUT] = &cuda_compile_dropout,
    [CAIRN_OP_BATCHNORM] = &cuda_compile_batchnorm, [CAIRN_OP_ADD] = &cuda_compile_add,
    [CAIRN_OP_AVGPOOL] = &cuda_compile_avgpool,     [CAIRN_OP_GELU] = &cuda_compile_activation,
    [CAIRN_OP_SILU] = &cuda_compile_activation,
};

/* What a stage made is needed by its readers; what it read, by one fewer. */
static void count_users(cuda_plan *plan, const cuda_stage *stage) {
    plan->taken = 0;
    cuda_plan_hold(plan, &stage->dst, plan->graph.op[stage->last].readers);
    cuda_plan_hold(plan, &stage->src, -1);
    if (stage->add)
        cuda_plan_hold(plan, &stage->other, -1);
}

static cairn_status compile_forward(void *compiled, int number, int ordinal, int *taken) {
    cuda_plan *plan = compiled;
    cuda_stage *stage = &plan->stage[number];
    const cairn_op *layer = &plan->graph.net->op[ordinal];
    plan->stage_count = number + 1;
    *stage = (cuda_stage){
        .layer = layer, .ordinal = ordinal, .src = cuda_plan_node(plan, layer->input)->value};
    cairn_status status = compilers[layer->kind]->forward(plan, stage, taken);
    stage->last = ordinal + *taken - 1;
    plan->node[stage->last].value = stage->dst;
    count_users(plan, stage);
    return status;
}

static cairn_status compile_loss(void *compiled) {
    cuda_plan *plan = compiled;
    cairn_status status = cuda_plan_add_loss(plan);
    plan->taken = 0;
    return status;
}

static cairn_status compile_backward(void *compiled, int number) {
    cuda_plan *plan = compiled;
    cuda_stage *stage = &plan->stage[number];
    const activation *gradient = &plan->node[stage->last].gradient;
    cairn_status status = compilers[stage->layer->kind]->backward(plan, stage, gradient);
    cuda_plan_hold(plan, gradient, -1);
    plan->taken = 0;
    return status;
}

static cairn_status compile(cuda_plan *plan) {
    static const cairn_graph_compiler compiler = {compile_forward, compile_loss, compile_backward};
    const bool updates = plan->graph.training && plan->executor->trained_total;
    cairn_status status = cuda_plan_add_batch(plan);
    if (!status)
        status = cairn_graph_compile(&plan->graph, &compiler, plan);
    return status || !updates ? status : cuda_plan_add_update(plan);
}

/* Forgets what compile() made but the slots' sizes. */
static void clear(cuda_plan *plan) {
    for (int s = 0; s < plan->stage_count; s++) {
        const layer_compiler *compiler = compilers[plan->stage[s].layer->kind];
        if (compiler->release)
            compiler->release(&plan->stage[s]);
    }
    plan->stage_count = plan->task_count = 0;
    plan->kept_bytes = 0;
    plan->taken = 0;
    memset(plan->slot_users, 0, sizeof plan->slot_users);
    memset(plan->node, 0, (size_t)plan->graph.net->op_count * sizeof *plan->node);
}

cairn_status cuda_plan_create(cuda_plan **made, cuda_executor *executor, int count,
                              cairn_plan_purpose purpose) {
    const size_t ops = (size_t)executor->base.net->op_count;
    cuda_plan *plan = calloc(1, sizeof *plan);
    cuda_stage *stage = calloc(ops, sizeof *stage);
    cuda_node *node = calloc(ops, sizeof *node);
    if (!plan || !stage || !node) {
        free(plan);
        free(stage);
        free(node);
        return cairn_error_set(CAIRN_FAILED, "out of memory for a plan");
    }
    *plan = (cuda_plan){.executor = executor,
                        .count = count,
                        .type = executor->type,
                        .layout = executor->layout,
                        .pad = executor->pad,
                        .stage = stage,
                        .node = node};
    cairn_graph_survey(&plan->graph, executor->base.net, purpose);
    if (!executor->base.options.deterministic) /* room for whatever proves fastest */
        plan->workspace_bytes = cuda_plan_workspace_limit(plan);
    cairn_status status = compile(plan);
    if (status)
        cuda_plan_destroy(plan);
    else
        *made = plan;
    return status;
}

cairn_status cuda_plan_compile_in(cuda_plan *plan, const cuda_block *block) {
    clear(plan);
    plan->block = block;
    plan->base = block->data;
    return compile(plan);
}

cairn_status cuda_plan_measure(cuda_executor *executor, int count, cairn_plan_purpose purpose,
                               size_t *bytes) {
    cuda_plan *plan = NULL;
    cairn_status status = cuda_plan_create(&plan, executor, count, purpose);
    if (status)
        return status;
    *bytes = cuda_plan_total(plan) + plan->workspace_bytes;
    cuda_plan_destroy(plan);
    return CAIRN_OK;
}

void cuda_plan_destroy(cuda_plan *plan) {
    if (!plan)
        return;
    cuda_plan_drop_graphs(plan);
    clear(plan);
    free(plan->node);
    free(plan->stage);
    free(plan->task);
    free(plan);
}
