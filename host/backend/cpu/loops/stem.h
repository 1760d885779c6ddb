/* The stem of a net: its first convolution, of 3x3 with stride 1 over an image's few channels, with
 * the ReLU and the max-pooling of 2x2 behind it, as one pass. What the convolution alone makes is
 * the net's largest tensor, and the multiplications are few: written to memory and read again, it
 * costs more than they do. It never gets there: the forward pass leaves what is pooled and, of each
 * window, a number that says which place won; the weight gradient needs the inputs of that place
 * only, a quarter of the multiplications.
 *
 * The first of equals wins, and the last NaN before any number; but the bias is added to what won,
 * so values that it would round to the same are told apart.
 *
 * x is row-major [n][in][h][w], float32 or bf16; what is pooled lies in blocks (blocks.h). */
#ifndef CAIRN_BACKEND_CPU_STEM_H
#define CAIRN_BACKEND_CPU_STEM_H

#include "blocks.h"

/* More channels than an image has are better served by other methods. */
enum { STEM_CHANNELS_MAX = 4 };

typedef struct {
    /* Floats of transformed weights, and of the scratch memory that so many threads want. */
    size_t (*weights)(const conv_shape *shape);
    size_t (*scratch)(const conv_shape *shape, int threads);

    /* From row-major weights [out, in, 3, 3] to what `forward` reads. */
    void (*transform)(const conv_shape *shape, const float *weights, float *transformed);

    /* y = maxpool(relu(conv(x) + bias)), and chosen [like y]: what weight_gradient wants to know.
     * bias [out] or NULL. */
    void (*forward)(const conv_shape *shape, const void *x, const float *transformed,
                    const float *bias, int threads, float *scratch, void *y, int16_t *chosen);

    /* The gradients of the weights [out, in, 3, 3], row-major, and of the bias [out], which NULL
     * leaves out. Each thread sums up its share of the samples, so the last digits depend on their
     * number. */
    void (*weight_gradient)(const conv_shape *shape, const void *x, const void *dy,
                            const int16_t *chosen, int threads, float *scratch, float *dweights,
                            float *dbias);
} stem_loops;

extern const stem_loops stem_avx512, stem_avx2;

#endif
