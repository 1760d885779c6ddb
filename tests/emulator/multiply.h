/* The emulator's one matrix product, under cuBLASLt's matmul and cuDNN's convolutions alike.
 *
 * An operand is a matrix whose element (row, column) is found by adding two places: at height
 * row.h + column.h, width row.w + column.w, from row.offset + column.offset. A plain matrix has
 * height and width 1; the patches of a convolution reach over the edge, where they read 0. */
#ifndef CAIRN_EMULATOR_MULTIPLY_H
#define CAIRN_EMULATOR_MULTIPLY_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

namespace emulator {

enum class element { f32, bf16 };

inline size_t element_bytes(element type) {
    return type == element::f32 ? 4 : 2;
}

inline float from_bf16(uint16_t bits) {
    uint32_t wide = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* To nearest even; NaN stays NaN. */
inline uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* To tf32's 10 bits of mantissa, to nearest, ties away. */
inline float to_tf32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7f800000) != 0x7f800000)
        bits = (bits + 0x1000) & ~uint32_t(0x1fff);
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline float load(const void *data, element type, ptrdiff_t at) {
    return type == element::f32 ? static_cast<const float *>(data)[at]
                                : from_bf16(static_cast<const uint16_t *>(data)[at]);
}

inline void store(void *data, element type, ptrdiff_t at, float value) {
    if (type == element::f32)
        static_cast<float *>(data)[at] = value;
    else
        static_cast<uint16_t *>(data)[at] = to_bf16(value);
}

struct place {
    int h, w;
    ptrdiff_t offset;
};

struct operand {
    const void *data;
    element type;
    bool tf32; /* round float32 to it */
    std::vector<place> rows, columns;
    int height = 1, width = 1;
    ptrdiff_t h_stride = 0, w_stride = 0;
    int h_step = 1, w_step = 1; /* only multiples of these hold anything (transposed strides) */
};

/* c = a b^T, float32 products summed in float32 over at most 256 columns and beyond that in
 * float64; calls emit(row, values [b.rows]) for every row of a. */
void multiply(const operand &a, const operand &b,
              const std::function<void(size_t, const double *)> &emit);

} // namespace emulator

#endif
