/* Assembling a batch in the reference backend; included after a typedef of `real`. */
#include "../target.h"

#include "cairn/executor.h"
#include "host/data/transform_pixels.h"

#include <omp.h>

/* x[c,i,j] = (byte[c,i,j] / 255 - mean[c]) / std[c], the bytes being those of the transform. */
static void take_image(const cairn_executor_options *options, cairn_shape shape,
                       const cairn_augmenter *augmenter, const cairn_transform *transform,
                       const uint8_t *images, uint32_t index, real *x) {
    for (int c = 0; c < shape.c; c++) {
        real mean = (real)options->mean[c % CAIRN_CHANNELS_MAX];
        real std = (real)options->std[c % CAIRN_CHANNELS_MAX];
        for (int i = 0; i < shape.h; i++)
            for (int j = 0; j < shape.w; j++) {
                int pixel = cairn_transform_level(augmenter, transform, images, index, c, i, j);
                x[(c * shape.h + i) * shape.w + j] = ((real)pixel / 255 - mean) / std;
            }
    }
}

/* Fills x [count, c, h, w] and targets [count] with the step's samples of a split, augmented, or
 * where it is NULL with first..first+count-1. */
static void batch_assemble(const cairn_executor *executor, cairn_split_id id,
                           const cairn_split *split, const cairn_step *step, int first, int count,
                           int threads, real *x, loss_target *targets) {
    const cairn_augmenter augmenter = cairn_executor_augmenter(executor, id);
    cairn_shape shape = executor->net->input;
    size_t size = cairn_shape_count(shape);
#pragma omp parallel for num_threads(threads)
    for (int n = 0; n < count; n++) {
        uint32_t index = (uint32_t)(step ? step->indices[n] : first + n);
        cairn_transform transform;
        if (step)
            cairn_transform_make(&augmenter, &transform, split->images, step->epoch, index);
        else
            cairn_transform_evaluation(&augmenter, &transform, executor->view, index);
        take_image(&executor->options, shape, &augmenter, &transform, split->images, index,
                   x + (size_t)n * size);
        targets[n] = target_of(&transform, split->labels, index);
    }
}
