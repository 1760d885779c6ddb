/* Compiling a net into a plan, and running it as a graph. */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const layer_compiler *compilers[] = {
    [CAIRN_OP_CONV2D] = &cuda_compile_conv2d,   [CAIRN_OP_RELU] = &cuda_compile_relu,
    [CAIRN_OP_MAXPOOL] = &cuda_compile_maxpool, [CAIRN_OP_FLATTEN] = &cuda_compile_flatten,
    [CAIRN_OP_LINEAR] = &cuda_compile_linear,   [CAIRN_OP_DROPOUT] = &cuda_compile_dropout,
};

/* Memory ----------------------------------------------------------------------------------------*/

enum { ALIGNMENT = 256 };

static size_t align(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Bytes before that slot; SLOTS: of all of them. */
static size_t slot_offset(const cuda_plan *plan, int slot) {
    size_t offset = 0;
    for (int i = 0; i < slot; i++)
        offset += plan->slot_bytes[i];
    return offset;
}

size_t cuda_plan_total(const cuda_plan *plan) {
    return slot_offset(plan, SLOTS) + plan->kept_bytes;
}

static void *in_slot(cuda_plan *plan, int slot, size_t bytes) {
    if (plan->base)
        return plan->base + slot_offset(plan, slot);
    if (plan->slot_bytes[slot] < align(bytes))
        plan->slot_bytes[slot] = align(bytes);
    return NULL;
}

void *cuda_plan_keep(cuda_plan *plan, size_t bytes) {
    size_t at = plan->kept_bytes;
    plan->kept_bytes += align(bytes);
    return plan->base ? plan->base + slot_offset(plan, SLOTS) + at : NULL;
}

size_t tensor_features(cuda_tensor shape) {
    return (size_t)shape.pitch * (size_t)shape.h * (size_t)shape.w;
}

size_t tensor_bytes(cuda_tensor shape) {
    return (size_t)shape.count * tensor_features(shape) * (shape.type == CUDA_BF16 ? 2 : 4);
}

static activation place(cuda_plan *plan, cuda_tensor shape, int slot) {
    size_t bytes = tensor_bytes(shape);
    void *data = slot == KEPT ? cuda_plan_keep(plan, bytes) : in_slot(plan, slot, bytes);
    return (activation){shape, data, slot};
}

activation cuda_plan_activation(cuda_plan *plan, cairn_shape shape, int slot) {
    cuda_tensor tensor = {plan->type,
                          plan->layout,
                          plan->count,
                          shape.c,
                          shape.h,
                          shape.w,
                          (shape.c + plan->pad - 1) / plan->pad * plan->pad};
    return place(plan, tensor, slot);
}

static int other_slot(const activation *given) {
    return given->slot == SLOT_EVEN ? SLOT_ODD : SLOT_EVEN;
}

activation cuda_plan_output(cuda_plan *plan, const activation *given, cairn_shape shape) {
    return cuda_plan_activation(plan, shape, plan->training ? KEPT : other_slot(given));
}

activation cuda_plan_gradient(cuda_plan *plan, const activation *given, cuda_tensor shape) {
    return place(plan, shape, other_slot(given));
}

float *cuda_plan_parameter(const cuda_plan *plan, cairn_tensor_kind kind, int ordinal) {
    const cuda_executor *executor = plan->executor;
    return executor->tensors[kind] + executor->parameter[ordinal].offset;
}

const void *cuda_plan_operand(const cuda_plan *plan, int ordinal) {
    const cuda_executor *executor = plan->executor;
    if (plan->type == CUDA_F32)
        return cuda_plan_parameter(plan, CAIRN_PARAMETER, ordinal);
    return (const uint16_t *)executor->shadow + executor->parameter[ordinal].offset;
}

void *cuda_plan_filter_gradient(const cuda_plan *plan, int ordinal) {
    const cuda_executor *executor = plan->executor;
    if (!executor->parameter[ordinal].half_gradient)
        return cuda_plan_parameter(plan, CAIRN_GRADIENT, ordinal);
    return (uint16_t *)executor->half_gradient + executor->parameter[ordinal].offset;
}

/* Enough for every algorithm worth having at these sizes; NVIDIA advises 32 MiB for cuBLAS. */
enum { WORKSPACE_MAX = 32 << 20 };

void *cuda_plan_workspace(const cuda_plan *plan) {
    return plan->base ? plan->block->workspace : NULL;
}

size_t cuda_plan_workspace_limit(const cuda_plan *plan) {
    return plan->base ? plan->block->workspace_bytes : WORKSPACE_MAX;
}

void cuda_plan_want_workspace(cuda_plan *plan, size_t bytes) {
    if (plan->workspace_bytes < bytes)
        plan->workspace_bytes = bytes;
}

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
                         task->scratch,
                         cuda_plan_parameter(plan, CAIRN_GRADIENT, stage->layer->bias));
    return CAIRN_OK;
}

