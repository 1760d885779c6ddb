/* The emulator's convolutions as matrix products over gathered patches. */
#include "convolve.h"

namespace emulator {
namespace dnn {
namespace {

/* The filter's places in the order that keeps reads of the activation in sequence. */
template <typename visitor> void each_tap(const filter &w, int channels, visitor visit) {
    if (w.format == CUDNN_TENSOR_NHWC) {
        for (int r = 0; r < w.r; r++)
            for (int s = 0; s < w.s; s++)
                for (int c = 0; c < channels; c++)
                    visit(c, r, s);
    } else {
        for (int c = 0; c < channels; c++)
            for (int r = 0; r < w.r; r++)
                for (int s = 0; s < w.s; s++)
                    visit(c, r, s);
    }
}

ptrdiff_t weight(const problem &of, int k, int c, int r, int s) {
    if (of.conv.mode == CUDNN_CONVOLUTION) { /* flipped */
        r = of.w.r - 1 - r;
        s = of.w.s - 1 - s;
    }
    return k * of.w.k_stride + c * of.w.c_stride + r * of.w.r_stride + s * of.w.s_stride;
}

operand plain(const void *data, cudnnDataType_t type, bool tf32) {
    operand made;
    made.data = data;
    made.type = kind(type);
    made.tf32 = tf32;
    return made;
}

operand gathered(const void *data, const tensor &from, bool tf32) {
    operand made = plain(data, from.type, tf32);
    made.height = from.h;
    made.width = from.w;
    made.h_stride = from.h_stride;
    made.w_stride = from.w_stride;
    return made;
}

/* Where in x the window of y's pixel begins, pixel by pixel. */
std::vector<place> windows(const problem &of) {
    std::vector<place> all;
    for (int n = 0; n < of.y.n; n++)
        for (int p = 0; p < of.y.h; p++)
            for (int q = 0; q < of.y.w; q++)
                all.push_back({p * of.conv.stride_h - of.conv.pad_h,
                               q * of.conv.stride_w - of.conv.pad_w, n * of.x.n_stride});
    return all;
}

} // namespace

std::vector<ptrdiff_t> pixels(const tensor &of) {
    std::vector<ptrdiff_t> all;
    for (int n = 0; n < of.n; n++)
        for (int h = 0; h < of.h; h++)
            for (int w = 0; w < of.w; w++)
                all.push_back(offset(of, n, 0, h, w));
    return all;
}

void writer::write(ptrdiff_t at, double sum) {
    double value = double(by.alpha) * sum;
    if (by.beta != 0)
        value += double(by.beta) * double(load(data, type, at));
    if (wavers) {
        state = state * 1664525u + 1013904223u;
        value *= 1 + (double(state >> 30) - 1) * (type == element::f32 ? 0x1p-23 : 0x1p-9);
    }
    store(data, type, at, float(value));
}

void convolve_forward(const problem &of, bool tf32, const void *x, const void *w, writer y) {
    operand a = gathered(x, of.x, tf32), b = plain(w, of.w.type, tf32);
    a.rows = windows(of);
    for (int k = 0; k < of.w.k; k++)
        b.rows.push_back({0, 0, k * of.w.k_stride});
    each_tap(of.w, of.w.c, [&](int c, int r, int s) {
        a.columns.push_back({r * of.conv.dilation_h, s * of.conv.dilation_w, c * of.x.c_stride});
        b.columns.push_back({0, 0, weight(of, 0, c, r, s)});
    });
    std::vector<ptrdiff_t> out = pixels(of.y);
    multiply(a, b, [&](size_t i, const double *row) {
        for (int k = 0; k < of.w.k; k++)
            y.write(out[i] + k * of.y.c_stride, row[k]);
    });
}

/* dx[h] = sum over r, k of dy[(h + pad - r * dilation) / stride] w[k][r], where that divides. */
void convolve_data(const problem &of, bool tf32, const void *dy, const void *w, writer dx) {
    operand a = gathered(dy, of.y, tf32), b = plain(w, of.w.type, tf32);
    a.h_step = of.conv.stride_h;
    a.w_step = of.conv.stride_w;
    for (int n = 0; n < of.x.n; n++)
        for (int h = 0; h < of.x.h; h++)
            for (int col = 0; col < of.x.w; col++)
                a.rows.push_back({h + of.conv.pad_h, col + of.conv.pad_w, n * of.y.n_stride});
    for (int c = 0; c < of.w.c; c++)
        b.rows.push_back({0, 0, c * of.w.c_stride});
    each_tap(of.w, of.w.k, [&](int k, int r, int s) {
        a.columns.push_back({-r * of.conv.dilation_h, -s * of.conv.dilation_w, k * of.y.c_stride});
        b.columns.push_back({0, 0, weight(of, k, 0, r, s)});
    });
    std::vector<ptrdiff_t> out = pixels(of.x);
    multiply(a, b, [&](size_t i, const double *row) {
        for (int c = 0; c < of.x.c; c++)
            dx.write(out[i] + c * of.x.c_stride, row[c]);
    });
}

void convolve_filter(const problem &of, bool tf32, const void *x, const void *dy, writer dw) {
    operand a = plain(dy, of.y.type, tf32), b = gathered(x, of.x, tf32);
    for (int k = 0; k < of.w.k; k++)
        a.rows.push_back({0, 0, k * of.y.c_stride});
    for (ptrdiff_t pixel : pixels(of.y))
        a.columns.push_back({0, 0, pixel});
    b.columns = windows(of);
    std::vector<ptrdiff_t> out;
    each_tap(of.w, of.w.c, [&](int c, int r, int s) {
        b.rows.push_back({r * of.conv.dilation_h, s * of.conv.dilation_w, c * of.x.c_stride});
        out.push_back(weight(of, 0, c, r, s));
    });
    multiply(a, b, [&](size_t k, const double *row) {
        for (size_t i = 0; i < out.size(); i++)
            dw.write(ptrdiff_t(k) * of.w.k_stride + out[i], row[i]);
    });
}

} // namespace dnn
} // namespace emulator
