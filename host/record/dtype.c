/* The types of numbers that safetensors files have and Cairn reads, all as float. */
#include "dtype.h"

#include <math.h>
#include <string.h>

static float from_f16(uint16_t half) {
    uint32_t sign = half >> 15, exponent = half >> 10 & 31, fraction = half & 1023;
    float value = exponent == 31 ? (fraction ? NAN : INFINITY)
                  : exponent     ? ldexpf((float)(1024 + fraction), (int)exponent - 25)
                                 : ldexpf((float)fraction, -24);
    return sign ? -value : value;
}

static void convert_f32(float *out, const uint8_t *in, size_t count) {
    memcpy(out, in, count * sizeof(float));
}

static void convert_f64(float *out, const uint8_t *in, size_t count) {
    for (size_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, in + 8 * i, sizeof value);
        out[i] = (float)value;
    }
}

static void convert_f16(float *out, const uint8_t *in, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        out[i] = from_f16(half);
    }
}

/* bfloat16 is the upper half of a float. */
static void convert_bf16(float *out, const uint8_t *in, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)(in[2 * i] | in[2 * i + 1] << 8) << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

static void convert_i64(float *out, const uint8_t *in, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        memcpy(&value, in + 8 * i, sizeof value);
        out[i] = (float)value;
    }
}

static const cairn_dtype dtypes[] = {
    {"F32", 4, convert_f32},   {"F64", 8, convert_f64}, {"F16", 2, convert_f16},
    {"BF16", 2, convert_bf16}, {"I64", 8, convert_i64}, /* PyTorch's counters */
};

const cairn_dtype *cairn_dtype_find(const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(name, dtypes[i].name) == 0)
            return &dtypes[i];
    return NULL;
}
