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
                           .bf16_count = executor->bf16_total,
                           .values = executor->tensors[CAIRN_GRADIENT],
                           .bf16_values = executor->bf16_gradient,
                           .group = executor->group_numbers};
}

/* The step's. */
static cuda_gradient step_gradient(const cuda_plan *plan) {
    cuda_gradient gradient = micro_batch_gradient(plan);
    if (plan->executor->sum) {
        gradient.values = plan->executor->sum;
        gradient.bf16_count = 0;
        gradient.bf16_values = NULL;
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

/* Bit by group: those that the optimiser takes. */
static uint32_t groups_of(const cuda_executor *executor, cairn_optimizer_name name) {
    const cairn_optimizer *optimizer = &executor->base.options.optimizer;
    uint32_t groups = 0;
    for (int g = 0; g < executor->group_count; g++)
        if (cairn_optimizer_for(optimizer, executor->group[g]) == name)
            groups |= 1u << g;
    return groups;
}

static cairn_status run_update(const cuda_plan *plan, const cuda_task *task) {
    (void)task;
    cuda_executor *executor = plan->executor;
    cuda_update update = {.gradient = step_gradient(plan),
                          .parameter = executor->tensors[CAIRN_PARAMETER],
                          .average = executor->tensors[CAIRN_AVERAGE],
                          .shadow = executor->shadow,
                          .rule = executor->base.options.optimizer};
    for (int s = 0; s < CAIRN_STATES; s++)
        update.state[s] = executor->tensors[CAIRN_STATE_0 + s];
    for (int name = 0; name < CAIRN_OPTIMIZERS; name++) {
        update.rule.name = (cairn_optimizer_name)name;
        update.groups = groups_of(executor, update.rule.name);
        if (update.groups)
            kernel_update(executor->stream, &update, executor->state);
    }
    return CAIRN_OK;
}

cairn_status cuda_plan_add_update(cuda_plan *plan) {
    const cairn_optimizer *optimizer = &plan->executor->base.options.optimizer;
    const char *title = cairn_optimizer_rule_of(optimizer->name)->title;
    if (plan->executor->sum &&
        !cuda_plan_add(plan, NULL, "accumulation", run_accumulate, NULL, NULL))
        return CAIRN_FAILED;
    if (optimizer->clip_norm > 0 &&
        !cuda_plan_add(plan, NULL, "gradient norm", run_clip, NULL, NULL))
        return CAIRN_FAILED;
    return cuda_plan_add(plan, NULL, title, run_update, NULL, NULL) ? CAIRN_OK : CAIRN_FAILED;
}

/* Groups ----------------------------------------------------------------------------------------*/

/* The number of a parameter's group, a new one where none before was of it; all that are frozen are
 * alike. -1: there are too many. */
static int number_of(cuda_executor *executor, const cairn_parameter *parameter) {
    const cairn_optimizer *optimizer = &executor->base.options.optimizer;
    for (int g = 0; g < executor->group_count; g++) {
        const cairn_parameter *known = executor->group[g];
        if ((known->group.frozen && parameter->group.frozen) ||
            cairn_optimizer_alike(optimizer, known, parameter))
            return g;
    }
    if (executor->group_count == CUDA_GROUPS_MAX)
        return -1;
    executor->group[executor->group_count] = parameter;
    return executor->group_count++;
}

cairn_status update_list_groups(cuda_executor *executor) {
    const cairn_net *net = executor->base.net;
    for (int frozen = 0; frozen < 2; frozen++) /* those that are trained come first */
        for (int k = 0; k < net->parameter_count; k++) {
            if (net->parameter[k].group.frozen != frozen)
                continue;
            int number = number_of(executor, &net->parameter[k]);
            if (number < 0)
                return cairn_error_set(CAIRN_FAILED, "more than %d groups of parameters",
                                       CUDA_GROUPS_MAX);
            executor->parameter[k].group = number;
        }
    return CAIRN_OK;
}

bool update_tells_groups(const cuda_executor *executor) {
    bool average = executor->base.options.optimizer.average > 0;
    int seen = 0; /* by the kernels, which without an average end before what is frozen */
    for (int g = 0; g < executor->group_count; g++)
        seen += average || !executor->group[g]->group.frozen;
    return seen > 1;
}

cairn_status update_fill_groups(cuda_executor *executor) {
    size_t grains = executor->total / CUDA_GRAIN;
    if (!executor->group_numbers)
        return CAIRN_OK;
    uint8_t *numbers = calloc(grains, 1);
    if (!numbers)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the optimiser's table");
    for (int k = 0; k < executor->base.net->parameter_count; k++) {
        const cuda_parameter *parameter = &executor->parameter[k];
        memset(numbers + parameter->offset / CUDA_GRAIN, parameter->group,
               (parameter->count + CUDA_GRAIN - 1) / CUDA_GRAIN);
    }
    cairn_status status = cuda_check(cudaMemcpyAsync(executor->group_numbers, numbers, grains,
                                                     cudaMemcpyHostToDevice, executor->stream),
                                     "starting the device");
    cudaError_t waited = cudaStreamSynchronize(executor->stream);
    free(numbers);
    return status ? status : cuda_check(waited, "starting the device");
}

void update_fill_slot(const cuda_executor *executor, const cairn_step *step, cuda_slot *slot) {
    const cairn_optimizer *optimizer = &executor->base.options.optimizer;
    slot->trained = 0;
    for (int g = 0; g < executor->group_count; g++) {
        const cairn_parameter *parameter = executor->group[g];
        const float scale = (float)parameter->group.lr_scale;
        if (!cairn_parameter_group_trains(&parameter->group, step->epoch))
            continue;
        const cairn_update now = cairn_optimizer_at(optimizer, parameter, step->step, step->lr);
        slot->trained |= 1u << g;
        slot->take = (float)now.take;
        slot->group[g] = (cuda_group){.rate = scale * (float)now.rate,
                                      .correction = (float)now.correction,
                                      .decay = (float)now.decay / scale,
                                      .shrink = (float)now.shrink};
    }
}
