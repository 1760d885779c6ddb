/* The table of backends, and the calls of executor.h: each checks its arguments, then passes on. */
#include "cairn/executor.h"

#include "cairn/text.h"
#include "cairn/threads.h"

#ifdef CAIRN_WITH_ONEDNN
#include "cpu/cpu.h"
#endif
#ifdef CAIRN_WITH_CUDA
#include "cuda/backend.h"
#endif
#include "reference/reference.h"
#include "views.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cairn_backend *const *cairn_backends(void) {
    static const cairn_backend *const backends[] = {
#ifdef CAIRN_WITH_CUDA
        &cairn_backend_cuda,
#endif
#ifdef CAIRN_WITH_ONEDNN
        &cairn_backend_cpu,
#endif
        &cairn_backend_reference,
        NULL,
    };
    return backends;
}

/* "cuda:1" -> backend name "cuda", ordinal 1. */
static void split_device(const char *device, char *name, size_t size, int *ordinal) {
    const char *colon = strchr(device, ':');
    *ordinal = colon ? atoi(colon + 1) : 0;
    snprintf(name, size, "%.*s", colon ? (int)(colon - device) : (int)strlen(device), device);
}

static cairn_status usable(const cairn_backend *backend, cairn_precision precision) {
    if (!backend->supports(precision))
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "train.precision: backend %s does not compute in %s here; "
                               "`cairn info` lists what each does",
                               backend->name, cairn_precision_name(precision));
    return backend->probe();
}

cairn_status cairn_backend_find(const cairn_backend **backend, int *ordinal, const char *device,
                                cairn_precision precision) {
    char name[32];
    split_device(device, name, sizeof name, ordinal);
    bool automatic = strcmp(name, "auto") == 0;
    char passed_over[512] = "";
    cairn_status status = cairn_error_set(
        CAIRN_BAD_INPUT, "device: this build has no backend '%s'; `cairn info` lists those it has",
        name);
    for (const cairn_backend *const *entry = cairn_backends(); *entry; entry++) {
        if (!automatic && strcmp(name, (*entry)->name) != 0)
            continue;
        status = usable(*entry, precision);
        if (status == CAIRN_OK) {
            *backend = *entry;
            return cairn_error_set(CAIRN_OK, "%s", passed_over);
        }
        if (!*passed_over)
            snprintf(passed_over, sizeof passed_over, "%s", cairn_error_message());
    }
    if (automatic) /* `reference` is refused for no other reason */
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "train.precision: no backend computes in %s here (%s); "
                               "`cairn info` lists what each does",
                               cairn_precision_name(precision), passed_over);
    return status;
}

cairn_executor_options cairn_executor_defaults(void) {
    cairn_executor_options options = {.batch = 128,
                                      .accumulate = 1,
                                      .precision = CAIRN_FLOAT32,
                                      .deterministic = true,
                                      .seed = 42,
                                      .optimizer = cairn_optimizer_defaults()};
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++)
        options.std[c] = 1.0f;
    return options;
}

cairn_executor_options cairn_executor_configure(const cairn_config *config,
                                                const cairn_dataset *dataset) {
    cairn_executor_options options = cairn_executor_defaults();
    options.batch = (int)config->train.batch_size;
    options.accumulate = (int)config->train.accumulate;
    options.optimizer = cairn_optimizer_configure(config);
    options.precision = config->train.precision;
    options.threads = (int)config->train.threads;
    options.deterministic = config->train.deterministic;
    options.seed = config->seed;
    options.crop_padding = (int)config->data.crop_padding;
    options.augment = cairn_augment_configure(config, dataset->mean);
    options.label_smoothing = config->train.label_smoothing;
    options.tta = config->augment.tta;
    options.tta_shift = (int)config->augment.tta_shift;
    memcpy(options.mean, dataset->mean, sizeof options.mean);
    memcpy(options.std, dataset->std, sizeof options.std);
    return options;
}

