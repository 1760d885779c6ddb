/* The trace of a run: what Perfetto and chrome://tracing read. The run's own is made on the backend
 * that CAIRN_TEST_BACKEND names, and must not change what is trained. */
#include "folder.h"

#include "cairn/file.h"
#include "cairn/trace.h"
#include "cairn/experiment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[sizeof folder + 16];

static int set_up(void **state) {
    if (make_folder(state))
        return -1;
    snprintf(path, sizeof path, "%s/trace.json", folder);
    return 0;
}

static cJSON *read_trace(void) {
    uint8_t *bytes;
    size_t size;
    assert_int_equal(cairn_file_read(path, &bytes, &size), CAIRN_OK);
    cJSON *events = cJSON_Parse((char *)bytes);
    free(bytes);
    assert_true(cJSON_IsArray(events));
    return events;
}

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(object, key);
    assert_true(cJSON_IsString(item));
    return item->valuestring;
}

static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(object, key);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

/* Spans, whole numbers of nanoseconds. */
typedef struct {
    const char *name;
    int track;
    long long begin, end;
} span;

/* Checks every event's form; the spans in `spans`, how many in the result. */
static int take_spans(const cJSON *events, span *spans, int capacity) {
    int count = 0, named[3] = {0};
    const cJSON *event;
    cJSON_ArrayForEach(event, events) {
        assert_int_equal(number_of(event, "pid"), 1);
        int track = (int)number_of(event, "tid");
        assert_in_range(track, CAIRN_TRACE_HOST, CAIRN_TRACE_DEVICE);
        if (strcmp(text_of(event, "ph"), "M") == 0) {
            named[strcmp(text_of(event, "name"), "process_name") == 0 ? 0 : track]++;
            assert_true(*text_of(cJSON_GetObjectItem(event, "args"), "name"));
            continue;
        }
        assert_string_equal(text_of(event, "ph"), "X");
        assert_true(count < capacity);
        double begin = number_of(event, "ts");
        spans[count] = (span){text_of(event, "name"), track, llround(1e3 * begin),
                              llround(1e3 * begin) + llround(1e3 * number_of(event, "dur"))};
        assert_true(*spans[count].name);
        assert_true(spans[count].begin >= 0 && spans[count].end > spans[count].begin);
        count++;
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(named[i], 1);
    return count;
}

static bool inside(const span *a, const span *b) {
    return a->begin >= b->begin && a->end <= b->end;
}

/* Two spans of a track lie apart, or one in the other. */
static void assert_nested(const span *spans, int count) {
    for (int i = 0; i < count; i++)
        for (int k = 0; k < i; k++) {
            const span *a = &spans[i], *b = &spans[k];
            if (a->track == b->track && a->begin < b->end && b->begin < a->end && !inside(a, b) &&
                !inside(b, a))
                fail_msg("%s %lld..%lld crosses %s %lld..%lld", a->name, a->begin, a->end, b->name,
                         b->begin, b->end);
        }
}

static void spans_are_written(void **state) {
    (void)state;
    cairn_trace *trace = NULL;
    span spans[3];
    assert_int_equal(cairn_trace_open(&trace, path, "a \"device\""), CAIRN_OK);
    assert_true(cairn_trace_now(trace) >= 0 && cairn_trace_now(trace) < 10);
    cairn_trace_span(trace, CAIRN_TRACE_HOST, "whole", 0, 1.5, NULL, 0);
    cairn_trace_span(trace, CAIRN_TRACE_DEVICE, "first", 0.25, 0.25 + 1e-7, "GFLOP/s", 12.5);
    cairn_trace_span(trace, CAIRN_TRACE_DEVICE, "second", 0.25 + 1e-7, 0.5, "GFLOP/s", NAN);
    assert_int_equal(cairn_trace_close(trace), CAIRN_OK);
    cJSON *events = read_trace();
    assert_int_equal(take_spans(events, spans, 3), 3);
    assert_string_equal(spans[0].name, "whole");
    assert_int_equal(spans[0].end, 1500000000);
    assert_int_equal(spans[1].begin, 250000000);
    assert_int_equal(spans[1].end, 250000100);
    assert_int_equal(spans[2].begin, spans[1].end);
    const cJSON *first = cJSON_GetArrayItem(events, 4);
    assert_true(number_of(cJSON_GetObjectItem(first, "args"), "GFLOP/s") == 12.5);
    cJSON_Delete(events);
}

static void no_trace_and_no_file(void **state) {
    (void)state;
    char nowhere[sizeof folder + 32];
    cairn_trace *trace = NULL;
    cairn_trace_span(NULL, CAIRN_TRACE_HOST, "nothing", 0, 1, NULL, 0);
    cairn_trace_step(NULL, 1, 0, 1, NULL, 0);
    assert_true(cairn_trace_now(NULL) == 0);
    assert_int_equal(cairn_trace_close(NULL), CAIRN_OK);
    snprintf(nowhere, sizeof nowhere, "%s/none/trace.json", folder);
    assert_int_equal(cairn_trace_open(&trace, nowhere, ""), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), nowhere));
    assert_int_equal(cairn_trace_open(&trace, "/dev/full", ""), CAIRN_OK);
    cairn_trace_span(trace, CAIRN_TRACE_HOST, "lost", 0, 1, NULL, 0);
    assert_int_equal(cairn_trace_close(trace), CAIRN_FAILED);
    assert_non_null(strstr(cairn_error_message(), "/dev/full"));
}

