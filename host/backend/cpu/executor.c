/* The cpu backend's entry points: parameters and data in one arena, plans made on first use for
 * each batch size, a step as assemble, forward, loss, backward, Adam. */
#include "cpu.h"
#include "plan.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* oneDNN takes its thread count from OpenMP's setting for the calling thread. Every entry point
 * sets the executor's and puts the caller's back. */
static int enter(const cpu_executor *executor) {
    int before = omp_get_max_threads();
    omp_set_num_threads(executor->threads);
    return before;
}

static cairn_status leave(int threads_before, cairn_status status) {
    omp_set_num_threads(threads_before);
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
    snprintf(out, size, "oneDNN %d.%d.%d, bf16 %s", version->major, version->minor, version->patch,
             has_bf16() ? "yes" : "no");
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

static void deal_out(cpu_executor *executor, const cairn_net *net, bool trained) {
    for (int k = 0; k < net->parameter_count; k++) {
        if (net->parameter[k].trained != trained)
            continue;
        executor->offset[k] = executor->total;
        executor->total += (net->parameter[k].count + 15) / 16 * 16;
    }
}

/* Each parameter starts on a cache line of its own; the gaps are zero and Adam keeps them so. */
static cairn_status lay_out_parameters(cpu_executor *executor, const cairn_net *net) {
    deal_out(executor, net, true);
    executor->trained = executor->total;
    deal_out(executor, net, false);
    for (int kind = 0; kind < 4; kind++) {
        executor->tensors[kind] =
            cairn_arena_alloc(executor->arena, executor->total * sizeof(float));
        if (!executor->tensors[kind])
            return CAIRN_FAILED;
    }
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
        int before = enter(executor);
        status = leave(before, plan_find(&first, executor, options->batch, true));
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
                          .glance = executor->base.glance,
                          .augmenter = cairn_executor_augmenter(&executor->base, id),
                          .bytes = plan->bytes};
}

static cairn_status forward(cpu_plan *plan, const batch_source *source) {
    cpu_executor *executor = plan->executor;
    double begin = omp_get_wtime();
    assemble_batch(&executor->base.options, source, plan->count, plan->input.data, plan->input_bf16,
                   plan->targets);
    plan_time(executor, "batch assembly", 0, begin);
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

static cairn_status train_step_inside(cpu_executor *executor, const cairn_step *step) {
    cpu_plan *plan = NULL;
    cairn_status status = plan_find(&plan, executor, step->count, true);
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
    plan_time(executor, "loss", 0, begin);
    status = plan_run(plan, &plan->backward);
    if (status)
        return status;
    begin = omp_get_wtime();
    adam(executor->tensors[CAIRN_PARAMETER], executor->tensors[CAIRN_GRADIENT],
         executor->tensors[CAIRN_FIRST_MOMENT], executor->tensors[CAIRN_SECOND_MOMENT],
         executor->trained, &executor->base.options, step->step + 1, step->lr);
    plan_time(executor, "Adam", 0, begin);
    executor->weights_version++;
    return CAIRN_OK;
}

static cairn_status train_step(cairn_executor *base, const cairn_step *step) {
    int before = enter(own(base));
    return leave(before, train_step_inside(own(base), step));
}

static cairn_status profile_step(cairn_executor *base, const cairn_step *step, cairn_timing *rows,
                                 int capacity, int *count) {
    cpu_executor *executor = own(base);
    executor->timing = rows;
    executor->timing_capacity = capacity;
    executor->timing_count = 0;
    executor->timing_began = omp_get_wtime();
    cairn_status status = train_step(base, step);
    *count = executor->timing_count;
    executor->timing = NULL;
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
        cairn_status status = plan_find(&plan, executor, part, false);
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
    int before = enter(own(base));
    return leave(before, infer(own(base), id, first, count, NULL));
}

static cairn_status logits(cairn_executor *base, cairn_split_id id, int first, int count,
                           float *values) {
    int before = enter(own(base));
    return leave(before, infer(own(base), id, first, count, values));
}

/* Values in and out -----------------------------------------------------------------------------*/

static cairn_status get(cairn_executor *base, cairn_tensor_kind kind, int ordinal, float *values) {
    const cpu_executor *executor = own(base);
    memcpy(values, executor->tensors[kind] + executor->offset[ordinal],
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
                                       .get_stats = get_stats,
                                       .set_stats = set_stats,
                                       .profile_step = profile_step};

const cairn_backend cairn_backend_cpu = {.name = "cpu",
                                         .probe = probe,
                                         .describe = describe,
                                         .supports = supports,
                                         .immediate = true,
                                         .create = create};
