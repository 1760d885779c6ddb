/* The reference executor: walks the net op by op, one buffer for each op's output and one for that
 * output's gradient. Included by float32.c and float64.c after a typedef of `real`. */
#include "../graph.h"
#include "../timeline.h"
#include "batch_impl.h"
#include "loss_impl.h"
#include "ops_impl.h"
#include "update_impl.h"

#include "cairn/arena.h"
#include "cairn/executor.h"

#include <stdlib.h>

/* One op's memory. A view's y and dy are its input's. */
typedef struct {
    real *y, *dy; /* [batch, out] */
    void *own;    /* op_kind.take's */
} op_buffers;

typedef struct {
    cairn_executor base;
    cairn_graph graph; /* of training */
    int threads;
    cairn_arena *arena;
    cairn_split split[2]; /* by cairn_split_id; the caller's memory */
    cairn_stats stats;
    real *tensor[CAIRN_TENSOR_KINDS][CAIRN_NET_PARAMETERS_MAX]; /* NULL where none is kept */
    uint32_t micro_batch; /* its number in the step under way */
    real *input;          /* [batch, c, h, w] */
    loss_target *targets; /* [batch] */
    double *losses;       /* [batch] */
    bool *correct;        /* [batch] */
    op_buffers op[CAIRN_NET_OPS_MAX];
    cairn_timeline timeline;
} executor;

/* In a profiled step: the part "name what" from `begin` until now. */
static void note(executor *e, const char *name, const char *what, double flops, double begin) {
    cairn_timeline_add(&e->timeline, name, what, flops, begin);
}

static void assemble(executor *e, cairn_split_id id, const cairn_step *step, int first, int count) {
    double begin = omp_get_wtime();
    batch_assemble(&e->base, id, &e->split[id], step, first, count, e->threads, e->input,
                   e->targets);
    note(e, "batch assembly", NULL, 0, begin);
}

/* Forward and backward --------------------------------------------------------------------------*/

static const real *output_of(const executor *e, int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? e->input : e->op[ordinal].y;
}

/* NULL where nobody wants that. */
static real *gradient_of(const executor *e, int ordinal) {
    return cairn_graph_wants(&e->graph, ordinal) ? e->op[ordinal].dy : NULL;
}

/* The parameter, or NULL where the op has none. */
static real *parameter_of(const executor *e, int ordinal) {
    return ordinal < 0 ? NULL : e->tensor[CAIRN_PARAMETER][ordinal];
}

/* Its gradient, or NULL where nobody wants that. */
static real *wanted_gradient(const executor *e, int ordinal) {
    return cairn_graph_trains(&e->graph, ordinal) ? e->tensor[CAIRN_GRADIENT][ordinal] : NULL;
}

/* `taken` is NULL in evaluation. */
static op_work work_of(const executor *e, int ordinal, int count, const cairn_step *taken) {
    const cairn_op *op = &e->base.net->op[ordinal];
    const op_buffers *buffers = &e->op[ordinal];
    return (op_work){.op = op,
                     .ordinal = ordinal,
                     .count = count,
                     .threads = e->threads,
                     .total = (size_t)count * cairn_shape_count(op->out),
                     .own = buffers->own,
                     .x = output_of(e, op->input),
                     .other = op->other == CAIRN_NET_NONE ? NULL : output_of(e, op->other),
                     .y = buffers->y,
                     .weight = parameter_of(e, op->weight),
                     .bias = parameter_of(e, op->bias),
                     .mean = parameter_of(e, op->mean),
                     .variance = parameter_of(e, op->variance),
                     .training = taken != NULL,
                     .seed = e->base.options.seed,
                     .step = taken ? taken->step : 0,
                     .micro_batch = e->micro_batch,
                     .dy = buffers->dy,
                     .dx = gradient_of(e, op->input),
                     .dother = gradient_of(e, op->other),
                     .dweight = wanted_gradient(e, op->weight),
                     .dbias = wanted_gradient(e, op->bias)};
}