/* A run's trace ----------------------------------------------------------------------------------
 */

enum { EPOCHS = 2, TRACED = 2 };

static const char *device_asked(void) {
    const char *asked = getenv("CAIRN_TEST_BACKEND");
    return asked ? asked : "auto";
}

static cairn_status train(const char *name, const char *profile) {
    static const char params[] =
        "data: {name: synthetic, dir: none, train_limit: 5, test_limit: 2}\n"
        "train: {epochs: 2, batch_size: 2, lr: 0.001, threads: 1}\n"
        "run: {name: r, out_dir: none}\n";
    char device[64], run_dir[sizeof folder + 32];
    const char *const override = device;
    cairn_config config;
    snprintf(device, sizeof device, "device=%s", device_asked());
    snprintf(run_dir, sizeof run_dir, "%s/%s", folder, name);
    assert_int_equal(cairn_config_parse(&config, params, strlen(params), "here", &override, 1),
                     CAIRN_OK);
    const cairn_experiment_options options = {
        .run_dir = run_dir, .quiet = true, .profile = profile, .profile_steps = TRACED};
    return cairn_experiment_run(&config, &options);
}

static int count_of(const span *spans, int count, const char *name, int track) {
    int found = 0;
    for (int i = 0; i < count; i++)
        found += spans[i].track == track && strcmp(spans[i].name, name) == 0;
    return found;
}

static const span *around(const span *spans, int count, const span *within, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(spans[i].name, name) == 0 && inside(within, &spans[i]))
            return &spans[i];
    fail_msg("%s is in no span '%s'", within->name, name);
    return NULL;
}

static void a_run_is_traced(void **state) {
    (void)state;
    enum { SPANS = 1000 };
    static const char *const outer[][2] = {
        {"step", "train"}, {"train", "epoch"}, {"evaluate", "epoch"}, {"record", "epoch"}};
    static span spans[SPANS];
    uint8_t *traced, *plain;
    size_t traced_size, plain_size;
    char model[sizeof folder + 64];
    assert_int_equal(train("traced", path), CAIRN_OK);
    cJSON *events = read_trace();
    int count = take_spans(events, spans, SPANS), ops = 0;
    assert_nested(spans, count);
    assert_int_equal(count_of(spans, count, "epoch", CAIRN_TRACE_HOST), EPOCHS);
    assert_int_equal(count_of(spans, count, "step", CAIRN_TRACE_HOST), EPOCHS * TRACED);
    assert_int_equal(count_of(spans, count, "checkpoint", CAIRN_TRACE_HOST), EPOCHS);
    for (int i = 0; i < count; i++) {
        for (size_t k = 0; k < sizeof outer / sizeof outer[0]; k++)
            if (strcmp(spans[i].name, outer[k][0]) == 0)
                around(spans, count, &spans[i], outer[k][1]);
        if (spans[i].track == CAIRN_TRACE_DEVICE) {
            around(spans, count, &spans[i], "step");
            ops++;
        }
    }
    assert_int_equal(count_of(spans, count, "Adam", CAIRN_TRACE_DEVICE), EPOCHS * TRACED);
    assert_true(ops >= EPOCHS * TRACED * 10);
    cJSON_Delete(events);
    assert_int_equal(train("plain", NULL), CAIRN_OK);
    snprintf(model, sizeof model, "%s/traced/model.safetensors", folder);
    assert_int_equal(cairn_file_read(model, &traced, &traced_size), CAIRN_OK);
    snprintf(model, sizeof model, "%s/plain/model.safetensors", folder);
    assert_int_equal(cairn_file_read(model, &plain, &plain_size), CAIRN_OK);
    assert_int_equal(traced_size, plain_size);
    assert_memory_equal(traced, plain, plain_size);
    free(traced);
    free(plain);
}

/* A trace that cannot be written hides no earlier failure, and is one where there is none. */
static void what_ended_the_run_is_told(void **state) {
    (void)state;
    assert_int_equal(cairn_file_write(path, "", 0), CAIRN_OK);
    assert_int_equal(train("trace.json/run", "/dev/full"), CAIRN_FAILED);
    assert_non_null(strstr(cairn_error_message(), "trace.json/run: cannot make the folder"));
    assert_int_equal(train("run", "/dev/full"), CAIRN_FAILED);
    assert_non_null(strstr(cairn_error_message(), "/dev/full: the trace is not whole"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(spans_are_written),
        TEST(no_trace_and_no_file),
        TEST(a_run_is_traced),
        TEST(what_ended_the_run_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