cairn_status cuda_plan_add_bias_gradient(cuda_plan *plan, const cuda_stage *stage,
                                         const activation *gradient) {
    void *scratch = cuda_plan_keep(plan, kernel_bias_gradient_scratch(gradient->shape));
    cuda_task *added =
        cuda_plan_add(plan, stage, "bias gradient", run_bias_gradient, gradient, NULL);
    if (!added)
        return CAIRN_FAILED;
    added->scratch = scratch;
    return CAIRN_OK;
}

const cairn_op *cuda_plan_next(const cuda_plan *plan, int ordinal, cairn_op_kind kind) {
    const cairn_net *net = plan->executor->base.net;
    bool is = ordinal + 1 < net->op_count && net->op[ordinal + 1].kind == kind;
    return is ? &net->op[ordinal + 1] : NULL;
}

/* Both ends: gathering the batch, the loss ------------------------------------------------------*/

static cairn_status run_gather(const cuda_plan *plan, const cuda_task *task) {
    cuda_executor *executor = plan->executor;
    const device_split *split = &executor->splits[plan->source];
    cuda_gather gather = {.images = split->images,
                          .labels = split->labels,
                          .table = executor->table,
                          .seed = executor->base.options.seed,
                          .crop_padding = plan->training ? executor->base.options.crop_padding : 0,
                          .by_index = plan->training};
    kernel_gather(executor->stream, &gather, executor->ring, executor->state, task->out.shape,
                  task->out.data, plan->labels);
    return CAIRN_OK;
}

static cairn_status run_loss(const cuda_plan *plan, const cuda_task *task) {
    cuda_executor *executor = plan->executor;
    kernel_cross_entropy(executor->stream, plan->count, cairn_net_classes(executor->base.net),
                         plan->logits_pitch, plan->logits, plan->labels, plan->type,
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
        logits = place(plan, rows, KEPT);
        if (!cuda_plan_add(plan, NULL, "logits by class", run_transpose, last, &logits))
            return CAIRN_FAILED;
    }
    if (rows.type == CUDA_BF16) {
        activation rounded = logits;
        rows.type = CUDA_F32;
        logits = place(plan, rows, KEPT);
        if (!cuda_plan_add(plan, NULL, "logits to float32", run_to_float32, &rounded, &logits))
            return CAIRN_FAILED;
    }
    plan->logits = logits.data;
    plan->logits_pitch = (int)tensor_features(rows);

    cuda_tensor shape = rows;
    shape.type = plan->type;
    activation made = place(plan, shape, SLOT_EVEN);
    if (!cuda_plan_add(plan, NULL, "loss", run_loss, NULL, &made))
        return CAIRN_FAILED;
    *gradient = made;
    if (!maps || !plan->training)
        return CAIRN_OK;
    *gradient = cuda_plan_gradient(plan, &made, last->shape);
    return cuda_plan_add(plan, NULL, "logits' gradient by place", run_transpose, &made, gradient)
               ? CAIRN_OK
               : CAIRN_FAILED;
}

/* Compiling -------------------------------------------------------------------------------------*/