cairn_status cairn_executor_create(cairn_executor **executor, const cairn_backend *backend,
                                   const cairn_net *net, const cairn_executor_options *options) {
    if (options->batch < 1 || options->accumulate < 1 || net->op_count < 1)
        return cairn_error_set(CAIRN_FAILED,
                               "an executor wants a batch, one a step and an op, not %d, %d and %d",
                               options->batch, options->accumulate, net->op_count);
    cairn_status status = usable(backend, options->precision);
    if (status)
        return status;
    cairn_executor_options resolved = *options;
    status = cairn_threads_resolve(options->threads, &resolved.threads);
    if (status)
        return status;
    status = backend->create(executor, net, &resolved);
    if (status)
        return status;
    cairn_executor *made = *executor;
    made->backend = backend;
    made->net = net;
    made->options = resolved;
    made->trained = 0;
    made->view = (cairn_evaluation_view){0};
    made->test_labels = NULL;
    made->split_count[CAIRN_SPLIT_TRAIN] = made->split_count[CAIRN_SPLIT_TEST] = 0;
    made->averaged = false;
    return CAIRN_OK;
}

void cairn_executor_destroy(cairn_executor *executor) {
    if (!executor)
        return;
    free(executor->test_labels);
    executor->ops->destroy(executor);
}

const char *cairn_executor_describe(const cairn_executor *executor, char *out, size_t size) {
    if (executor->ops->device)
        return executor->ops->device(executor, out, size);
    return executor->backend->describe(out, size);
}

const char *cairn_executor_choices(const cairn_executor *executor, char *out, size_t size) {
    if (executor->ops->choices)
        return executor->ops->choices(executor, out, size);
    if (size)
        *out = '\0';
    return out;
}

bool cairn_executor_measures(const cairn_executor *executor) {
    return executor->ops->measure != NULL;
}

cairn_status cairn_executor_measure(cairn_executor *executor, cairn_roofline *roofline) {
    if (!executor->ops->measure)
        return cairn_error_set(CAIRN_FAILED, "backend %s measures no device",
                               executor->backend->name);
    return executor->ops->measure(executor, roofline);
}

cairn_status cairn_executor_compare(cairn_executor *executor, cairn_timing *rows, int capacity,
                                    int *count) {
    *count = 0;
    if (!executor->ops->compare)
        return CAIRN_OK;
    return executor->ops->compare(executor, rows, capacity, count);
}

cairn_status cairn_executor_upload(cairn_executor *executor, cairn_split_id id,
                                   const cairn_split *split) {
    cairn_shape input = executor->net->input;
    if (split->channels != input.c || split->height != input.h || split->width != input.w)
        return cairn_error_set(CAIRN_BAD_INPUT, "images are %dx%dx%d, the net reads %dx%dx%d",
                               split->channels, split->height, split->width, input.c, input.h,
                               input.w);
    int classes = cairn_net_classes(executor->net);
    for (int i = 0; i < split->count; i++)
        if (split->labels[i] >= classes)
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "sample %d has label %d, the net has %d classes", i,
                                   split->labels[i], classes);
    executor->split_count[id] = 0;
    cairn_status status =
        cairn_views_apply(executor, id) ? cairn_views_keep(executor, split) : CAIRN_OK;
    if (!status)
        status = executor->ops->upload(executor, id, split);
    if (!status)
        executor->split_count[id] = split->count;
    return status;
}

static cairn_status check_step(const cairn_executor *executor, const cairn_step *step) {
    int64_t most = (int64_t)executor->options.batch * executor->options.accumulate;
    if (step->count < 1 || step->count > most)
        return cairn_error_set(CAIRN_FAILED,
                               "a step of %d %s, where 1 to %" PRId64 " would be right",
                               step->count, cairn_noun(step->count, "sample", "samples"), most);
    if (executor->averaged)
        return cairn_error_set(CAIRN_FAILED, "a step while the average is in the weights' place");
    int available = executor->split_count[CAIRN_SPLIT_TRAIN];
    for (int i = 0; i < step->count; i++)
        if (step->indices[i] < 0 || step->indices[i] >= available)
            return cairn_error_set(CAIRN_FAILED, "sample %d of %d in the training split",
                                   step->indices[i], available);
    return CAIRN_OK;
}

cairn_status cairn_executor_train_step(cairn_executor *executor, const cairn_step *step) {
    cairn_status status = check_step(executor, step);
    if (!status)
        status = executor->ops->train_step(executor, step);
    if (!status) /* one that was refused changed nothing */
        executor->trained = step->step + 1;
    return status;
}

void cairn_executor_set_trained(cairn_executor *executor, uint32_t steps) {
    executor->trained = steps;
}

