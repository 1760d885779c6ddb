/* Training and inference as slots of the ring and launches of plans. Nothing here waits for the
 * device but a full ring. */
#include "passes.h"

#include "capture.h"
#include "compile.h"
#include "cuda_executor.h"
#include "cuda_update.h"
#include "plans.h"
#include "probe.h"

#include <string.h>

/* Training --------------------------------------------------------------------------------------*/

cairn_status cuda_fill_slot(cuda_executor *executor, const cairn_step *step, int first) {
    const cairn_executor_options *options = &executor->base.options;
    const cairn_step part = cairn_step_micro_batch(&executor->base, step, first);
    cuda_slot *slot = NULL;
    cairn_status status = ring_take(&executor->ring, &slot);
    if (status)
        return status;
    slot->epoch = step->epoch;
    slot->step = step->step;
    slot->micro_batch = (uint32_t)(first / options->batch);
    slot->last = first + part.count == step->count;
    slot->share = (float)part.count / (float)step->count;
    update_fill_slot(executor, step, slot);
    memcpy(slot->indices, part.indices, (size_t)part.count * sizeof *part.indices);
    return CAIRN_OK;
}

cairn_status cuda_train(cuda_executor *executor, const cairn_step *step, int first, int last) {
    cairn_status status = CAIRN_OK;
    for (int count; first < last && !status; first += count) {
        cuda_plan *plan = NULL;
        count = cairn_step_micro_batch(&executor->base, step, first).count;
        status =
            cuda_plan_find(&plan, executor, count, cairn_plan_purpose_of(&executor->base, step));
        if (!status)
            status = cuda_fill_slot(executor, step, first);
        if (!status)
            status = cuda_plan_launch(plan, CAIRN_SPLIT_TRAIN);
        if (!status)
            status = ring_commit(&executor->ring, executor->stream);
    }
    return status;
}

/* Inference -------------------------------------------------------------------------------------*/

/* Large enough to fill the device, and modest in memory beside the training plan. */
static cairn_status choose_infer_batch(cuda_executor *executor) {
    enum { WISHED = 1000, MODEST = 256 << 20 };
    size_t bytes = 0, allowed = executor->blocks->bytes > MODEST ? executor->blocks->bytes : MODEST;
    cairn_status status = cuda_plan_measure(executor, WISHED, CAIRN_PLAN_EVALUATES, &bytes);
    double share = (double)allowed / (double)bytes;
    executor->infer_batch = status || share >= 1 ? WISHED : (int)(WISHED * share);
    if (executor->infer_batch < 1)
        executor->infer_batch = 1;
    return status;
}

cairn_status cuda_infer(cuda_executor *executor, cairn_split_id id, int first, int count,
                        float *logits) {
    size_t row = (size_t)cairn_net_classes(executor->base.net) * sizeof *logits;
    cairn_status status = CAIRN_OK;
    if (!executor->infer_batch)
        status = choose_infer_batch(executor);
    for (int done = 0, part; done < count && !status; done += part) {
        part = count - done < executor->infer_batch ? count - done : executor->infer_batch;
        cuda_plan *plan = NULL;
        cuda_slot *slot = NULL;
        status = cuda_plan_find(&plan, executor, part, CAIRN_PLAN_EVALUATES);
        if (!status)
            status = ring_take(&executor->ring, &slot);
        if (status)
            break;
        slot->first = first + done;
        slot->view = executor->base.view;
        status = cuda_plan_launch(plan, id);
        if (!status)
            status = ring_commit(&executor->ring, executor->stream);
        if (!status && logits) {
            size_t pitch = (size_t)plan->logits_pitch * sizeof *logits;
            TRY_CUDA(cudaMemcpy2DAsync((char *)logits + (size_t)done * row, row, plan->logits,
                                       pitch, row, (size_t)part, cudaMemcpyDeviceToHost,
                                       executor->stream));
        }
    }
    return status;
}