static void forward(executor *e, int count, const cairn_step *step) {
    for (int i = 0; i < e->base.net->op_count; i++) {
        const cairn_op *op = &e->base.net->op[i];
        const op_work work = work_of(e, i, count, step);
        double begin = omp_get_wtime();
        if (cairn_op_is_view(op))
            continue;
        op_kinds[op->kind].forward(&work);
        note(e, op->name, "forward", count * cairn_op_flops(op, 0), begin);
    }
}

static void backward(executor *e, int count, const cairn_step *step) {
    for (int i = e->base.net->op_count - 1; i >= 0; i--) {
        const cairn_op *op = &e->base.net->op[i];
        const op_work work = work_of(e, i, count, step);
        double begin = omp_get_wtime();
        if (cairn_op_is_view(op) || !cairn_graph_wants(&e->graph, i))
            continue;
        op_kinds[op->kind].backward(&work);
        note(e, op->name, "backward", count * (cairn_op_flops(op, 1) - cairn_op_flops(op, 0)),
             begin);
    }
}

/* Adds the batch to the stats; in training also begins the backward pass, with the gradient by the
 * logits of the mean loss over the step's `total` samples (0: evaluation). */
static void take_loss(executor *e, int count, int total) {
    int last = e->base.net->op_count - 1;
    int classes = cairn_net_classes(e->base.net);
    double smoothing = total ? e->base.options.label_smoothing : 0, begin = omp_get_wtime();
#pragma omp parallel for num_threads(e->threads)
    for (int n = 0; n < count; n++)
        e->losses[n] = cross_entropy(classes, e->op[last].y + (size_t)n * (size_t)classes,
                                     &e->targets[n], smoothing, 1.0 / total,
                                     total ? e->op[last].dy + (size_t)n * (size_t)classes : NULL,
                                     &e->correct[n]);
    for (int n = 0; n < count; n++) {
        e->stats.loss += e->losses[n];
        e->stats.correct += e->correct[n];
    }
    e->stats.seen += count;
    note(e, "loss", NULL, 0, begin);
}

static void clear(real *values, size_t total, int threads) {
#pragma omp parallel for simd num_threads(threads)
    for (size_t i = 0; i < total; i++)
        values[i] = 0;
}

/* The parameters' too in the step's first micro-batch. */
static void clear_gradients(executor *e, int count) {
    const cairn_net *net = e->base.net;
    double begin = omp_get_wtime();
    for (int i = 0; i < net->op_count; i++)
        if (e->op[i].dy)
            clear(e->op[i].dy, (size_t)count * cairn_shape_count(net->op[i].out), e->threads);
    for (int k = 0; k < net->parameter_count && e->micro_batch == 0; k++)
        clear(e->tensor[CAIRN_GRADIENT][k], net->parameter[k].count, e->threads);
    note(e, "gradients cleared", NULL, 0, begin);
}

/* The norm of the gradient of all that the epoch trains. */
static double gradient_norm(const executor *e, uint32_t epoch) {
    const cairn_net *net = e->base.net;
    double sum = 0;
    for (int k = 0; k < net->parameter_count; k++)
        if (cairn_parameter_group_trains(&net->parameter[k].group, epoch))
            sum += squares_of(net->parameter[k].count, e->tensor[CAIRN_GRADIENT][k]);
    return sqrt(sum);
}

