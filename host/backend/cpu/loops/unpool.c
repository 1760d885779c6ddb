/* The backward pass of pooling by 2x2, row by row of what it fills. */
#include "vectors.h"

#include <string.h>

enum { BLOCK = CHANNEL_BLOCK, WINDOW = 2 };

/* One row of y: row `u` of its windows. */
INLINE void unpool_row(int width, int u, const char *pooled, const int16_t *chosen, char *y,
                       bool bf16) {
    size_t size = block_bytes(bf16);
    for (int j = 0; j < width / WINDOW; j++, pooled += size, chosen += BLOCK) {
        vector gradient = load(pooled, bf16);
        bits place = __builtin_convertvector(*(const shorts *)chosen, bits);
        for (int v = 0; v < WINDOW; v++, y += size)
            store(y, (vector)((bits)gradient & (place == u + 2 * v)), bf16);
    }
    if (width % WINDOW)
        memset(y, 0, size);
}

INLINE void unpool_plane(int height, int width, const char *pooled, const int16_t *chosen, char *y,
                         bool bf16) {
    size_t across = (size_t)(width / WINDOW), pitch = (size_t)width * block_bytes(bf16);
    for (int i = 0; i < height / WINDOW * WINDOW; i++, y += pitch) {
        size_t row = (size_t)(i / WINDOW) * across;
        unpool_row(width, i % WINDOW, pooled + row * block_bytes(bf16), chosen + row * BLOCK, y,
                   bf16);
    }
    if (height % WINDOW)
        memset(y, 0, pitch);
}

void OF_ISA(conv_unpool)(const conv_shape *shape, const void *pooled, const int16_t *chosen,
                         void *y) {
    int height = conv_side(shape->height, shape), width = conv_side(shape->width, shape);
    size_t inside = (size_t)(conv_pooled(shape->height, shape) * conv_pooled(shape->width, shape));
    size_t outside = (size_t)(height * width), size = block_bytes(shape->bf16);
#pragma omp parallel for schedule(static)
    for (int n = 0; n < shape->count * channel_blocks(shape->out); n++) {
        const char *from = (const char *)pooled + (size_t)n * inside * size;
        const int16_t *at = chosen + (size_t)n * inside * BLOCK;
        char *to = (char *)y + (size_t)n * outside * size;
        if (shape->bf16)
            unpool_plane(height, width, from, at, to, true);
        else
            unpool_plane(height, width, from, at, to, false);
    }
}
