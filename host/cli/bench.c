/* `cairn bench`: how fast a training step is, whole and by part, beside what the machine can do; on
 * request also as a trace. */
#include "cli.h"

#include "cairn/clock.h"
#include "cairn/json.h"
#include "cairn/rng.h"
#include "cairn/session.h"
#include "cairn/text.h"
#include "cairn/trace.h"

#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 4096, PARTS_MAX = CAIRN_TIMINGS, ROUNDS = 15, AHEAD = 32 };

/* The machine's peak --------------------------------------------------------------------------- */

/* Independent multiply-adds on registers: enough chains to hide their latency, and few enough that
 * none is spilled, in vectors as wide as the compiler's target has. The sum is returned so that the
 * work is not optimised away. */
#ifdef __AVX512F__
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
enum { CHAINS = 12 };

static float multiply_add_chains(long rounds, float small) {
    lanes factor = {0}, a = {0}, b, c, d, e, f, g, h, i, j, k, l;
    factor += 1.0f - small;
    a += small;
    b = a + a, c = b + a, d = c + a, e = d + a, f = e + a, g = f + a;
    h = g + a, i = h + a, j = i + a, k = j + a, l = k + a;
    for (long round = 0; round < rounds; round++) {
        a = a * factor + factor, b = b * factor + factor, c = c * factor + factor;
        d = d * factor + factor, e = e * factor + factor, f = f * factor + factor;
        g = g * factor + factor, h = h * factor + factor, i = i * factor + factor;
        j = j * factor + factor, k = k * factor + factor, l = l * factor + factor;
    }
    a += b + c + d + e + f + g + h + i + j + k + l;
    return a[0] + a[LANES - 1];
}

/* float32 FLOP/s of `threads` cores: the best of three. */
static double measure_peak(int threads) {
    const long rounds = 8000000;
    double best = 0;
    for (int attempt = 0; attempt < 3; attempt++) {
        float sink = 0;
        double begin = omp_get_wtime();
#pragma omp parallel num_threads(threads) reduction(+ : sink)
        sink += multiply_add_chains(rounds, 1e-9f * (float)(attempt + omp_get_thread_num()));
        double seconds = omp_get_wtime() - begin;
        double rate = 2.0 * LANES * CHAINS * (double)rounds * threads / seconds;
        if (rate > best && sink == sink)
            best = rate;
    }
    return best;
}

/* Steps ---------------------------------------------------------------------------------------- */

typedef struct {
    cairn_executor *executor;
    cairn_trace *trace; /* NULL: none is wanted */
    int32_t order[SAMPLES];
    int batch, at;
    uint32_t step;
    double lr;
} bench;

static cairn_step next_step(bench *b) {
    if (b->at + b->batch > SAMPLES)
        b->at = 0;
    cairn_step step = {
        .indices = b->order + b->at, .count = b->batch, .epoch = 0, .step = b->step++, .lr = b->lr};
    b->at += b->batch;
    return step;
}

