/* The trace of a run: its beginning, and a training step with what the executor did in it. */
#include "train.h"

#include <stdio.h>

cairn_status cairn_profile_open(cairn_trace **trace, const cairn_experiment_options *options,
                                const cairn_executor *executor) {
    char device[256], name[300];
    snprintf(name, sizeof name, "%s: %s", executor->backend->name,
             cairn_executor_describe(executor, device, sizeof device));
    return options->profile ? cairn_trace_open(trace, options->profile, name) : CAIRN_OK;
}

cairn_status cairn_profile_step(cairn_trace *trace, cairn_executor *executor,
                                const cairn_step *step) {
    enum { PARTS = 2048 };
    cairn_timing parts[PARTS];
    int count = 0;
    double begin = cairn_trace_now(trace);
    cairn_status status = executor->ops->profile_step
                              ? cairn_executor_profile_step(executor, step, parts, PARTS, &count)
                              : cairn_executor_train_step(executor, step);
    cairn_trace_span(trace, CAIRN_TRACE_HOST, "step", begin, cairn_trace_now(trace), "number",
                     (double)step->step + 1);
    for (int i = 0; i < count; i++) {
        double from = begin + parts[i].begin, to = begin + (parts[i].begin + parts[i].seconds);
        bool multiplies = parts[i].flops > 0 && parts[i].seconds > 0;
        cairn_trace_span(trace, CAIRN_TRACE_DEVICE, parts[i].name, from, to,
                         multiplies ? "GFLOP/s" : NULL, 1e-9 * parts[i].flops / parts[i].seconds);
    }
    return status;
}
