/* Convolutions of 3x3 with stride 1 by Winograd's minimal filtering F(4x4, 3x3): a tile of 4x4
 * outputs is made of a tile of 6x6 inputs by 36 multiplications per pair of channels, a quarter of
 * the direct method's (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
 * 2016). Some tiles at a time go through all three steps - transform, multiply, transform back - in
 * the cache, so that narrow layers gain too, whose transforms would else be memory's business.
 *
 * Results are within some 1e-6, relative to the largest, of the exact ones. */
#ifndef CAIRN_BACKEND_CPU_WINOGRAD_H
#define CAIRN_BACKEND_CPU_WINOGRAD_H

#include "blocks.h"

/* Adds to the convolution's y, in this order: bias [out] where it is not NULL, + y where `sum`,
 * ReLU where `relu`; or, where `chosen` is not NULL, y is max-pooled by 2x2 (and nothing summed),
 * which leaves in chosen [like y] what conv_unpool wants to know. */
typedef struct {
    const float *bias;
    bool sum, relu;
    int16_t *chosen;
} winograd_after;

typedef struct {
    /* Floats of transformed weights, and of the scratch memory that so many threads want. */
    size_t (*weights)(const conv_shape *shape);
    size_t (*scratch)(const conv_shape *shape, int threads);

    /* From row-major weights [out, in, 3, 3] to what `convolve` reads. `turned`: for the data
     * gradient, whose shape is of the convolution of dy by the turned weights, with `in` and `out`
     * exchanged and padding 2 - p; the weights are still [in, out, 3, 3]. */
    void (*transform)(const conv_shape *shape, const float *weights, bool turned,
                      float *transformed);

    /* y = conv(x), and what is to come after it. */
    void (*convolve)(const conv_shape *shape, const void *x, const float *transformed,
                     winograd_after after, int threads, float *scratch, void *y);

    /* The gradients of the weights [out, in, 3, 3], row-major, and of the bias [out], which NULL
     * leaves out. Each thread sums up its share of the tiles, so the last digits depend on their
     * number. */
    void (*weight_gradient)(const conv_shape *shape, const void *x, const void *dy, int threads,
                            float *scratch, float *dweights, float *dbias);
} winograd_loops;

extern const winograd_loops winograd_avx512, winograd_avx2;

#endif