/* Waits by asking for the stats. */
static cairn_status run_steps(bench *b, int count) {
    cairn_stats stats;
    for (int i = 0; i < count; i++) {
        cairn_step step = next_step(b);
        cairn_status status = cairn_executor_train_step(b->executor, &step);
        if (status)
            return status;
    }
    return cairn_executor_get_stats(b->executor, &stats);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median images per second of ROUNDS stretches that take about `seconds` together. */
static cairn_status measure_rate(bench *b, double seconds, double rate[3]) {
    double rates[ROUNDS];
    cairn_status status = run_steps(b, 3); /* warm up */
    double begin = omp_get_wtime();
    if (!status)
        status = run_steps(b, 3);
    int steps = (int)(seconds / ROUNDS / ((omp_get_wtime() - begin) / 3)) + 1;
    for (int round = 0; round < ROUNDS && !status; round++) {
        begin = omp_get_wtime();
        status = run_steps(b, steps);
        rates[round] = (double)steps * b->batch / (omp_get_wtime() - begin);
    }
    if (status)
        return status;
    qsort(rates, ROUNDS, sizeof rates[0], compare_doubles);
    rate[0] = rates[ROUNDS / 2];
    rate[1] = rates[0];
    rate[2] = rates[ROUNDS - 1];
    return CAIRN_OK;
}

/* Seconds that the host takes to ask for a step, where steps run behind it: some in a row, fewer
 * than would make it wait. */
static cairn_status measure_host(bench *b, double *seconds) {
    double times[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        cairn_status status = run_steps(b, 0); /* wait for what is under way */
        double begin = omp_get_wtime();
        for (int i = 0; i < AHEAD && !status; i++) {
            cairn_step step = next_step(b);
            status = cairn_executor_train_step(b->executor, &step);
        }
        times[round] = (omp_get_wtime() - begin) / AHEAD;
        if (status)
            return status;
    }
    qsort(times, ROUNDS, sizeof times[0], compare_doubles);
    *seconds = times[ROUNDS / 2];
    return CAIRN_OK;
}

/* Medians of each part over ROUNDS timed steps, which the trace shows. */
static cairn_status measure_parts(bench *b, cairn_timing *parts, int *count) {
    static cairn_timing rows[ROUNDS][PARTS_MAX];
    for (int round = 0; round < ROUNDS; round++) {
        cairn_step step = next_step(b);
        double begin = cairn_clock_now();
        cairn_status status =
            cairn_executor_profile_step(b->executor, &step, rows[round], PARTS_MAX, count);
        if (status)
            return status;
        cairn_trace_step(b->trace, (int64_t)step.step + 1, begin, cairn_clock_now(), rows[round],
                         *count);
    }
    for (int part = 0; part < *count; part++) {
        double seconds[ROUNDS];
        for (int round = 0; round < ROUNDS; round++)
            seconds[round] = rows[round][part].seconds;
        qsort(seconds, ROUNDS, sizeof seconds[0], compare_doubles);
        parts[part] = rows[0][part];
        parts[part].seconds = seconds[ROUNDS / 2];
    }
    return CAIRN_OK;
}

/* Report --------------------------------------------------------------------------------------- */

typedef struct {
    const char *backend, *precision;
    int batch, threads;
    double rate[3]; /* median, slowest, fastest */
    double peak, step_flops;
    bool device;             /* a device that runs behind the host: the next two are known */
    cairn_roofline roofline; /* measured by the backend */
    double host_seconds;     /* a step */
    char device_name[256], choices[2048];
    cairn_timing parts[PARTS_MAX], compared[PARTS_MAX];
    int part_count, compared_count;
} report;

static void print_device(const report *r) {
    double step = r->batch / r->rate[0];
    printf("device %s\n%s\n", r->device_name, r->choices);
    printf(
        "measured here: %.1f TFLOP/s in a large matrix product, of which the step reaches %.1f%%;\n"
        "%.0f GB/s in a copy\n",
        1e-12 * r->peak, 100 * r->step_flops * r->rate[0] / r->peak, 1e-9 * r->roofline.bytes);
    printf("%d %s a step, in one graph; the host takes %.1f us to ask for it, %.0f%% of the "
           "step's time: %s\n",
           r->roofline.launches, cairn_noun(r->roofline.launches, "launch", "launches"),
           1e6 * r->host_seconds, 100 * r->host_seconds / step,
           r->host_seconds < step ? "the device does not wait for it"
                                  : "the device waits for the rest");
}

static void print_text(const report *r) {
    double flops = r->rate[0] * r->step_flops;
    printf("backend %s, %s, batch %d, %d %s\n", r->backend, r->precision, r->batch, r->threads,
           cairn_noun(r->threads, "thread", "threads"));
    printf("training %.0f images/s (%.0f to %.0f), %.2f ms a step, %.1f GFLOP/s\n", r->rate[0],
           r->rate[1], r->rate[2], 1e3 * r->batch / r->rate[0], 1e-9 * flops);
    if (r->device)
        print_device(r);
    else
        printf("float32 peak measured here: %.1f GFLOP/s; the step reaches %.0f%% of it, counting\n"
               "convolutions as direct ones (Winograd's multiply less and can pass 100%%)\n",
               1e-9 * r->peak, 100 * flops / r->peak);
    double total = 0;
    for (int i = 0; i < r->part_count; i++)
        total += r->parts[i].seconds;
    if (r->part_count)
        printf("\n%-34s %8s %9s %7s\n", "part", "ms", "GFLOP/s", "share");
    for (int i = 0; i < r->part_count; i++) {
        const cairn_timing *part = &r->parts[i];
        printf("%-34s %8.3f ", part->name, 1e3 * part->seconds);
        if (part->flops > 0)
            printf("%9.1f", 1e-9 * part->flops / part->seconds);
        else
            printf("%9s", "");
        printf(" %6.1f%%\n", 100 * part->seconds / total);
    }
    if (r->compared_count)
        printf("\n%-34s %8s\n", "the same by two ways", "ms");
    for (int i = 0; i < r->compared_count; i++)
        printf("%-34s %8.3f\n", r->compared[i].name, 1e3 * r->compared[i].seconds);
}

static cairn_status print_json(const report *r) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "backend", r->backend);
    cJSON_AddStringToObject(root, "precision", r->precision);
    cairn_json_number(root, "batch_size", r->batch);
    cairn_json_number(root, "threads", r->threads);
    cairn_json_number(root, "images_per_second", r->rate[0]);
    cairn_json_number(root, "slowest", r->rate[1]);
    cairn_json_number(root, "fastest", r->rate[2]);
    cairn_json_number(root, "peak_gflops", 1e-9 * r->peak);
    cairn_json_number(root, "share_of_peak", r->rate[0] * r->step_flops / r->peak);
    if (r->device) {
        cJSON_AddStringToObject(root, "device", r->device_name);
        cJSON_AddStringToObject(root, "choices", r->choices);
        cairn_json_number(root, "copy_gigabytes_per_second", 1e-9 * r->roofline.bytes);
        cairn_json_number(root, "launches", r->roofline.launches);
        cairn_json_number(root, "host_microseconds", 1e6 * r->host_seconds);
    }
    cJSON *parts = cJSON_AddArrayToObject(root, "parts");
    for (int i = 0; i < r->part_count; i++) {
        cJSON *part = cJSON_CreateObject();
        cJSON_AddStringToObject(part, "name", r->parts[i].name);
        cairn_json_number(part, "milliseconds", 1e3 * r->parts[i].seconds);
        cairn_json_number(part, "gflops", 1e-9 * r->parts[i].flops / r->parts[i].seconds);
        cJSON_AddItemToArray(parts, part);
    }
    cJSON *compared = r->device ? cJSON_AddArrayToObject(root, "autotuning") : NULL;
    for (int i = 0; i < r->compared_count; i++) {
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "name", r->compared[i].name);
        cairn_json_number(row, "milliseconds", 1e3 * r->compared[i].seconds);
        cJSON_AddItemToArray(compared, row);
    }
    char *text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    if (!text)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the report");
    puts(text);
    cJSON_free(text);
    return CAIRN_OK;
}

