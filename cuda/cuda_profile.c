/* A step timed task by task, and which algorithms it takes. */
#include "cuda_profile.h"

#include "autotune.h"
#include "capture.h"
#include "cuda_executor.h"
#include "passes.h"
#include "plans.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Waits for the events; rows[i] is what passed between i and i + 1. */
static cairn_status take_times(const cuda_plan *plan, const cudaEvent_t *events, cairn_timing *rows,
                               int capacity, int *count) {
    *count = plan->task_count < capacity ? plan->task_count : capacity;
    TRY_CUDA(cudaEventSynchronize(events[plan->task_count]));
    for (int i = 0; i < *count; i++) {
        float milliseconds = 0;
        TRY_CUDA(cudaEventElapsedTime(&milliseconds, events[i], events[i + 1]));
        rows[i] = (cairn_timing){.begin = i ? rows[i - 1].begin + rows[i - 1].seconds : 0,
                                 .seconds = milliseconds * 1e-3,
                                 .flops = plan->task[i].flops};
        snprintf(rows[i].name, sizeof rows[i].name, "%s", plan->task[i].name);
    }
    return CAIRN_OK;
}

cairn_status cuda_profile_step(cuda_executor *executor, const cairn_step *step, cairn_timing *rows,
                               int capacity, int *count) {
    cuda_plan *plan = NULL;
    int batch = executor->base.options.batch, last = (step->count - 1) / batch * batch;
    cairn_status status = cuda_train(executor, step, 0, last);
    if (!status)
        status = cuda_plan_find(&plan, executor, step->count - last,
                                cairn_plan_purpose_of(&executor->base, step));
    if (status)
        return status;
    cudaEvent_t *events = calloc((size_t)plan->task_count + 1, sizeof(cudaEvent_t));
    if (!events)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d timings", plan->task_count);
    for (int i = 0; i <= plan->task_count && !status; i++)
        status = cuda_check(cudaEventCreate(&events[i]), "cudaEventCreate");
    if (!status)
        status = cuda_fill_slot(executor, step, last);
    if (!status)
        status = cuda_plan_enqueue(plan, CAIRN_SPLIT_TRAIN, events);
    if (!status)
        status = ring_commit(&executor->ring, executor->stream);
    if (!status)
        status = take_times(plan, events, rows, capacity, count);
    for (int i = 0; i <= plan->task_count; i++)
        if (events[i])
            cudaEventDestroy(events[i]);
    free(events);
    return status;
}

/* Choices ---------------------------------------------------------------------------------------*/

/* Appends " text," where there is room. */
static void append_choice(char *out, size_t size, const char *text) {
    size_t used = strlen(out);
    snprintf(out + used, size - used, " %s,", text);
}

static void append_algorithms(const cuda_plan *plan, const cuda_stage *stage, char *out,
                              size_t size) {
    for (int pass = 0; pass < CONV_PASSES; pass++) {
        char one[96];
        bool runs = pass == CONV_FORWARD ||
                    (pass == CONV_DATA && cairn_graph_wants(&plan->graph, stage->layer->input)) ||
                    (pass == CONV_FILTER && cairn_graph_trains(&plan->graph, stage->layer->weight));
        if (runs)
            append_choice(out, size,
                          conv_choice(stage->layer, &stage->conv, pass, one, sizeof one));
    }
}

const char *cuda_choices(const cuda_executor *executor, char *out, size_t size) {
    const cairn_net *net = executor->base.net;
    const cuda_plan *plan = executor->plans;
    snprintf(out, size, "cuDNN:");
    while (plan->next)
        plan = plan->next;
    for (int s = 0; s < plan->stage_count; s++)
        if (plan->stage[s].layer->kind == CAIRN_OP_CONV2D)
            append_algorithms(plan, &plan->stage[s], out, size);
    for (int i = 0; i < net->op_count; i++) {
        const cuda_timings *times = &executor->timings[i];
        char one[128];
        if (times->ours <= 0 || times->cudnn <= 0)
            continue;
        snprintf(one, sizeof one, "%s pooling by %s (ours %.1f us, cuDNN %.1f us)", net->op[i].name,
                 autotune_prefers_cudnn(executor, i) ? "cuDNN" : "ours", 1e6 * times->ours,
                 1e6 * times->cudnn);
        append_choice(out, size, one);
    }
    out[strlen(out) - 1] = '\0';
    return out;
}
