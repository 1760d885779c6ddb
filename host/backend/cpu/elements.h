/* Elements of float32 and bf16 tensors, for loops that are compiled for each type: `bf16` is a
 * constant where they are inlined. */
#ifndef CAIRN_BACKEND_CPU_ELEMENTS_H
#define CAIRN_BACKEND_CPU_ELEMENTS_H

#include "bf16.h"

#include <stdbool.h>
#include <stddef.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE float load(const void *x, size_t i, bool bf16) {
    return bf16 ? from_bf16(((const bfloat16 *)x)[i]) : ((const float *)x)[i];
}

ALWAYS_INLINE void store(void *y, size_t i, float value, bool bf16) {
    if (bf16)
        ((bfloat16 *)y)[i] = to_bf16(value);
    else
        ((float *)y)[i] = value;
}

#endif