/* Random images of the model's input shape: what they show makes no difference to the speed. */
static cairn_status random_split(cairn_split *split, cairn_shape shape, int classes) {
    size_t size = SAMPLES * cairn_shape_count(shape);
    *split = (cairn_split){SAMPLES, shape.c, shape.h, shape.w, malloc(size), malloc(SAMPLES)};
    if (!split->images || !split->labels)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d images", SAMPLES);
    for (size_t i = 0; i < size; i++)
        split->images[i] =
            (uint8_t)(cairn_rng(1, CAIRN_RNG_TEST, 0, 0, i / 16).word[i % 4] >> 8 * (i / 4 % 4));
    for (int i = 0; i < SAMPLES; i++)
        split->labels[i] = (uint8_t)(i % classes);
    return CAIRN_OK;
}

static cairn_status measure_device(bench *b, report *r) {
    cairn_executor_describe(b->executor, r->device_name, sizeof r->device_name);
    cairn_executor_choices(b->executor, r->choices, sizeof r->choices);
    cairn_status status = measure_host(b, &r->host_seconds);
    if (!status)
        status = cairn_executor_compare(b->executor, r->compared, PARTS_MAX, &r->compared_count);
    if (!status)
        status = cairn_executor_measure(b->executor, &r->roofline);
    r->peak = r->roofline.flops;
    return status;
}

static cairn_status open_trace(bench *b, const char *path) {
    char device[256], name[300];
    snprintf(name, sizeof name, "%s: %s", b->executor->backend->name,
             cairn_executor_describe(b->executor, device, sizeof device));
    return cairn_trace_open(&b->trace, path, name);
}

