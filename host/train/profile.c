/* Traces of an executor's work: a training step with what the executor did in it. */
#include "cairn/train.h"

#include <stdio.h>

cairn_status cairn_profile_open(cairn_trace **trace, const char *path,
                                const cairn_executor *executor) {
    char device[256], name[300];
    snprintf(name, sizeof name, "%s: %s", executor->backend->name,
             cairn_executor_describe(executor, device, sizeof device));
    return path ? cairn_trace_open(trace, path, name) : CAIRN_OK;
}

cairn_status cairn_profile_step(cairn_trace *trace, cairn_executor *executor,
                                const cairn_step *step, cairn_timing *rows, int *count) {
    double begin = cairn_trace_now(trace);
    *count = 0;
    cairn_status status =
        cairn_executor_profile_step(executor, step, rows, CAIRN_PROFILE_PARTS, count);
    cairn_trace_span(trace, CAIRN_TRACE_HOST, "step", begin, cairn_trace_now(trace), "number",
                     (double)step->step + 1);
    for (int i = 0; i < *count; i++) {
        double from = begin + rows[i].begin, to = begin + (rows[i].begin + rows[i].seconds);
        bool multiplies = rows[i].flops > 0 && rows[i].seconds > 0;
        cairn_trace_span(trace, CAIRN_TRACE_DEVICE, rows[i].name, from, to,
                         multiplies ? "GFLOP/s" : NULL, 1e-9 * rows[i].flops / rows[i].seconds);
    }
    return status;
}
