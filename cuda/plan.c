/* Compiling a net into a plan, and running it as a graph. */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const layer_compiler *compilers[CAIRN_OP_KINDS] = {
    [CAIRN_OP_CONV2D] = &cuda_compile_conv2d,       [CAIRN_OP_RELU] = &cuda_compile_relu,
    [CAIRN_OP_MAXPOOL] = &cuda_compile_maxpool,     [CAIRN_OP_FLATTEN] = &cuda_compile_flatten,
    [CAIRN_OP_LINEAR] = &cuda_compile_linear,       [CAIRN_OP_DROPOUT] = &cuda_compile_dropout,
    [CAIRN_OP_BATCHNORM] = &cuda_compile_batchnorm, [CAIRN_OP_ADD] = &cuda_compile_add,
    [CAIRN_OP_AVGPOOL] = &cuda_compile_avgpool,     [CAIRN_OP_GELU] = &cuda_compile_gelu,
};

/* Tasks -----------------------------------------------------------------------------------------*/

cuda_task *cuda_plan_add(cuda_plan *plan, const cuda_stage *stage, const char *what,
                         cairn_status (*run)(const cuda_plan *, const cuda_task *),
                         const activation *in, const activation *out) {
    if (plan->task_count == plan->task_capacity) {
        int capacity = plan->task_capacity ? 2 * plan->task_capacity : 32;
        cuda_task *grown = realloc(plan->task, (size_t)capacity * sizeof *grown);
        if (!grown) {
            cairn_error_set(CAIRN_FAILED, "out of memory for a plan's tasks");
            return NULL;
        }
        plan->task = grown;
        plan->task_capacity = capacity;
    }
    cuda_task *added = &plan->task[plan->task_count++];
    *added = (cuda_task){.run = run, .stage = stage};
    if (in)
        added->in = *in;
    if (out)
        added->out = *out;
    snprintf(added->name, sizeof added->name, "%s%s%s", stage ? stage->layer->name : "",
             stage ? " " : "", what);
    return added;
}

static cairn_status run_bias_gradient(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    kernel_bias_gradient(plan->executor->stream, task->in.shape, task->in.data, stage->chosen,
                         cuda_plan_workspace(plan),
                         cuda_plan_parameter(plan, CAIRN_GRADIENT, stage->layer->bias));
    return CAIRN_OK;
}

cairn_status cuda_plan_add_bias_gradient(cuda_plan *plan, const cuda_stage *stage,
                                         const activation *gradient) {
    if (!cairn_graph_trains(&plan->graph, stage->layer->bias))
        return CAIRN_OK;
    cuda_plan_want_workspace(plan, kernel_bias_gradient_scratch(gradient->shape));
    return cuda_plan_add(plan, stage, "bias gradient", run_bias_gradient, gradient, NULL)
               ? CAIRN_OK
               : CAIRN_FAILED;
}

cairn_status cuda_plan_take_other(cuda_plan *plan, cuda_stage *stage, const cairn_op *add,
                                  int other) {
    stage->add = add;
    stage->other = cuda_plan_node(plan, other)->value;
    const cuda_tensor *a = &stage->src.shape, *b = &stage->other.shape;
    if (a->pitch == b->pitch && a->h == b->h && a->w == b->w)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_FAILED,
                           "%s: the cuda backend cannot add features to a map that was flattened",
                           add->name);
}

/* Both ends: gathering the batch, the loss ------------------------------------------------------*/

/* Whether more than the crop happens to its samples. */
static bool augments(const cuda_plan *plan) {
    const cairn_executor_options *options = &plan->executor->base.options;
    return plan->graph.training ? !cairn_augment_is_plain(&options->augment)
                                : options->tta != CAIRN_TTA_NONE;
}

static cairn_status run_gather(const cuda_plan *plan, const cuda_task *task) {
    cuda_executor *executor = plan->executor;
    const device_split *split = &executor->splits[plan->source];
    cuda_gather gather = {.images = split->images,
                          .labels = split->labels,
                          .table = executor->table,
                          .seed = executor->base.options.seed,
                          .crop_padding =
                              plan->graph.training ? executor->base.options.crop_padding : 0,
                          .by_index = plan->graph.training,
                          .augmenter = augments(plan) ? executor->augmenter : NULL};
    kernel_gather(executor->stream, &gather, executor->ring, executor->state, task->out.shape,
                  task->out.data, plan->targets);
    return CAIRN_OK;
}

static cairn_status run_loss(const cuda_plan *plan, const cuda_task *task) {
    cuda_executor *executor = plan->executor;
    kernel_cross_entropy(executor->stream, plan->count, cairn_net_classes(executor->base.net),
                         plan->logits_pitch, plan->logits, plan->targets,
                         plan->graph.training ? executor->base.options.label_smoothing : 0,
                         plan->type, plan->graph.training ? task->out.data : NULL, executor->state);
    return CAIRN_OK;
}

static cairn_status run_transpose(const cuda_plan *plan, const cuda_task *task) {
    kernel_transpose(plan->executor->stream, task->in.shape, task->out.shape, task->in.data,
                     task->out.data);
    return CAIRN_OK;
}

