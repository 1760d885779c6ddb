/* A block of channels in a register: for files that are compiled once for each kind of register,
 * with CHANNEL_BLOCK as 16 for AVX-512 or 8 for AVX2. */
#ifndef CAIRN_BACKEND_CPU_VECTORS_H
#define CAIRN_BACKEND_CPU_VECTORS_H

#include "blocks.h"

#include <stdint.h>

/* The name of what such a file is seen by. */
#if CHANNEL_BLOCK == 16
#define OF_ISA(name) name##_avx512
#else
#define OF_ISA(name) name##_avx2
#endif

typedef float vector __attribute__((vector_size(CHANNEL_BLOCK * sizeof(float)), may_alias));
typedef int bits __attribute__((vector_size(CHANNEL_BLOCK * sizeof(int))));
typedef uint32_t words __attribute__((vector_size(CHANNEL_BLOCK * sizeof(uint32_t))));
typedef uint16_t bf16_vector
    __attribute__((vector_size(CHANNEL_BLOCK * sizeof(uint16_t)), may_alias));
typedef int16_t shorts __attribute__((vector_size(CHANNEL_BLOCK * sizeof(int16_t)), may_alias));

/* Blocks that hold so many channels. */
static inline int channel_blocks(int channels) {
    return (channels + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
}

/* What is called with a constant is compiled for each of its values. */
#define INLINE static inline __attribute__((always_inline))

/* A block in a tensor: float32, or bf16, rounded as by bf16.h. */
static inline size_t block_bytes(bool bf16) {
    return bf16 ? sizeof(bf16_vector) : sizeof(vector);
}

/* A shift by 16 as gcc's analyzer understands it: by 16 itself it takes for too much of a vector.
 */
enum { UPPER = 1 << 16 };

INLINE vector load(const void *from, bool bf16) {
    if (bf16)
        return (vector)(__builtin_convertvector(*(const bf16_vector *)from, words) * UPPER);
    return *(const vector *)from;
}

INLINE bits is_nan(vector value) {
    return (bits)(((words)value & 0x7FFFFFFF) > 0x7F800000);
}

INLINE void store(void *to, vector value, bool bf16) {
    words exact = (words)value, upper = exact / UPPER;
    words nan = (words)is_nan(value);
    words rounded = (exact + 0x7FFF + (upper & 1)) / UPPER;
    if (bf16)
        *(bf16_vector *)to =
            __builtin_convertvector((nan & (upper | 0x40)) | (~nan & rounded), bf16_vector);
    else
        *(vector *)to = value;
}

/* max(value, 0), where a NaN stays one. */
INLINE vector rectify(vector value) {
    return (vector)((bits)value & ~(value < 0));
}

/* Max-pools a window of 2x2, row by row, adds the bias, rectifies where `relu`, into a block of y;
 * and into chosen, the place that won, row + 2 * column, or -1 where the ReLU lets nothing through.
 * The first of equals wins, and the last NaN before any number. */
INLINE void pool_window(const vector window[4], vector bias, bool relu, bool bf16, void *y,
                        int16_t *chosen) {
    vector best = window[0];
    bits place = {0};
    for (int k = 1; k < 4; k++) {
        bits wins = (window[k] > best) | is_nan(window[k]);
        best = (vector)(((bits)window[k] & wins) | ((bits)best & ~wins));
        place = ((k / 2 + 2 * (k % 2)) & wins) | (place & ~wins);
    }
    best += bias;
    if (relu) {
        best = rectify(best);
        place |= ~(best > 0);
    }
    store(y, best, bf16);
    *(shorts *)chosen = __builtin_convertvector(place, shorts);
}

#endif
