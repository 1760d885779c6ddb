/* What winograd.h and stem.h have in common: convolutions of 3x3 with stride 1, by loops over
 * blocks of 16 channels.
 *
 * Blocked tensors are float32 or bf16, [n][blocks][h][w][16], oneDNN's aBcd16b, aligned to 64
 * bytes; what fills the last block up reaches no real channel. Weights and all sums are float32, so
 * results are rounded only where the tensor is bf16.
 *
 * On x86-64 the loops are compiled for AVX-512, one of whose registers holds a block; elsewhere
 * other methods are faster. */
#ifndef CAIRN_BACKEND_CPU_BLOCKS_H
#define CAIRN_BACKEND_CPU_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHANNEL_BLOCK = 16 };

/* Blocks that hold so many channels. */
static inline int channel_blocks(int channels) {
    return (channels + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
}

/* y [count, out, h + 2 * padding - 2, w + 2 * padding - 2] of x [count, in, h, w]. */
typedef struct {
    int count, in, out; /* samples, channels */
    int height, width;  /* of x */
    int padding;        /* 0 to 2 */
    bool half;          /* tensors are bf16 */
} conv_shape;

/* Rows or columns of y that are left when it is pooled by 2x2; an odd last one falls away. */
static inline int conv_pooled(int side, const conv_shape *shape) {
    return (side + 2 * shape->padding - 2) / 2;
}

/* From the gradient of what was pooled to that of y: each element to the place of its window that
 * `chosen` says, all other places 0. */
void conv_unpool(const conv_shape *shape, const void *pooled, const int16_t *chosen, void *y);

/* Whether this processor runs such loops, and faster than other methods: in bf16 not where it has
 * matrix units for that. */
bool channel_blocks_run(bool half);

#endif