static bool has_parameters_before(const cairn_net *net, int ordinal) {
    for (int i = 0; i < ordinal; i++)
        if (net->op[i].weight >= 0)
            return true;
    return false;
}

static cairn_status compile_forward(cuda_plan *plan, const cairn_net *net, activation *current) {
    cairn_status status = CAIRN_OK;
    for (int i = 0, taken = 1; i < net->op_count && !status; i += taken, taken = 1) {
        cuda_stage *stage = &plan->stage[plan->stage_count++];
        *stage = (cuda_stage){.layer = &net->op[i],
                              .ordinal = i,
                              .src = *current,
                              .passes_gradient = has_parameters_before(net, i)};
        status = compilers[stage->layer->kind]->forward(plan, stage, current, &taken);
        *current = stage->dst;
    }
    return status;
}

/* Down to the first layer with parameters: nobody wants the gradients before it. */
static cairn_status compile_backward(cuda_plan *plan, activation gradient) {
    cairn_status status = CAIRN_OK;
    for (int s = plan->stage_count - 1; s >= 0 && !status; s--) {
        cuda_stage *stage = &plan->stage[s];
        if (!stage->passes_gradient && stage->layer->weight < 0)
            break;
        activation made = gradient;
        status = compilers[stage->layer->kind]->backward(plan, stage, &gradient, &made);
        gradient = made;
    }
    return status;
}

static cairn_status compile(cuda_plan *plan) {
    const cairn_net *net = plan->executor->base.net;
    activation current = cuda_plan_activation(plan, net->input, plan->training ? KEPT : SLOT_EVEN),
               gradient;
    plan->labels = cuda_plan_keep(plan, (size_t)plan->count);
    if (!cuda_plan_add(plan, NULL, "gather", run_gather, NULL, &current))
        return CAIRN_FAILED;
    cairn_status status = compile_forward(plan, net, &current);
    if (!status)
        status = compile_loss(plan, &current, &gradient);
    if (status || !plan->training)
        return status;
    status = compile_backward(plan, gradient);
    return status || !net->parameter_count ? status : cuda_plan_add_update(plan);
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
}

/* Compiled without memory. */
static cairn_status measure(cuda_plan **made, cuda_executor *executor, int count, bool training) {
    const cairn_net *net = executor->base.net;
    for (int i = 0; i < net->op_count; i++)
        if (net->op[i].input != i - 1)
            return cairn_error_set(CAIRN_FAILED, "%s: the cuda backend runs chains of ops only",
                                   net->op[i].name);
    cuda_plan *plan = calloc(1, sizeof *plan);
    cuda_stage *stage = calloc((size_t)net->op_count, sizeof *stage);
    if (!plan || !stage) {
        free(plan);
        free(stage);
        return cairn_error_set(CAIRN_FAILED, "out of memory for a plan");
    }
    *plan = (cuda_plan){.executor = executor,
                        .count = count,
                        .training = training,
                        .type = executor->type,
                        .layout = executor->layout,
                        .pad = executor->pad,
                        .stage = stage};
    if (!executor->base.options.deterministic) /* room for whatever proves fastest */
        plan->workspace_bytes = WORKSPACE_MAX;
    cairn_status status = compile(plan);
    if (status)
        cuda_plan_destroy(plan);
    else
        *made = plan;
    return status;
}

cairn_status cuda_plan_measure(cuda_executor *executor, int count, bool training, size_t *bytes) {
    cuda_plan *plan = NULL;
    cairn_status status = measure(&plan, executor, count, training);
    if (status)
        return status;
    *bytes = cuda_plan_total(plan) + plan->workspace_bytes;
    cuda_plan_destroy(plan);
    return CAIRN_OK;
}

cairn_status cuda_plan_find(cuda_plan **found, cuda_executor *executor, int count, bool training) {
    for (cuda_plan *known = executor->plans; known; known = known->next)
        if (known->count == count && known->training == training) {
            *found = known;
            return CAIRN_OK;
        }
    cuda_plan *made = NULL;
    cairn_status status = measure(&made, executor, count, training);
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
    free(plan->stage);
    free(plan->task);
    free(plan);
}
