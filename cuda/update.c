/* The end of a training plan, where the micro-batches' gradients become new parameters. */
#include "cuda_update.h"

#include "cuda_executor.h"
#include "cuda_plan.h"
#include "probe.h"

#include <stdlib.h>
#include <string.h>

/* What the last micro-batch's backward pass left. Parameters that are not trained come last, and
 * only their average has to do with a step. */
static cuda_gradient micro_batch_gradient(const cuda_plan *plan) {
    const cuda_executor *executor = plan->executor;
    bool all = executor->tensors[CAIRN_AVERAGE] != NULL;
    return (cuda_gradient){.count = all ? executor->total : executor->trained_total,
                           .half_count = executor->bf16_total,
                           .values = executor->tensors[CAIRN_GRADIENT],
                           .half = executor->bf16_gradient,
                           .treatment = executor->treatment,
                           .late = plan->graph.purpose == CAIRN_PLAN_TRAINS_LATE};
}

/* The step's. */
static cuda_gradient step_gradient(const cuda_plan *plan) {
    cuda_gradient gradient = micro_batch_gradient(plan);
    if (plan->executor->sum) {
        gradient.values = plan->executor->sum;
        gradient.half_count = 0;
        gradient.half = NULL;
    }
    return gradient;
}

static cairn_status run_accumulate(const cuda_plan *plan, const cuda_task *task) {
    (void)task;
    cuda_executor *executor = plan->executor;
    cuda_gradient gradient = micro_batch_gradient(plan);
    kernel_accumulate(executor->stream, &gradient, executor->sum, executor->state);
    return CAIRN_OK;
}

static cairn_status run_clip(const cuda_plan *plan, const cuda_task *task) {
    (void)task;
    cuda_executor *executor = plan->executor;
    cuda_gradient gradient = step_gradient(plan);
    kernel_clip(executor->stream, &gradient, executor->base.options.optimizer.clip_norm,
                executor->clip_scratch, executor->state);
    return CAIRN_OK;
}

static cairn_status run_update(const cuda_plan *plan, const cuda_task *task) {
    (void)task;
    cuda_executor *executor = plan->executor;
    cuda_update update = {.gradient = step_gradient(plan),
                          .parameter = executor->tensors[CAIRN_PARAMETER],
                          .first_moment = executor->tensors[CAIRN_FIRST_MOMENT],
                          .second_moment = executor->tensors[CAIRN_SECOND_MOMENT],
                          .average = executor->tensors[CAIRN_AVERAGE],
                          .shadow = executor->shadow,
                          .rule = executor->base.options.optimizer};
    kernel_update(executor->stream, &update, executor->state);
    return CAIRN_OK;
}

cairn_status cuda_plan_add_update(cuda_plan *plan) {
    const cairn_optimizer *optimizer = &plan->executor->base.options.optimizer;
    const char *title = cairn_optimizer_title(optimizer);
    if (plan->executor->sum &&
        !cuda_plan_add(plan, NULL, "accumulation", run_accumulate, NULL, NULL))
        return CAIRN_FAILED;
    if (optimizer->clip_norm > 0 &&
        !cuda_plan_add(plan, NULL, "gradient norm", run_clip, NULL, NULL))
        return CAIRN_FAILED;
    return cuda_plan_add(plan, NULL, title, run_update, NULL, NULL) ? CAIRN_OK : CAIRN_FAILED;
}

bool update_has_treatments(const cuda_executor *executor) {
    const cairn_net *net = executor->base.net;
    const cairn_optimizer *optimizer = &executor->base.options.optimizer;
    for (int k = 0; k < net->parameter_count; k++) {
        cairn_treatment treatment = cairn_optimizer_treatment(optimizer, &net->parameter[k]);
        if (treatment != CAIRN_TRAINED && (treatment != CAIRN_FIXED || optimizer->average > 0))
            return true;
    }
    return false;
}

cairn_status update_fill_treatments(cuda_executor *executor) {
    const cairn_net *net = executor->base.net;
    size_t grains = executor->total / CUDA_GRAIN;
    if (!executor->treatment)
        return CAIRN_OK;
    uint8_t *treatment = calloc(grains, 1); /* CAIRN_FIXED */
    if (!treatment)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the optimiser's table");
    for (int k = 0; k < net->parameter_count; k++) {
        const cuda_parameter *parameter = &executor->parameter[k];
        memset(
            treatment + parameter->offset / CUDA_GRAIN,
            (int)cairn_optimizer_treatment(&executor->base.options.optimizer, &net->parameter[k]),
            (parameter->count + CUDA_GRAIN - 1) / CUDA_GRAIN);
    }
    cairn_status status = cuda_check(cudaMemcpyAsync(executor->treatment, treatment, grains,
                                                     cudaMemcpyHostToDevice, executor->stream),
                                     "starting the device");
    cudaError_t waited = cudaStreamSynchronize(executor->stream);
    free(treatment);
    return status ? status : cuda_check(waited, "starting the device");
}