static cairn_status update_parameters(executor *e, const cairn_step *step) {
    const cairn_optimizer *optimizer = &e->base.options.optimizer;
    double begin = omp_get_wtime();
    update_rule rule = {.optimizer = optimizer, .threads = e->threads};
    if (optimizer->clip_norm > 0)
        rule.clip = cairn_optimizer_clip(optimizer, gradient_norm(e, step->epoch));
    cairn_status status = CAIRN_OK;
    for (int k = 0; k < e->base.net->parameter_count && !status; k++) {
        const cairn_parameter *parameter = &e->base.net->parameter[k];
        update_tensors on = {.count = parameter->count,
                             .g = e->tensor[CAIRN_GRADIENT][k],
                             .w = e->tensor[CAIRN_PARAMETER][k],
                             .average = e->tensor[CAIRN_AVERAGE][k]};
        for (int s = 0; s < CAIRN_STATES; s++)
            on.state[s] = e->tensor[CAIRN_STATE_0 + s][k];
        rule.parameter = parameter;
        rule.now = cairn_optimizer_at(optimizer, parameter, step->step, step->lr);
        rule.decoupled =
            cairn_optimizer_rule_of(cairn_optimizer_for(optimizer, parameter))->decoupled;
        rule.trains = cairn_parameter_group_trains(&parameter->group, step->epoch);
        status = update(&rule, &on);
    }
    note(e, cairn_optimizer_rule_of(optimizer->name)->title, NULL, 0, begin);
    return status;
}

/* The interface ---------------------------------------------------------------------------------*/

static cairn_status train_step(cairn_executor *base, const cairn_step *step) {
    executor *e = (executor *)base;
    e->micro_batch = 0;
    for (int done = 0; done < step->count; e->micro_batch++) {
        cairn_step batch = cairn_step_micro_batch(base, step, done);
        e->timeline.count = 0; /* of the last micro-batch is what is kept */
        assemble(e, CAIRN_SPLIT_TRAIN, &batch, 0, batch.count);
        forward(e, batch.count, &batch);
        clear_gradients(e, batch.count);
        take_loss(e, batch.count, step->count);
        backward(e, batch.count, &batch);
        done += batch.count;
    }
    return update_parameters(e, step);
}

static cairn_status profile_step(cairn_executor *base, const cairn_step *step, cairn_timing *rows,
                                 int capacity, int *count) {
    executor *e = (executor *)base;
    cairn_timeline_begin(&e->timeline, rows, capacity);
    cairn_status status = train_step(base, step);
    *count = e->timeline.count;
    e->timeline = (cairn_timeline){0};
    return status;
}

static cairn_status evaluate(cairn_executor *base, cairn_split_id id, int first, int count) {
    executor *e = (executor *)base;
    for (int done = 0, part; done < count; done += part) {
        part = count - done < base->options.batch ? count - done : base->options.batch;
        assemble(e, id, NULL, first + done, part);
        forward(e, part, NULL);
        take_loss(e, part, 0);
    }
    return CAIRN_OK;
}

static cairn_status logits(cairn_executor *base, cairn_split_id id, int first, int count,
                           float *values) {
    executor *e = (executor *)base;
    size_t classes = (size_t)cairn_net_classes(base->net);
    for (int done = 0, part; done < count; done += part) {
        part = count - done < base->options.batch ? count - done : base->options.batch;
        assemble(e, id, NULL, first + done, part);
        forward(e, part, NULL);
        const real *y = output_of(e, base->net->op_count - 1);
        for (size_t i = 0; i < (size_t)part * classes; i++)
            values[(size_t)done * classes + i] = (float)y[i];
    }
    return CAIRN_OK;
}

static cairn_status get(cairn_executor *base, cairn_tensor_kind kind, int ordinal, float *values) {
    const real *from = ((executor *)base)->tensor[kind][ordinal];
    for (size_t i = 0; i < base->net->parameter[ordinal].count; i++)
        values[i] = (float)from[i];
    return CAIRN_OK;
}

static cairn_status set(cairn_executor *base, cairn_tensor_kind kind, int ordinal,
                        const float *values) {
    real *to = ((executor *)base)->tensor[kind][ordinal];
    for (size_t i = 0; i < base->net->parameter[ordinal].count; i++)
        to[i] = (real)values[i];
    return CAIRN_OK;
}

