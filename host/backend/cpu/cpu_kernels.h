/* The loops that oneDNN does not do better: batch assembly, loss, elementwise ops. Each is one pass
 * over its data, split over the caller's OpenMP threads; results do not depend on the split. */
#ifndef CAIRN_BACKEND_CPU_CPU_KERNELS_H
#define CAIRN_BACKEND_CPU_CPU_KERNELS_H

#include "bf16.h"
#include "../target.h"

#include "cairn/executor.h"

#include <stddef.h>
#include <stdint.h>

/* Where a batch comes from: samples of a split, by index or (indices == NULL) from `first` on. */
typedef struct {
    const uint8_t *images; /* [count, c, h, w] */
    const uint8_t *labels;
    const int32_t *indices;
    int first;
    bool training; /* augmented, by `augmenter` in `epoch`; else seen by `view` */
    uint32_t epoch;
    cairn_evaluation_view view;
    cairn_augmenter augmenter;
    uint8_t *bytes; /* [count, c, h, w], scratch; NULL where nothing but the crop happens */
} batch_source;

/* Gathers, augments and normalises `count` samples into x [count, c, h, w], of floats or, where
 * `bf16`, of bf16. targets [count]. */
void assemble_batch(const cairn_executor_options *options, const batch_source *source, int count,
                    void *x, bool bf16, loss_target *targets);

/* Mean softmax cross-entropy of logits [count, classes]: adds to the stats; where `gradient` is not
 * NULL it becomes d(mean loss)/d(logits) = (softmax - target) / count. */
void cross_entropy(const float *logits, const loss_target *targets, double smoothing, int count,
                   int classes, float *gradient, cairn_stats *stats);

/* y = max(x, 0), NaN kept. */
void relu_forward(const float *x, float *y, size_t count);

/* out = y > 0 ? dy : 0: the gradient of a ReLU whose output was y. `out` may be dy. Here and below,
 * tensors are of floats or, where `bf16`, of bf16. */
void mask_positive(const void *y, const void *dy, void *out, size_t count, bool bf16);

/* y = a + b, then max(y, 0) where `relu`. y may be either. */
void add_tensors(const void *a, const void *b, void *y, size_t count, bool relu, bool bf16);

/* y = x / (1 - p) where rng.h's dropout rule keeps the element, else 0. Its own gradient. */
void dropout(const float *x, float *y, size_t count, float p, uint64_t seed, uint32_t step,
             uint32_t micro_batch, uint32_t op);

#endif
