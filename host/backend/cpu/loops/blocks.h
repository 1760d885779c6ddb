/* Convolutions of 3x3 with stride 1, by loops over blocks of channels.
 *
 * Blocked tensors are float32 or bf16, [n][blocks][h][w][block], oneDNN's aBcd16b or aBcd8b,
 * aligned to 64 bytes; what fills the last block up reaches no real channel. Weights and all sums
 * are float32, so results are rounded only where the tensor is bf16.
 *
 * For x86-64 the loops are compiled twice, for AVX-512 and for AVX2 with FMA, each with blocks that
 * fill one of its registers; elsewhere other methods are faster. */
#ifndef CAIRN_BACKEND_CPU_BLOCKS_H
#define CAIRN_BACKEND_CPU_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* y [count, out, h + 2 * padding - 2, w + 2 * padding - 2] of x [count, in, h, w]. */
typedef struct {
    int count, in, out; /* samples, channels */
    int height, width;  /* of x */
    int padding;        /* 0 to 2 */
    bool bf16;          /* tensors are bfloat16 */
} conv_shape;

/* Rows or columns of y, of x's; and those that are left when it is pooled by 2x2: an odd last one
 * falls away. */
static inline int conv_side(int side, const conv_shape *shape) {
    return side + 2 * shape->padding - 2;
}

static inline int conv_pooled(int side, const conv_shape *shape) {
    return conv_side(side, shape) / 2;
}

/* From the gradient of what was pooled to that of y: each element to the place of its window that
 * `chosen` says, all other places 0. */
typedef void conv_unpool(const conv_shape *shape, const void *pooled, const int16_t *chosen,
                         void *y);
extern conv_unpool conv_unpool_avx512, conv_unpool_avx2;

#endif
