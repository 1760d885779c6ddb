/* The trace file behind trace.h, in the Trace Event Format's array of objects
 * (https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): readers bear
 * that its closing bracket is missing, so a run that is killed leaves a trace too. */
#include "cairn/trace.h"

#include "cairn/clock.h"
#include "cairn/json.h"
#include "cairn/record.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cairn_trace {
    FILE *file;
    char *path;
    double began; /* seconds of the monotonic clock */
    bool begun;   /* a line is there */
    int spans;
    int error; /* errno of the first failure; 0: none */
};

/* The event, which is deleted, as the file's next line. */
static void put(cairn_trace *trace, cJSON *event, bool whole) {
    char *text = whole ? cJSON_PrintUnformatted(event) : NULL;
    if (!text)
        trace->error = trace->error ? trace->error : ENOMEM;
    else if (fprintf(trace->file, "%s%s", trace->begun ? ",\n" : "", text) < 0 && !trace->error)
        trace->error = errno;
    trace->begun = true;
    cJSON_free(text);
    cJSON_Delete(event);
}

/* "process_name" and "thread_name" name what follows under their numbers. */
static void put_name(cairn_trace *trace, const char *kind, int track, const char *name) {
    cJSON *event = cJSON_CreateObject();
    bool whole = cairn_json_text(event, "name", kind) && cairn_json_text(event, "ph", "M") &&
                 cairn_json_integer(event, "pid", 1) && cairn_json_integer(event, "tid", track) &&
                 cairn_json_text(cJSON_AddObjectToObject(event, "args"), "name", name);
    put(trace, event, whole);
}

cairn_status cairn_trace_open(cairn_trace **made, const char *path, const char *device) {
    cairn_trace *trace = calloc(1, sizeof *trace);
    char *copy = strdup(path);
    FILE *file = trace && copy ? fopen(path, "we") : NULL;
    if (!file) {
        free(trace);
        free(copy);
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: cannot write: %s", path, strerror(errno));
    }
    *trace = (cairn_trace){.file = file, .path = copy, .began = cairn_clock_now()};
    fputs("[\n", file);
    put_name(trace, "process_name", CAIRN_TRACE_HOST, "cairn");
    put_name(trace, "thread_name", CAIRN_TRACE_HOST, "host");
    put_name(trace, "thread_name", CAIRN_TRACE_DEVICE, device);
    *made = trace;
    return CAIRN_OK;
}

double cairn_trace_now(const cairn_trace *trace) {
    return trace ? cairn_clock_now() - trace->began : 0;
}

/* Microseconds with three digits behind the point: whole nanoseconds, so that a span that begins
 * where another ends does not overlap it. */
static bool add_time(cJSON *event, const char *key, long long nanoseconds) {
    char digits[40];
    snprintf(digits, sizeof digits, "%lld.%03lld", nanoseconds / 1000, nanoseconds % 1000);
    return cJSON_AddRawToObject(event, key, digits) != NULL;
}

void cairn_trace_span(cairn_trace *trace, cairn_trace_track track, const char *name, double begin,
                      double end, const char *argument, double value) {
    if (!trace || trace->spans == CAIRN_TRACE_SPANS)
        return;
    long long from = llround(1e9 * begin), to = llround(1e9 * end);
    cJSON *event = cJSON_CreateObject();
    bool whole = cairn_json_text(event, "name", name) && cairn_json_text(event, "ph", "X") &&
                 cairn_json_integer(event, "pid", 1) && cairn_json_integer(event, "tid", track) &&
                 add_time(event, "ts", from) && add_time(event, "dur", to - from);
    if (argument)
        whole = whole && cairn_json_number(cJSON_AddObjectToObject(event, "args"), argument, value);
    put(trace, event, whole);
    trace->spans++;
}

void cairn_trace_step(cairn_trace *trace, int64_t step, double begin, double end,
                      const cairn_timing *parts, int count) {
    if (!trace)
        return;
    begin -= trace->began;
    end -= trace->began;
    cairn_trace_span(trace, CAIRN_TRACE_HOST, "step", begin, end, "number", (double)step);
    for (int i = 0; i < count; i++) {
        const cairn_timing *part = &parts[i];
        double from = begin + part->begin, to = begin + (part->begin + part->seconds);
        bool multiplies = part->flops > 0 && part->seconds > 0;
        cairn_trace_span(trace, CAIRN_TRACE_DEVICE, part->name, from, to,
                         multiplies ? "GFLOP/s" : NULL, 1e-9 * part->flops / part->seconds);
    }
}

cairn_status cairn_trace_close(cairn_trace *trace) {
    if (!trace)
        return CAIRN_OK;
    fputs("\n]\n", trace->file);
    if (fclose(trace->file) != 0 && !trace->error)
        trace->error = errno;
    cairn_status status = CAIRN_OK;
    if (trace->error)
        status = cairn_error_set(CAIRN_FAILED, "%s: the trace is not whole: %s", trace->path,
                                 strerror(trace->error));
    free(trace->path);
    free(trace);
    return status;
}

/* The recorder --------------------------------------------------------------------------------- */

/* Where the path cannot be written, the run ends before it touches its folder. */
static cairn_status open_trace(void **state, const cairn_run *run, cairn_record_request *request) {
    char name[300];
    cairn_trace *made = NULL;
    if (!run->trace)
        return CAIRN_OK;
    snprintf(name, sizeof name, "%s: %s", run->device, run->device_description);
    request->parts_of_steps = run->trace_steps;
    cairn_status status = cairn_trace_open(&made, run->trace, name);
    *state = made;
    return status;
}

static cairn_status show_step(void *state, const cairn_step_record *step) {
    if (step->parts)
        cairn_trace_step(state, step->step, step->begin, step->end, step->parts, step->part_count);
    return CAIRN_OK;
}

static void show_phase(void *state, const char *name, double begin, double end) {
    const cairn_trace *trace = state;
    cairn_trace_span(state, CAIRN_TRACE_HOST, name, begin - trace->began, end - trace->began, NULL,
                     0);
}

static cairn_status close_trace(void *state) {
    return cairn_trace_close(state);
}

const cairn_recorder cairn_recorder_trace = {
    .open = open_trace, .step = show_step, .phase = show_phase, .close = close_trace};
