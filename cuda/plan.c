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
    if (!cuda_plan_trains(plan, stage->layer->bias))
        return CAIRN_OK;
    cuda_plan_want_workspace(plan, kernel_bias_gradient_scratch(gradient->shape));
    return cuda_plan_add(plan, stage, "bias gradient", run_bias_gradient, gradient, NULL)
               ? CAIRN_OK
               : CAIRN_FAILED;
}

const cairn_op *cuda_plan_next(const cuda_plan *plan, int ordinal, cairn_op_kind kind) {
    const cairn_net *net = plan->executor->base.net;
    const cairn_op *next = ordinal + 1 < net->op_count ? &net->op[ordinal + 1] : NULL;
    bool reads = next && (next->input == ordinal || next->other == ordinal);
    return reads && next->kind == kind && plan->node[ordinal].readers == 1 ? next : NULL;
}

cairn_status cuda_plan_take_other(const cuda_plan *plan, cuda_stage *stage, const cairn_op *add,
                                  int other) {
    const cuda_tensor *a = &stage->src.shape, *b = &plan->node[other].value.shape;
    stage->add = add;
    stage->other = plan->node[other].value;
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
    return plan->training ? !cairn_augment_is_plain(&options->augment)
                          : options->tta != CAIRN_TTA_NONE;
}

static cairn_status run_gather(const cuda_plan *plan, const cuda_task *task) {
    cuda_executor *executor = plan->executor;
    const device_split *split = &executor->splits[plan->source];
    cuda_gather gather = {.images = split->images,
                          .labels = split->labels,
                          .table = executor->table,
                          .seed = executor->base.options.seed,
                          .crop_padding = plan->training ? executor->base.options.crop_padding : 0,
                          .by_index = plan->training,
                          .augmenter = augments(plan) ? executor->augmenter : NULL};
    kernel_gather(executor->stream, &gather, executor->ring, executor->state, task->out.shape,
                  task->out.data, plan->targets);
    return CAIRN_OK;
}

