/* What every executor asks of a training step: what it draws, and its micro-batches. */
#include "cairn/executor.h"

cairn_augmenter cairn_executor_augmenter(const cairn_executor *executor, cairn_split_id id) {
    cairn_shape input = executor->net->input;
    return (cairn_augmenter){.how = executor->options.augment,
                             .seed = executor->options.seed,
                             .crop_padding = executor->options.crop_padding,
                             .channels = input.c,
                             .height = input.h,
                             .width = input.w,
                             .count = (uint32_t)executor->split_count[id]};
}

cairn_step cairn_step_micro_batch(const cairn_executor *executor, const cairn_step *step,
                                  int first) {
    cairn_step part = *step;
    int left = step->count - first;
    part.indices += first;
    part.count = left < executor->options.batch ? left : executor->options.batch;
    return part;
}