static cairn_status run_to_float32(const cuda_plan *plan, const cuda_task *task) {
    kernel_to_float32(plan->executor->stream, (size_t)plan->count * tensor_features(task->in.shape),
                      task->in.data, task->out.data);
    return CAIRN_OK;
}

static bool are_maps(const activation *last) {
    return last->shape.layout == CUDA_NHWC && last->shape.h * last->shape.w > 1;
}

/* The logits: the last output as row-major float32. A net that ends in a linear layer has them
 * already; one that ends in maps or in bf16 is converted. */
static cairn_status add_logits(cuda_plan *plan, const activation *last) {
    cuda_tensor rows = last->shape;
    activation logits = *last;
    if (are_maps(last)) {
        rows.layout = CUDA_NCHW;
        rows.pitch = rows.c;
        logits = cuda_plan_place(plan, rows, KEPT);
        if (!cuda_plan_add(plan, NULL, "logits by class", run_transpose, last, &logits))
            return CAIRN_FAILED;
    }
    if (rows.type == CUDA_BF16) {
        activation rounded = logits;
        rows.type = CUDA_F32;
        logits = cuda_plan_place(plan, rows, KEPT);
        if (!cuda_plan_add(plan, NULL, "logits to float32", run_to_float32, &rounded, &logits))
            return CAIRN_FAILED;
    }
    plan->logits = logits.data;
    plan->logits_pitch = (int)tensor_features(rows);
    return CAIRN_OK;
}

/* The loss; in training, the gradient of the last output in its own layout. */
static cairn_status add_loss(cuda_plan *plan, const activation *last) {
    const int ordinal = plan->graph.net->op_count - 1;
    activation made = {0}, gradient;
    if (plan->graph.training) {
        cuda_tensor rows = last->shape;
        if (are_maps(last)) {
            rows.layout = CUDA_NCHW;
            rows.pitch = rows.c;
        }
        rows.type = plan->type;
        made = cuda_plan_gradient(plan, rows);
    }
    if (!cuda_plan_add(plan, NULL, "loss", run_loss, NULL, &made))
        return CAIRN_FAILED;
    if (!plan->graph.training)
        return CAIRN_OK;
    if (!are_maps(last))
        return cuda_plan_give(plan, NULL, ordinal, &made);
    gradient = cuda_plan_gradient(plan, last->shape);
    return cuda_plan_add(plan, NULL, "logits' gradient by place", run_transpose, &made, &gradient)
               ? cuda_plan_give(plan, NULL, ordinal, &gradient)
               : CAIRN_FAILED;
}

/* Compiling -------------------------------------------------------------------------------------*/

cuda_node *cuda_plan_node(cuda_plan *plan, int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? &plan->batch : &plan->node[ordinal];
}

static cairn_status compile_input(cuda_plan *plan) {
    const cairn_net *net = plan->graph.net;
    const size_t count = (size_t)plan->count;
    activation *batch = &plan->batch.value;
    *batch = cuda_plan_output(plan, net->input);
    cuda_plan_hold(plan, batch, plan->graph.input.readers);
    plan->targets = (cuda_targets){.label = cuda_plan_keep(plan, count)};
    if (plan->graph.training && cairn_augment_mixes(&plan->executor->base.options.augment)) {
        plan->targets.other = cuda_plan_keep(plan, count);
        plan->targets.share = cuda_plan_keep(plan, count * sizeof(float));
    }
    return cuda_plan_add(plan, NULL, "gather", run_gather, NULL, batch) ? CAIRN_OK : CAIRN_FAILED;
}

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
    const activation *last = &plan->node[plan->graph.net->op_count - 1].value;
    cairn_status status = add_logits(plan, last);
    if (!status)
        status = add_loss(plan, last);
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
    cairn_status status = compile_input(plan);
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

/* Compiled without memory. */
static cairn_status measure(cuda_plan **made, cuda_executor *executor, int count,
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

cairn_status cuda_plan_measure(cuda_executor *executor, int count, cairn_plan_purpose purpose,
                               size_t *bytes) {
    cuda_plan *plan = NULL;
    cairn_status status = measure(&plan, executor, count, purpose);
    if (status)
        return status;
    *bytes = cuda_plan_total(plan) + plan->workspace_bytes;
    cuda_plan_destroy(plan);
    return CAIRN_OK;
}

cairn_status cuda_plan_find(cuda_plan **found, cuda_executor *executor, int count,
                            cairn_plan_purpose wished) {
    cairn_plan_purpose purpose = cairn_plan_purpose_resolve(executor->base.net, wished, false);
    for (cuda_plan *known = executor->plans; known; known = known->next)
        if (known->count == count && known->graph.purpose == purpose) {
            *found = known;
            return CAIRN_OK;
        }
    cuda_plan *made = NULL;
    cairn_status status = measure(&made, executor, count, purpose);
    if (!status)
        status = cuda_plan_find_memory(executor, made);
    if (!status) {
        clear(made);
        made->block = executor->blocks;
        made->base = made->block->data;
        status = compile(made);
    }
    if (status) {
        cuda_plan_destroy(made);
        return status;
    }
    made->next = executor->plans;
    executor->plans = made;
    *found = made;
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