cairn_status cairn_executor_profile_step(cairn_executor *executor, const cairn_step *step,
                                         cairn_timing *rows, int capacity, int *count) {
    cairn_status status = check_step(executor, step);
    if (!status)
        status = executor->ops->profile_step(executor, step, rows, capacity, count);
    if (!status)
        executor->trained = step->step + 1;
    return status;
}

static cairn_status check_range(const cairn_executor *executor, cairn_split_id id, int first,
                                int count) {
    int available = executor->split_count[id];
    if (first < 0 || count < 0 || first > available - count)
        return cairn_error_set(CAIRN_FAILED, "samples %d to %d of a split of %d", first,
                               first + count - 1, available);
    return CAIRN_OK;
}

cairn_status cairn_executor_evaluate(cairn_executor *executor, cairn_split_id id, int first,
                                     int count) {
    cairn_status status = check_range(executor, id, first, count);
    if (status || !cairn_views_apply(executor, id))
        return status ? status : executor->ops->evaluate(executor, id, first, count);
    return cairn_views_evaluate(executor, first, count);
}

cairn_status cairn_executor_logits(cairn_executor *executor, cairn_split_id id, int first,
                                   int count, float *logits) {
    cairn_status status = check_range(executor, id, first, count);
    if (status || !cairn_views_apply(executor, id))
        return status ? status : executor->ops->logits(executor, id, first, count, logits);
    return cairn_views_logits(executor, first, count, logits);
}

static cairn_status check_kind(const cairn_executor *executor, cairn_tensor_kind kind) {
    if (cairn_optimizer_keeps(&executor->options.optimizer, kind))
        return CAIRN_OK;
    return cairn_error_set(CAIRN_FAILED, "%s keeps no tensor of kind %d here",
                           cairn_optimizer_rule_of(executor->options.optimizer.name)->title,
                           (int)kind);
}

cairn_status cairn_executor_get(cairn_executor *executor, cairn_tensor_kind kind, int ordinal,
                                float *values) {
    cairn_status status = check_kind(executor, kind);
    return status ? status : executor->ops->get(executor, kind, ordinal, values);
}

cairn_status cairn_executor_set(cairn_executor *executor, cairn_tensor_kind kind, int ordinal,
                                const float *values) {
    cairn_status status = check_kind(executor, kind);
    return status ? status : executor->ops->set(executor, kind, ordinal, values);
}

cairn_status cairn_executor_use_average(cairn_executor *executor, bool use) {
    if (use == executor->averaged ||
        !cairn_optimizer_keeps(&executor->options.optimizer, CAIRN_AVERAGE))
        return CAIRN_OK;
    executor->averaged = use;
    return executor->ops->exchange(executor);
}

cairn_status cairn_executor_get_stats(cairn_executor *executor, cairn_stats *stats) {
    cairn_status status = executor->ops->get_stats(executor, stats);
    if (!status && isnan(stats->loss))
        stats->loss = NAN; /* whose sign, a processor's whim, would be printed */
    return status;
}

cairn_status cairn_executor_set_stats(cairn_executor *executor, const cairn_stats *stats) {
    return executor->ops->set_stats(executor, stats);
}

cairn_status cairn_executor_initialise(cairn_executor *executor, uint64_t seed) {
    const cairn_net *net = executor->net;
    const cairn_optimizer *optimizer = &executor->options.optimizer;
    cairn_status status = CAIRN_OK;
    for (int k = 0; k < net->parameter_count && !status; k++) {
        float *values = calloc(net->parameter[k].count, sizeof *values);
        if (!values)
            return cairn_error_set(CAIRN_FAILED, "out of memory for %s", net->parameter[k].name);
        static const cairn_tensor_kind kinds[] = {CAIRN_STATE_0, CAIRN_STATE_1, CAIRN_PARAMETER,
                                                  CAIRN_AVERAGE};
        for (int i = 0; i < 4 && !status; i++) {
            if (kinds[i] == CAIRN_PARAMETER)
                cairn_parameter_initialise(net, k, seed, values);
            if (cairn_optimizer_keeps(optimizer, kinds[i]))
                status = cairn_executor_set(executor, kinds[i], k, values);
        }
        free(values);
    }
    return status;
}
