/* bf16: the upper half of a float. */
#ifndef CAIRN_BACKEND_CPU_BF16_H
#define CAIRN_BACKEND_CPU_BF16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t bfloat16;

/* Round to nearest, ties to even; NaN stays NaN. */
static inline bfloat16 to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    return (bfloat16)(value != value ? (bits >> 16 | 0x40u) : rounded);
}

static inline float from_bf16(bfloat16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

#endif
