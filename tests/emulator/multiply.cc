/* Blocked matrix product: panels of both operands are gathered into plain float arrays, a small
 * kernel that compilers vectorise multiplies them. Ranges are checked by the callers, so it goes
 * without sanitizers and always optimised: whole trainings run through here. */
#include "multiply.h"

#include <algorithm>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#define PLAIN __attribute__((no_sanitize("address", "undefined")))

namespace emulator {
namespace {

constexpr size_t panel_rows = 6, panel_columns = 16; /* of the kernel's tile of c */
constexpr size_t depth = 256, rows_at_once = 510;
constexpr size_t kept_floats = size_t(16) << 20; /* of b, when it is used again */

typedef float vector8 __attribute__((vector_size(32)));
struct tile {
    float at[panel_rows][panel_columns];
};

/* out = a panel [k][panel_rows] times b panel [k][panel_columns]. */
PLAIN inline __attribute__((always_inline)) void kernel_body(size_t k, const float *a,
                                                             const float *b, tile &out) {
    vector8 sum[panel_rows][2] = {};
    for (size_t p = 0; p < k; p++) {
        vector8 low, high;
        __builtin_memcpy(&low, b + p * panel_columns, sizeof low);
        __builtin_memcpy(&high, b + p * panel_columns + 8, sizeof high);
        for (size_t i = 0; i < panel_rows; i++) {
            sum[i][0] += a[p * panel_rows + i] * low;
            sum[i][1] += a[p * panel_rows + i] * high;
        }
    }
    __builtin_memcpy(out.at, sum, sizeof out.at);
}

#if defined(__x86_64__)
#define WITH_AVX2 __attribute__((target("avx2,fma")))
PLAIN WITH_AVX2 void kernel_avx2(size_t k, const float *a, const float *b, tile &out) {
    kernel_body(k, a, b, out);
}
#endif

PLAIN void kernel_plain(size_t k, const float *a, const float *b, tile &out) {
    kernel_body(k, a, b, out);
}

using kernel = void (*)(size_t, const float *, const float *, tile &);

kernel choose_kernel() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return kernel_avx2;
#endif
    return kernel_plain;
}

template <bool half, bool stepped>
PLAIN inline float gather(const operand &of, const place &row, const place &column) {
    int h = row.h + column.h, w = row.w + column.w;
    if (stepped) {
        if (h < 0 || w < 0 || h % of.h_step || w % of.w_step)
            return 0;
        h /= of.h_step;
        w /= of.w_step;
    }
    if (unsigned(h) >= unsigned(of.height) || unsigned(w) >= unsigned(of.width))
        return 0;
    ptrdiff_t at = row.offset + column.offset + h * of.h_stride + w * of.w_stride;
    if (half) {
        union {
            uint32_t bits;
            float value;
        } wide;
        wide.bits = uint32_t(static_cast<const uint16_t *>(of.data)[at]) << 16;
        return wide.value;
    }
    return static_cast<const float *>(of.data)[at];
}

/* Rows [first, first + panel) and columns [from, from + count) as [count][panel], 0 beyond the last
 * row. */
template <bool half, bool stepped>
PLAIN void pack_as(const operand &of, size_t first, size_t panel, size_t from, size_t count,
                   float *out) {
    const place *columns = of.columns.data() + from, *rows = of.rows.data();
    for (size_t i = 0; i < panel; i++) {
        bool inside = first + i < of.rows.size();
        place row = inside ? rows[first + i] : place{0, 0, 0};
        for (size_t p = 0; p < count; p++)
            out[p * panel + i] = inside ? gather<half, stepped>(of, row, columns[p]) : 0;
    }
    if (of.tf32 && !half)
        for (size_t i = 0; i < panel * count; i++)
            out[i] = to_tf32(out[i]);
}

void pack(const operand &of, size_t first, size_t panel, size_t from, size_t count, float *out) {
    bool stepped = of.h_step != 1 || of.w_step != 1;
    if (of.type == element::bf16)
        (stepped ? pack_as<true, true> : pack_as<true, false>)(of, first, panel, from, count, out);
    else
        (stepped ? pack_as<false, true> : pack_as<false, false>)(of, first, panel, from, count,
                                                                 out);
}

/* Adds one tile to the sums [..][stride]. */
PLAIN void add(const tile &from, double *sums, size_t stride, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            sums[i * stride + j] += double(from.at[i][j]);
}

} // namespace

void multiply(const operand &a, const operand &b,
              const std::function<void(size_t, const double *)> &emit) {
    static const kernel run = choose_kernel();
    size_t m = a.rows.size(), n = b.rows.size(), k = a.columns.size();
    size_t b_panels = (n + panel_columns - 1) / panel_columns;
    bool keep = m > rows_at_once && b_panels * panel_columns * k <= kept_floats;
    std::vector<float> b_packed(b_panels * panel_columns * (keep ? k : std::min(k, depth)));
    std::vector<float> a_packed(panel_rows * depth);
    std::vector<double> sums;
    tile product;

    for (size_t row = 0; row < m; row += rows_at_once) {
        size_t rows = std::min(rows_at_once, m - row);
        sums.assign(rows * n, 0);
        for (size_t p = 0; p < k; p += depth) {
            size_t count = std::min(depth, k - p);
            float *panels = b_packed.data() + (keep ? p * b_panels * panel_columns : 0);
            if (!keep || row == 0)
                for (size_t j = 0; j < b_panels; j++)
                    pack(b, j * panel_columns, panel_columns, p, count,
                         panels + j * panel_columns * count);
            for (size_t i = 0; i < rows; i += panel_rows) {
                pack(a, row + i, panel_rows, p, count, a_packed.data());
                for (size_t j = 0; j < b_panels; j++) {
                    run(count, a_packed.data(), panels + j * panel_columns * count, product);
                    add(product, &sums[i * n + j * panel_columns], n,
                        std::min(panel_rows, rows - i),
                        std::min(panel_columns, n - j * panel_columns));
                }
            }
        }
        for (size_t i = 0; i < rows; i++)
            emit(row + i, &sums[i * n]);
    }
}

} // namespace emulator