static cairn_status exchange(cairn_executor *base) {
    executor *e = (executor *)base;
    for (int k = 0; k < base->net->parameter_count; k++) {
        real *parameter = e->tensor[CAIRN_PARAMETER][k];
        e->tensor[CAIRN_PARAMETER][k] = e->tensor[CAIRN_AVERAGE][k];
        e->tensor[CAIRN_AVERAGE][k] = parameter;
    }
    return CAIRN_OK;
}

static cairn_status get_stats(cairn_executor *base, cairn_stats *stats) {
    *stats = ((executor *)base)->stats;
    return CAIRN_OK;
}

static cairn_status set_stats(cairn_executor *base, const cairn_stats *stats) {
    ((executor *)base)->stats = *stats;
    return CAIRN_OK;
}

static cairn_status upload(cairn_executor *base, cairn_split_id id, const cairn_split *split) {
    ((executor *)base)->split[id] = *split;
    return CAIRN_OK;
}

static void destroy(cairn_executor *base) {
    executor *e = (executor *)base;
    cairn_arena_destroy(e->arena);
    free(e);
}

/* Making one ------------------------------------------------------------------------------------*/

static void take_op_buffers(executor *e, op_memory *memory, int ordinal) {
    const cairn_op *op = &e->base.net->op[ordinal];
    op_buffers *buffers = &e->op[ordinal];
    size_t bytes = memory->batch * cairn_shape_count(op->out) * sizeof(real);
    if (cairn_op_is_view(op) && op->input != CAIRN_NET_INPUT) {
        *buffers = e->op[op->input];
        return;
    }
    buffers->y = cairn_op_is_view(op) ? e->input : take(memory, bytes);
    buffers->dy = take(memory, bytes);
    if (op_kinds[op->kind].take)
        buffers->own = op_kinds[op->kind].take(memory, op);
}

static bool take_buffers(executor *e) {
    const cairn_net *net = e->base.net;
    const size_t batch = (size_t)e->base.options.batch;
    op_memory memory = {e->arena, batch, e->threads, true};
    for (int kind = 0; kind < CAIRN_TENSOR_KINDS; kind++)
        for (int k = 0; k < net->parameter_count; k++)
            if (cairn_optimizer_keeps(&e->base.options.optimizer, (cairn_tensor_kind)kind))
                e->tensor[kind][k] = take(&memory, net->parameter[k].count * sizeof(real));
    e->input = take(&memory, batch * cairn_shape_count(net->input) * sizeof(real));
    e->targets = take(&memory, batch * sizeof *e->targets);
    e->losses = take(&memory, batch * sizeof *e->losses);
    e->correct = take(&memory, batch * sizeof *e->correct);
    for (int i = 0; i < net->op_count && memory.ok; i++)
        take_op_buffers(e, &memory, i);
    return memory.ok;
}

static cairn_status create(cairn_executor **made, const cairn_net *net,
                           const cairn_executor_options *options) {
    static const cairn_executor_ops ops = {
        .destroy = destroy,
        .upload = upload,
        .train_step = train_step,
        .evaluate = evaluate,
        .logits = logits,
        .get = get,
        .set = set,
        .exchange = exchange,
        .get_stats = get_stats,
        .set_stats = set_stats,
        .profile_step = profile_step,
    };
    executor *e = calloc(1, sizeof *e);
    if (!e)
        return cairn_error_set(CAIRN_FAILED, "out of memory for an executor");
    e->base = (cairn_executor){.ops = &ops, .net = net, .options = *options};
    e->threads = options->threads;
    cairn_graph_survey(&e->graph, net, CAIRN_PLAN_TRAINS);
    e->arena = cairn_arena_create();
    if (!e->arena || !take_buffers(e)) {
        destroy(&e->base);
        return cairn_error_set(CAIRN_FAILED, "out of memory for batches of %d", options->batch);
    }
    *made = &e->base;
    return CAIRN_OK;
}
