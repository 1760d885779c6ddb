/* The trace file behind trace.h, in the Trace Event Format's array of objects
 * (https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): readers bear
 * that its closing bracket is missing, so a run that is killed leaves a trace too. */
#include "cairn/trace.h"

#include "cairn/clock.h"

#include "json.h"

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

void cairn_trace_since(cairn_trace *trace, const char *name, double begin) {
    cairn_trace_span(trace, CAIRN_TRACE_HOST, name, begin, cairn_trace_now(trace), NULL, 0);
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
