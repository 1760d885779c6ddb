/* Convolutions of 3x3 with stride 1 by Winograd's minimal filtering F(4x4, 3x3): a tile of 4x4
 * outputs is made of a tile of 6x6 inputs by 36 multiplications per pair of channels, a quarter of
 * the direct method's (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
 * 2016). Some tiles at a time go through all three steps - transform, multiply, transform back - in
 * the cache, so that narrow layers gain too, whose transforms would else be memory's business.
 *
 * Tensors are float32 or bf16 in blocks of 16 channels, the last one filled up,
 * [n][blocks][h][w][16], oneDNN's aBcd16b, aligned to 64 bytes. Weights and all sums are float32,
 * so results are within some 1e-6, relative to the largest, of the exact ones, and then rounded
 * where the tensor is bf16.
 *
 * On x86-64 this is compiled for AVX-512, one of whose registers holds a block, and winograd_runs
 * says whether the processor has that; elsewhere other methods are faster. */
#ifndef CAIRN_BACKEND_CPU_WINOGRAD_H
#define CAIRN_BACKEND_CPU_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>

enum { WINOGRAD_BLOCK = 16 };

/* Blocks that hold so many channels. What fills the last one up reaches no real channel. */
static inline int winograd_blocks(int channels) {
    return (channels + WINOGRAD_BLOCK - 1) / WINOGRAD_BLOCK;
}

/* y [count, out, h + 2 * padding - 2, w + 2 * padding - 2] of x [count, in, h, w]. */
typedef struct {
    int count, in, out; /* samples, channels */
    int height, width;  /* of x */
    int padding;        /* 0 to 2 */
    bool half;          /* tensors are bf16 */
} winograd_shape;

/* Whether this processor runs it, and faster than other methods: in bf16 not where it has matrix
 * units for that. */
bool winograd_runs(bool half);

/* Floats of transformed weights, and of the scratch memory that so many threads want. */
size_t winograd_weights(const winograd_shape *shape);
size_t winograd_scratch(const winograd_shape *shape, int threads);

/* From row-major weights [out, in, 3, 3] to what winograd_convolve reads. */
void winograd_transform(const winograd_shape *shape, const float *weights, float *transformed);

/* The same for the data gradient: its shape is of the convolution of dy by the turned weights, with
 * `in` and `out` exchanged and padding 2 - p; the weights are still [in, out, 3, 3]. */
void winograd_transform_turned(const winograd_shape *shape, const float *weights,
                               float *transformed);

/* y = conv(x), then + bias [out] where it is not NULL, + y where `sum`, ReLU where `relu`. */
typedef struct {
    const float *bias;
    bool sum, relu;
} winograd_after;
void winograd_convolve(const winograd_shape *shape, const void *x, const float *transformed,
                       winograd_after after, int threads, float *scratch, void *y);

/* The gradients of the weights [out, in, 3, 3], row-major, and of the bias [out], which NULL leaves
 * out. Each thread sums up its share of the tiles, so the last digits depend on their number. */
void winograd_weight_gradient(const winograd_shape *shape, const void *x, const void *dy,
                              int threads, float *scratch, float *dweights, float *dbias);

#endif