static cairn_status measure(const cairn_config *config, double seconds, const char *profile,
                            report *r) {
    cairn_session session = {0}; /* its data are shape and classes: they have no images */
    cairn_split split = {0};
    static bench b;
    cairn_status status = cairn_session_describe(&session, config, NULL);
    if (!status)
        status = cairn_session_plan(&session, config, INT_MAX);
    if (!status)
        status = cairn_session_start(&session, NULL);
    b.executor = session.executor;
    if (!status)
        status = cairn_executor_initialise(b.executor, config->seed);
    if (!status)
        status = random_split(&split, session.net->input, session.data->classes);
    if (!status)
        status = cairn_executor_upload(b.executor, CAIRN_SPLIT_TRAIN, &split);
    cairn_sampler_order(config->seed, 0, SAMPLES, b.order);
    b.batch = (int)(config->train.batch_size * config->train.accumulate);
    b.lr = config->train.lr;
    if (!status && profile)
        status = open_trace(&b, profile);
    if (!status)
        status = measure_rate(&b, seconds, r->rate);
    if (!status)
        status = measure_parts(&b, r->parts, &r->part_count);
    if (!status) {
        r->backend = b.executor->backend->name;
        r->precision = cairn_precision_name(b.executor->options.precision);
        r->batch = b.batch;
        r->threads = b.executor->options.threads;
        r->step_flops = cairn_net_flops(session.net, 1);
        r->device = cairn_executor_measures(b.executor);
        if (!r->device)
            r->peak = measure_peak(r->threads);
    }
    if (!status && r->device)
        status = measure_device(&b, r);
    char message[2048]; /* of what ended the measurement; the trace may fail as well */
    snprintf(message, sizeof message, "%s", cairn_error_message());
    cairn_status written = cairn_trace_close(b.trace);
    status = status ? cairn_error_set(status, "%s", message) : written;
    cairn_session_close(&session);
    free(split.images);
    free(split.labels);
    return status;
}

static cairn_status run(int argc, char **argv) {
    const char *positionals[argc], *seconds_text = "10", *profile = NULL;
    bool json = false;
    size_t positional_count = 0;
    long seconds = 0;
    cairn_common_arguments common;
    const cairn_option options[] = {
        {"json", &json, NULL}, {"seconds", NULL, &seconds_text}, {"profile", NULL, &profile}};
    cairn_config config;
    cairn_status status =
        cairn_arguments_parse(argc, argv, options, 3, &common, positionals, &positional_count);
    if (!status)
        status = cairn_params_positional(&common, positionals, positional_count);
    if (!status)
        status = cairn_argument_integer("--seconds", seconds_text, 1, 3600, &seconds);
    if (!status)
        status = cairn_common_config(&config, &common);
    if (!status && config.train.batch_size * config.train.accumulate > SAMPLES)
        status = cairn_error_set(CAIRN_BAD_INPUT,
                                 "train.batch_size, train.accumulate: found %lld * %lld images a "
                                 "step; bench goes up to %d",
                                 (long long)config.train.batch_size,
                                 (long long)config.train.accumulate, SAMPLES);
    static report r;
    if (!status)
        status = measure(&config, (double)seconds, profile, &r);
    if (status)
        return status;
    if (json)
        return print_json(&r);
    print_text(&r);
    return CAIRN_OK;
}

const cairn_command cairn_command_bench = {
    "bench", "measure the speed of a training step, whole and by part",
    "usage: cairn bench [params.yaml] [-S key=value]... [--device D] [--seconds N] [--json]\n"
    "                   [--profile FILE]\n"
    "\n"
    "Runs training steps of the configured model on random images of the configured data set's\n"
    "size: batch assembly, forward, backward and optimiser. Prints the median of the images per\n"
    "second of 15 stretches, its share of the peak that is measured on the same threads or\n"
    "device, and a table of the step's parts. For a GPU it also prints the launches of a step,\n"
    "what asking for one costs the host, and the time of pooling and dropout by Cairn's kernels\n"
    "and by cuDNN's, forward and backward.\n"
    "\n"
    "  --seconds N     how long the whole measurement takes, about (default 10)\n"
    "  --json          print one JSON object instead of text\n"
    "  --profile FILE  write a trace for ui.perfetto.dev and chrome://tracing, of the 15 steps\n"
    "                  whose parts the table gives the medians of\n" CAIRN_HELP_COMMON "\n"
    "  cairn bench -S train.precision=bf16\n",
    run};