static cairn_status run_loss(const cuda_plan *plan, const cuda_task *task) {
    cuda_executor *executor = plan->executor;
    kernel_cross_entropy(executor->stream, plan->count, cairn_net_classes(executor->base.net),
                         plan->logits_pitch, plan->logits, plan->targets,
                         plan->training ? executor->base.options.label_smoothing : 0, plan->type,
                         plan->training ? task->out.data : NULL, executor->state);
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

/* The logits: the last output as row-major float32. A net that ends in a linear layer has them
 * already; one that ends in maps or in bf16 is converted. Then the loss, and the gradient of the
 * last output in its own layout. */
static cairn_status compile_loss(cuda_plan *plan, const activation *last, activation *gradient) {
    cuda_tensor rows = last->shape;
    activation logits = *last;
    bool maps = rows.layout == CUDA_NHWC && rows.h * rows.w > 1;
    if (maps) {
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

    activation made = {0};
    if (plan->training) {
        cuda_tensor shape = rows;
        shape.type = plan->type;
        made = cuda_plan_gradient(plan, shape);
    }
    if (!cuda_plan_add(plan, NULL, "loss", run_loss, NULL, &made))
        return CAIRN_FAILED;
    *gradient = made;
    if (!maps || !plan->training)
        return CAIRN_OK;
    *gradient = cuda_plan_gradient(plan, last->shape);
    return cuda_plan_add(plan, NULL, "logits' gradient by place", run_transpose, &made, gradient)
               ? CAIRN_OK
               : CAIRN_FAILED;
}

/* Compiling -------------------------------------------------------------------------------------*/

/* What the net alone says of its nodes. */
static void describe_nodes(cuda_plan *plan, const cairn_net *net) {
    for (int i = CAIRN_NET_INPUT; i < net->op_count; i++)
        plan->node[i] = (cuda_node){0};
    for (int i = 0; i < net->op_count; i++) {
        const cairn_op *op = &net->op[i];
        cuda_node *node = &plan->node[i];
        node->wants = cuda_plan_trains(plan, op->weight) || cuda_plan_trains(plan, op->bias) ||
                      plan->node[op->input].wants;
        plan->node[op->input].readers++;
        if (op->kind == CAIRN_OP_ADD) {
            node->wants = node->wants || plan->node[op->other].wants;
            plan->node[op->other].readers++;
        }
    }
    plan->node[net->op_count - 1].readers++; /* the loss */
}

/* What a stage made is needed by its readers; what it read, by one fewer. */
static void count_users(cuda_plan *plan, const cuda_stage *stage) {
    plan->taken = 0;
    cuda_plan_hold(plan, &stage->dst, plan->node[stage->last].readers);
    cuda_plan_hold(plan, &stage->src, -1);
    if (stage->add)
        cuda_plan_hold(plan, &stage->other, -1);
}

static cairn_status compile_forward(cuda_plan *plan, const cairn_net *net) {
    cairn_status status = CAIRN_OK;
    for (int i = 0, taken = 1; i < net->op_count && !status; i += taken, taken = 1) {
        cuda_stage *stage = &plan->stage[plan->stage_count++];
        const cuda_node *input = &plan->node[net->op[i].input];
        *stage = (cuda_stage){.layer = &net->op[i],
                              .ordinal = i,
                              .src = input->value,
                              .passes_gradient = input->wants};
        status = compilers[stage->layer->kind]->forward(plan, stage, &taken);
        stage->last = i + taken - 1;
        plan->node[stage->last].value = stage->dst;
        count_users(plan, stage);
    }
    return status;
}

/* Every reader of a stage comes after it, so its gradient is complete when its turn comes. One that
 * nobody wants was not given. */
static cairn_status compile_backward(cuda_plan *plan) {
    cairn_status status = CAIRN_OK;
    for (int s = plan->stage_count - 1; s >= 0 && !status; s--) {
        cuda_stage *stage = &plan->stage[s];
        cuda_node *node = &plan->node[stage->last];
        if (!node->has_gradient)
            continue;
        status = compilers[stage->layer->kind]->backward(plan, stage, &node->gradient);
        cuda_plan_hold(plan, &node->gradient, -1);
        plan->taken = 0;
    }
    return status;
}

static cairn_status compile(cuda_plan *plan) {
    const cairn_net *net = plan->executor->base.net;
    const int last = net->op_count - 1;
    cuda_node *batch = &plan->node[CAIRN_NET_INPUT];
    activation gradient;
    describe_nodes(plan, net);
    batch->value = cuda_plan_output(plan, net->input);
    cuda_plan_hold(plan, &batch->value, batch->readers);
    bool mixes = plan->training && cairn_augment_mixes(&plan->executor->base.options.augment);
    size_t count = (size_t)plan->count;
    plan->targets = (cuda_targets){.label = cuda_plan_keep(plan, count)};
    if (mixes) {
        plan->targets.other = cuda_plan_keep(plan, count);
        plan->targets.share = cuda_plan_keep(plan, count * sizeof(float));
    }
    if (!cuda_plan_add(plan, NULL, "gather", run_gather, NULL, &batch->value))
        return CAIRN_FAILED;
    cairn_status status = compile_forward(plan, net);
    if (!status)
        status = compile_loss(plan, &plan->node[last].value, &gradient);
    if (status || !plan->training)
        return status;
    status = cuda_plan_give(plan, NULL, last, &gradient);
    plan->taken = 0;
    if (!status)
        status = compile_backward(plan);
    if (!status && plan->executor->trained_total)
        status = cuda_plan_add_update(plan);
    return status;
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
}

/* Compiled without memory. */
static cairn_status measure(cuda_plan **made, cuda_executor *executor, int count,
                            plan_purpose purpose) {
    const size_t ops = (size_t)executor->base.net->op_count;
    cuda_plan *plan = calloc(1, sizeof *plan);
    cuda_stage *stage = calloc(ops, sizeof *stage);
    cuda_node *node = calloc(ops + 1, sizeof *node);
    if (!plan || !stage || !node) {
        free(plan);
        free(stage);
        free(node);
        return cairn_error_set(CAIRN_FAILED, "out of memory for a plan");
    }
    *plan = (cuda_plan){.executor = executor,
                        .count = count,
                        .purpose = purpose,
                        .training = purpose != PLAN_EVALUATES,
                        .type = executor->type,
                        .layout = executor->layout,
                        .pad = executor->pad,
                        .stage = stage,
                        .node = node + 1};
    if (!executor->base.options.deterministic) /* room for whatever proves fastest */
        plan->workspace_bytes = cuda_plan_workspace_limit(plan);
    cairn_status status = compile(plan);
    if (status)
        cuda_plan_destroy(plan);
    else
        *made = plan;
    return status;
}

cairn_status cuda_plan_measure(cuda_executor *executor, int count, plan_purpose purpose,
                               size_t *bytes) {
    cuda_plan *plan = NULL;
    cairn_status status = measure(&plan, executor, count, purpose);
    if (status)
        return status;
    *bytes = cuda_plan_total(plan) + plan->workspace_bytes;
    cuda_plan_destroy(plan);
    return CAIRN_OK;
}

static bool has_early(const cairn_net *net) {
    for (int k = 0; k < net->parameter_count; k++)
        if (net->parameter[k].early)
            return true;
    return false;
}

cairn_status cuda_plan_find(cuda_plan **found, cuda_executor *executor, int count,
                            plan_purpose purpose) {
    if (purpose == PLAN_TRAINS_LATE && !has_early(executor->base.net))
        purpose = PLAN_TRAINS;
    for (cuda_plan *known = executor->plans; known; known = known->next)
        if (known->count == count && known->purpose == purpose) {
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
    free(plan->node - 1);
    free(plan->stage);
    free(plan->task);
    free(plan);
}
