/* The cpu backend's entry points: parameters and data in one arena, plans made on first use for
 * each batch size, a step as assemble, forward, loss, backward, update. */
#include "cpu.h"

#include "conv_blocks.h"
#include "cpu_executor.h"
#include "cpu_kernels.h"
#include "cpu_plan.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* OpenMP's settings for the calling thread. oneDNN takes its thread count from them, and divides
 * its work by it: a smaller team would leave parts out. */
typedef struct {
    int threads, dynamic;
} omp_settings;

/* Every entry point sets the executor's and puts the caller's back. */
static omp_settings enter(const cpu_executor *executor) {
    const omp_settings before = {omp_get_max_threads(), omp_get_dynamic()};
    omp_set_num_threads(executor->threads);
    omp_set_dynamic(0);
    return before;
}

static cairn_status leave(omp_settings before, cairn_status status) {
    omp_set_num_threads(before.threads);
    omp_set_dynamic(before.dynamic);
    return status;
}

static cpu_executor *own(cairn_executor *executor) {
    return (cpu_executor *)executor;
}

/* Backend ---------------------------------------------------------------------------------------*/

static cairn_status probe(void) {
    return CAIRN_OK;
}

static bool has_bf16(void) {
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

static bool supports(cairn_precision precision) {
    return precision == CAIRN_FLOAT32 || (precision == CAIRN_BF16 && has_bf16());
}

static const char *describe(char *out, size_t size) {
    const dnnl_version_t *version = dnnl_version();
    const channel_loops *loops = plan_loops(dnnl_f32);
    snprintf(out, size, "oneDNN %d.%d.%d%s%s", version->major, version->minor, version->patch,
             loops ? ", own convolutions for " : "", loops ? loops->isa : "");
    return out;
}

/* Life ------------------------------------------------------------------------------------------*/

static void destroy(cairn_executor *base) {
    cpu_executor *executor = own(base);
    for (cpu_plan *plan = executor->plans; plan;) {
        cpu_plan *next = plan->next;
        plan_destroy(plan);
        plan = next;
    }
    cairn_arena_destroy(executor->arena);
    free(executor);
}

/* The last span grows up to the end of all, or a new one begins. */
static void extend_spans(cpu_executor *executor, size_t begin, const cairn_parameter *parameter) {
    const cairn_optimizer *optimizer = &executor->base.options.optimizer;
    int count = executor->span_count;
    if (count == 0 ||
        cairn_optimizer_rule_of(cairn_optimizer_for(optimizer, parameter))->by_parameter ||
        !cairn_optimizer_alike(optimizer, executor->spans[count - 1].parameter, parameter))
        executor->spans[executor->span_count++] =
            (update_span){.begin = begin, .parameter = parameter};
    executor->spans[executor->span_count - 1].end = executor->total;
}

static void place_parameters(cpu_executor *executor, const cairn_net *net, bool frozen) {
    for (int k = 0; k < net->parameter_count; k++) {
        if (net->parameter[k].group.frozen != frozen)
            continue;
        size_t begin = executor->offset[k] = executor->total;
        executor->total += (net->parameter[k].count + 15) / 16 * 16;
        extend_spans(executor, begin, &net->parameter[k]);
    }
}

/* Each parameter starts on a cache line of its own; the gaps are zero and updates keep them so. */
static cairn_status lay_out_parameters(cpu_executor *executor, const cairn_net *net) {
    const cairn_executor_options *options = &executor->base.options;
    place_parameters(executor, net, false);
    place_parameters(executor, net, true);
    float **rows[CAIRN_TENSOR_KINDS + 1];
    int count = 0;
    for (int kind = 0; kind < CAIRN_TENSOR_KINDS; kind++)
        if (cairn_optimizer_keeps(&options->optimizer, (cairn_tensor_kind)kind))
            rows[count++] = &executor->tensors[kind];
    if (options->accumulate > 1)
        rows[count++] = &executor->sum;
    for (int i = 0; i < count; i++) {
        *rows[i] = cairn_arena_alloc(executor->arena, executor->total * sizeof(float));
        if (!*rows[i])
            return CAIRN_FAILED;
    }
    if (!executor->sum)
        executor->sum = executor->tensors[CAIRN_GRADIENT];
    return CAIRN_OK;
}

static const cairn_executor_ops ops;

static cairn_status create(cairn_executor **made, const cairn_net *net,
                           const cairn_executor_options *options) {
    cpu_executor *executor = calloc(1, sizeof *executor);
    if (!executor)
        return cairn_error_set(CAIRN_FAILED, "out of memory for an executor");
    executor->base = (cairn_executor){.ops = &ops, .net = net, .options = *options};
    executor->threads = options->threads;
    executor->weights_version = 1;
    executor->arena = cairn_arena_create();
    cairn_status status = executor->arena
                              ? lay_out_parameters(executor, net)
                              : cairn_error_set(CAIRN_FAILED, "out of memory for an arena");
    cpu_plan *first = NULL;
    if (!status) {
        omp_settings before = enter(executor);
        status = leave(before, plan_find(&first, executor, options->batch, CAIRN_PLAN_TRAINS));
    }
    if (status) {
        destroy(&executor->base);
        return status;
    }
    *made = &executor->base;
    return CAIRN_OK;
}

static cairn_status upload(cairn_executor *base, cairn_split_id id, const cairn_split *split) {
    own(base)->splits[id] = *split;
    return CAIRN_OK;
}

/* Passes ----------------------------------------------------------------------------------------*/

static batch_source source_of(const cpu_executor *executor, const cpu_plan *plan,
                              cairn_split_id id) {
    return (batch_source){.images = executor->splits[id].images,
                          .labels = executor->splits[id].labels,
                          .view = executor->base.view,
                          .augmenter = cairn_executor_augmenter(&executor->base, id),
                          .bytes = plan->bytes};
}

static cairn_status forward(cpu_plan *plan, const batch_source *source) {
    cpu_executor *executor = plan->executor;
    double begin = omp_get_wtime();
    assemble_batch(&executor->base.options, source, plan->count, plan->input.data, plan->input_bf16,
                   plan->targets);
    cairn_timeline_add(&executor->timeline, "batch assembly", NULL, 0, begin);
    if (executor->refreshed != plan || plan->weights_version != executor->weights_version) {
        executor->refreshed = NULL;
        cairn_status status = plan_run(plan, &plan->refresh);
        if (status)
            return status;
        plan->weights_version = executor->weights_version;
        executor->refreshed = plan;
    }
    return plan_run(plan, &plan->forward);
}

/* The gradient of a micro-batch's mean loss. */
static cairn_status train_micro_batch(cpu_executor *executor, const cairn_step *step) {
    cpu_plan *plan = NULL;
    cairn_status status =
        plan_find(&plan, executor, step->count, cairn_plan_purpose_of(&executor->base, step));
    if (status)
        return status;
    batch_source source = source_of(executor, plan, CAIRN_SPLIT_TRAIN);
    source.indices = step->indices;
    source.training = true;
    source.epoch = step->epoch;
    executor->training = true;
    executor->step = step->step;
    status = forward(plan, &source);
    if (status)
        return status;
    double begin = omp_get_wtime();
    cross_entropy(plan->logits, plan->targets, executor->base.options.label_smoothing, step->count,
                  cairn_net_classes(executor->base.net), plan->logits_gradient, &executor->stats);
    cairn_timeline_add(&executor->timeline, "loss", NULL, 0, begin);
    return plan_run(plan, &plan->backward);
}

/* Adds a micro-batch's gradient to the step's, by its share of the samples. */
static void accumulate_micro_batch(cpu_executor *executor, float share) {
    double begin = omp_get_wtime();
    if (executor->sum == executor->tensors[CAIRN_GRADIENT])
        return;
    accumulate(executor->sum, executor->tensors[CAIRN_GRADIENT], executor->total, share,
               executor->micro_batch == 0);
    cairn_timeline_add(&executor->timeline, "accumulation", NULL, 0, begin);
}

/* The factor by which the step's gradient is clipped. */
static double clip_factor(cpu_executor *executor, uint32_t epoch) {
    const cairn_optimizer *optimizer = &executor->base.options.optimizer;
    double sum = 0, begin = omp_get_wtime();
    if (optimizer->clip_norm <= 0)
        return 1;
    for (int i = 0; i < executor->span_count; i++) {
        const update_span *span = &executor->spans[i];
        if (cairn_parameter_group_trains(&span->parameter->group, epoch))
            sum += squares_of(executor->sum + span->begin, span->end - span->begin);
    }
    cairn_timeline_add(&executor->timeline, "gradient norm", NULL, 0, begin);
    return cairn_optimizer_clip(optimizer, sqrt(sum));
}

static cairn_status update_parameters(cpu_executor *executor, const cairn_step *step) {
    const cairn_optimizer *optimizer = &executor->base.options.optimizer;
    update_tensors on = {.parameter = executor->tensors[CAIRN_PARAMETER],
                         .gradient = executor->sum,
                         .average = executor->tensors[CAIRN_AVERAGE]};
    for (int s = 0; s < CAIRN_STATES; s++)
        on.state[s] = executor->tensors[CAIRN_STATE_0 + s];
    cairn_status status = CAIRN_OK;
    double clip = clip_factor(executor, step->epoch), begin = omp_get_wtime();
    for (int i = 0; i < executor->span_count && !status; i++)
        status = update(optimizer, step, clip, &executor->spans[i], &on);
    cairn_timeline_add(&executor->timeline, cairn_optimizer_rule_of(optimizer->name)->title, NULL,
                       0, begin);
    executor->weights_version++;
    return status;
}

static cairn_status train_step_inside(cpu_executor *executor, const cairn_step *step) {
    executor->micro_batch = 0;
    for (int done = 0; done < step->count; executor->micro_batch++) {
        cairn_step batch = cairn_step_micro_batch(&executor->base, step, done);
        executor->timeline.count = 0; /* of the last micro-batch is what is kept */
        cairn_status status = train_micro_batch(executor, &batch);
        if (status)
            return status;
        accumulate_micro_batch(executor, (float)batch.count / (float)step->count);
        done += batch.count;
    }
    return update_parameters(executor, step);
}

static cairn_status train_step(cairn_executor *base, const cairn_step *step) {
    omp_settings before = enter(own(base));
    return leave(before, train_step_inside(own(base), step));
}

static cairn_status profile_step(cairn_executor *base, const cairn_step *step, cairn_timing *rows,
                                 int capacity, int *count) {
    cpu_executor *executor = own(base);
    cairn_timeline_begin(&executor->timeline, rows, capacity);
    cairn_status status = train_step(base, step);
    *count = executor->timeline.count;
    executor->timeline = (cairn_timeline){0};
    return status;
}

/* Forward over a range in batches: into the stats, or into `logits` where that is not NULL. */
static cairn_status infer(cpu_executor *executor, cairn_split_id id, int first, int count,
                          float *logits) {
    int classes = cairn_net_classes(executor->base.net);
    executor->training = false;
    for (int done = 0, part; done < count; done += part) {
        int left = count - done;
        part = left < executor->base.options.batch ? left : executor->base.options.batch;
        cpu_plan *plan = NULL;
        cairn_status status = plan_find(&plan, executor, part, CAIRN_PLAN_EVALUATES);
        if (status)
            return status;
        batch_source source = source_of(executor, plan, id);
        source.first = first + done;
        status = forward(plan, &source);
        if (status)
            return status;
        if (logits)
            memcpy(logits + (size_t)done * (size_t)classes, plan->logits,
                   (size_t)part * (size_t)classes * sizeof *logits);
        else
            cross_entropy(plan->logits, plan->targets, 0, part, classes, NULL, &executor->stats);
    }
    return CAIRN_OK;
}

static cairn_status evaluate(cairn_executor *base, cairn_split_id id, int first, int count) {
    omp_settings before = enter(own(base));
    return leave(before, infer(own(base), id, first, count, NULL));
}

static cairn_status logits(cairn_executor *base, cairn_split_id id, int first, int count,
                           float *values) {
    omp_settings before = enter(own(base));
    return leave(before, infer(own(base), id, first, count, values));
}

/* Values in and out -----------------------------------------------------------------------------*/

static cairn_status get(cairn_executor *base, cairn_tensor_kind kind, int ordinal, float *values) {
    const cpu_executor *executor = own(base);
    const float *from = kind == CAIRN_GRADIENT ? executor->sum : executor->tensors[kind];
    memcpy(values, from + executor->offset[ordinal],
           base->net->parameter[ordinal].count * sizeof *values);
    return CAIRN_OK;
}

static cairn_status set(cairn_executor *base, cairn_tensor_kind kind, int ordinal,
                        const float *values) {
    cpu_executor *executor = own(base);
    memcpy(executor->tensors[kind] + executor->offset[ordinal], values,
           base->net->parameter[ordinal].count * sizeof *values);
    executor->weights_version++;
    return CAIRN_OK;
}

static cairn_status exchange(cairn_executor *base) {
    cpu_executor *executor = own(base);
    omp_settings before = enter(executor);
    exchange_values(executor->tensors[CAIRN_PARAMETER], executor->tensors[CAIRN_AVERAGE],
                    executor->total);
    executor->weights_version++;
    return leave(before, CAIRN_OK);
}

static cairn_status get_stats(cairn_executor *base, cairn_stats *stats) {
    *stats = own(base)->stats;
    return CAIRN_OK;
}

static cairn_status set_stats(cairn_executor *base, const cairn_stats *stats) {
    own(base)->stats = *stats;
    return CAIRN_OK;
}

static const cairn_executor_ops ops = {.destroy = destroy,
                                       .upload = upload,
                                       .train_step = train_step,
                                       .evaluate = evaluate,
                                       .logits = logits,
                                       .get = get,
                                       .set = set,
                                       .exchange = exchange,
                                       .get_stats = get_stats,
                                       .set_stats = set_stats,
                                       .profile_step = profile_step};

const cairn_backend cairn_backend_cpu = {.name = "cpu",
                                         .probe = probe,
                                         .describe = describe,
                                         .supports = supports,
                                         .immediate = true,
                                         .create = create};
