/* The ops of the reference backend, forward and backward, as the plain loops of their definitions.
 *
 * float32.c and float64.c include this file after a typedef of `real`. Activations are [n,c,h,w],
 * row-major. Every backward function adds to its gradients, since an op's output may have several
 * readers. Threads share out outputs, never a sum: each element is summed by one thread in a fixed
 * order, so bytes do not depend on the thread count. Loops are ordered so that the innermost one
 * walks along a row and vectorises. */
#include "../target.h"
#include "range.h"

#include "cairn/net.h"
#include "cairn/rng.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

/* y[i] += a * x[i] */
UNCHECKED static inline void add_scaled(size_t count, real a, const real *restrict x,
                                        real *restrict y) {
    check_range(x, count * sizeof *x);
    check_range(y, count * sizeof *y);
#pragma omp simd
    for (size_t i = 0; i < count; i++)
        y[i] += a * x[i];
}

UNCHECKED static inline real dot(size_t count, const real *x, const real *y) {
    real sum = 0;
    check_range(x, count * sizeof *x);
    check_range(y, count * sizeof *y);
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++)
        sum += x[i] * y[i];
    return sum;
}

UNCHECKED static inline real sum_of(size_t count, const real *x) {
    real sum = 0;
    check_range(x, count * sizeof *x);
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++)
        sum += x[i];
    return sum;
}

/* Convolution -------------------------------------------------------------------------------------
 * y[n,o,i,j] = b[o] + sum over (c,u,v) of w[o,c,u,v] * x[n,c,i*s+u-p,j*s+v-p], where pixels outside
 * x are 0.
 *
 * Everything happens on the padded grid of H x W pixels, H = h+2p, W = w+2p, read as one long row:
 * output (i,j) sits at t = i*s*W + j*s, and the pixel under weight (u,v) at t + u*W + v. So with
 * `padded` = x inside a border of zeros, and `spread` = dy with zeros between,
 *     y at t       = b + sum over (c,u,v) of w[o,c,u,v] * padded[n,c][t + u*W + v]
 *     dw[o,c,u,v] += sum over (n,t) of spread[n,o][t] * padded[n,c][t + u*W + v]
 *     dx at t     += sum over (o,u,v) of w[o,c,u,v] * spread[n,o][t - u*W - v]
 * which costs some idle places and spares every edge case. A spread plane begins with a margin of
 * zeros, so that t - u*W - v may be negative. */

typedef struct {
    size_t width, plane; /* W, H * W */
    size_t span;         /* one more than the last output's t */
    size_t margin;       /* the greatest u*W + v */
} conv2d_grid;

static conv2d_grid conv2d_grid_of(const cairn_op *op) {
    size_t height = (size_t)(op->in.h + 2 * op->padding);
    size_t width = (size_t)(op->in.w + 2 * op->padding);
    size_t stride = (size_t)op->stride;
    size_t last = (size_t)(op->out.h - 1) * stride * width + (size_t)(op->out.w - 1) * stride;
    return (conv2d_grid){width, height * width, last + 1, (size_t)(op->kernel - 1) * (width + 1)};
}

/* Where pixel (0,0) of x sits. */
static size_t conv2d_corner(const cairn_op *op, const conv2d_grid *grid) {
    return (size_t)op->padding * grid->width + (size_t)op->padding;
}

/* Fills the inside of padded [n,c,H,W]; its border is zero from the start. */
static void conv2d_pad(const cairn_op *op, int count, int threads, const real *x, real *padded) {
    conv2d_grid grid = conv2d_grid_of(op);
    size_t height = (size_t)op->in.h, width = (size_t)op->in.w;
#pragma omp parallel for num_threads(threads)
    for (size_t plane = 0; plane < (size_t)(count * op->in.c); plane++) {
        const real *from = x + plane * height * width;
        real *to = padded + plane * grid.plane + conv2d_corner(op, &grid);
        for (size_t i = 0; i < height; i++)
            memcpy(to + i * grid.width, from + i * width, width * sizeof *to);
    }
}

/* `planes` [threads,H,W] is scratch. */
static void conv2d_forward(const cairn_op *op, int count, int threads, const real *padded,
                           const real *weight, const real *bias, real *planes, real *y) {
    conv2d_grid grid = conv2d_grid_of(op);
    size_t k = (size_t)op->kernel, s = (size_t)op->stride, channels = (size_t)op->in.c;
    size_t outs = (size_t)op->out.c, height = (size_t)op->out.h, width = (size_t)op->out.w;
#pragma omp parallel for collapse(2) num_threads(threads)
    for (size_t n = 0; n < (size_t)count; n++)
        for (size_t o = 0; o < outs; o++) {
            real *sum = planes + (size_t)omp_get_thread_num() * grid.plane;
            const real *w = weight + o * channels * k * k;
            for (size_t t = 0; t < grid.span; t++)
                sum[t] = bias ? bias[o] : 0;
            for (size_t c = 0; c < channels; c++) {
                const real *x = padded + (n * channels + c) * grid.plane;
                for (size_t u = 0; u < k; u++)
                    for (size_t v = 0; v < k; v++)
                        add_scaled(grid.span, *w++, x + u * grid.width + v, sum);
            }
            real *to = y + (n * outs + o) * height * width;
            for (size_t i = 0; i < height; i++)
                for (size_t j = 0; j < width; j++)
                    *to++ = sum[i * s * grid.width + j * s];
        }
}

/* Lays dy [n,o,h,w] out on spread [n,o,margin+H*W], which is zero elsewhere from the start. */
static void conv2d_spread(const cairn_op *op, int count, int threads, const real *dy,
                          real *spread) {
    conv2d_grid grid = conv2d_grid_of(op);
    size_t height = (size_t)op->out.h, width = (size_t)op->out.w, s = (size_t)op->stride;
#pragma omp parallel for num_threads(threads)
    for (size_t plane = 0; plane < (size_t)(count * op->out.c); plane++) {
        const real *from = dy + plane * height * width;
        real *to = spread + plane * (grid.margin + grid.plane) + grid.margin;
        for (size_t i = 0; i < height; i++)
            for (size_t j = 0; j < width; j++)
                to[i * s * grid.width + j * s] = *from++;
    }
}

/* dweight, dbias: NULL where not wanted. */
static void conv2d_backward_parameters(const cairn_op *op, int count, int threads,
                                       const real *padded, const real *spread, real *dweight,
                                       real *dbias) {
    conv2d_grid grid = conv2d_grid_of(op);
    size_t k = (size_t)op->kernel, channels = (size_t)op->in.c, outs = (size_t)op->out.c;
#pragma omp parallel for num_threads(threads)
    for (size_t o = 0; o < outs; o++)
        for (size_t n = 0; n < (size_t)count; n++) {
            const real *d = spread + (n * outs + o) * (grid.margin + grid.plane) + grid.margin;
            if (dbias)
                dbias[o] += sum_of(grid.span, d);
            if (!dweight)
                continue;
            real *dw = dweight + o * channels * k * k;
            for (size_t c = 0; c < channels; c++) {
                const real *x = padded + (n * channels + c) * grid.plane;
                for (size_t u = 0; u < k; u++)
                    for (size_t v = 0; v < k; v++)
                        *dw++ += dot(grid.span, d, x + u * grid.width + v);
            }
        }
}

static void conv2d_backward_input(const cairn_op *op, int count, int threads, const real *weight,
                                  const real *spread, real *planes, real *dx) {
    conv2d_grid grid = conv2d_grid_of(op);
    size_t k = (size_t)op->kernel, channels = (size_t)op->in.c, outs = (size_t)op->out.c;
    size_t height = (size_t)op->in.h, width = (size_t)op->in.w;
#pragma omp parallel for collapse(2) num_threads(threads)
    for (size_t n = 0; n < (size_t)count; n++)
        for (size_t c = 0; c < channels; c++) {
            real *sum = planes + (size_t)omp_get_thread_num() * grid.plane;
            memset(sum, 0, grid.plane * sizeof *sum);
            for (size_t o = 0; o < outs; o++) {
                const real *d = spread + (n * outs + o) * (grid.margin + grid.plane) + grid.margin;
                const real *w = weight + (o * channels + c) * k * k;
                for (size_t u = 0; u < k; u++)
                    for (size_t v = 0; v < k; v++)
                        add_scaled(grid.plane, *w++, d - u * grid.width - v, sum);
            }
            const real *from = sum + conv2d_corner(op, &grid);
            real *to = dx + (n * channels + c) * height * width;
            for (size_t i = 0; i < height; i++)
                add_scaled(width, 1, from + i * grid.width, to + i * width);
        }
}

/* Linear: y[n,o] = b[o] + scale * sum over i of w[o,i] * x[n,i] ---------------------------------*/

static void linear_forward(const cairn_op *op, int count, int threads, const real *x,
                           const real *weight, const real *bias, real *y) {
    size_t ins = (size_t)op->in.c, outs = (size_t)op->out.c;
#pragma omp parallel for num_threads(threads)
    for (size_t n = 0; n < (size_t)count; n++)
        for (size_t o = 0; o < outs; o++)
            y[n * outs + o] =
                (bias ? bias[o] : 0) + (real)op->scale * dot(ins, weight + o * ins, x + n * ins);
}

/* dweight, dbias: NULL where not wanted. */
static void linear_backward_parameters(const cairn_op *op, int count, int threads, const real *x,
                                       const real *dy, real *dweight, real *dbias) {
    size_t ins = (size_t)op->in.c, outs = (size_t)op->out.c;
#pragma omp parallel for num_threads(threads)
    for (size_t o = 0; o < outs; o++)
        for (size_t n = 0; n < (size_t)count; n++) {
            if (dbias)
                dbias[o] += dy[n * outs + o];
            if (dweight)
                add_scaled(ins, (real)op->scale * dy[n * outs + o], x + n * ins, dweight + o * ins);
        }
}

static void linear_backward_input(const cairn_op *op, int count, int threads, const real *weight,
                                  const real *dy, real *dx) {
    size_t ins = (size_t)op->in.c, outs = (size_t)op->out.c;
#pragma omp parallel for num_threads(threads)
    for (size_t n = 0; n < (size_t)count; n++)
        for (size_t o = 0; o < outs; o++)
            add_scaled(ins, (real)op->scale * dy[n * outs + o], weight + o * ins, dx + n * ins);
}

/* ReLU: `x <= 0` is false for NaN, which so passes through both ways, as in PyTorch -------------*/
static void relu_forward(size_t total, int threads, const real *x, real *y) {
#pragma omp parallel for simd num_threads(threads)
    for (size_t i = 0; i < total; i++)
        y[i] = x[i] <= 0 ? 0 : x[i];
}

static void relu_backward(size_t total, int threads, const real *y, const real *dy, real *dx) {
#pragma omp parallel for simd num_threads(threads)
    for (size_t i = 0; i < total; i++)
        dx[i] += y[i] <= 0 ? 0 : dy[i];
}

/* GELU (Hendrycks and Gimpel, arXiv:1606.08415): x P(x), P the standard normal distribution. Its
 * derivative is P(x) + x p(x), p the density ------------------------------------------------------
 */
static void gelu_forward(size_t total, int threads, const real *x, real *y) {
#pragma omp parallel for num_threads(threads)
    for (size_t i = 0; i < total; i++)
        y[i] = (real)(0.5 * (double)x[i] * (1 + erf((double)x[i] * M_SQRT1_2)));
}

static void gelu_backward(size_t total, int threads, const real *x, const real *dy, real *dx) {
#pragma omp parallel for num_threads(threads)
    for (size_t i = 0; i < total; i++) {
        double at = (double)x[i], below = 0.5 * (1 + erf(at * M_SQRT1_2));
        double density = 0.5 * M_SQRT1_2 * M_2_SQRTPI * exp(-0.5 * at * at);
        dx[i] += (real)(below + at * density) * dy[i];
    }
}

/* Sum: y = a + b; both take dy ------------------------------------------------------------------*/
static void add_forward(size_t total, int threads, const real *a, const real *b, real *y) {
#pragma omp parallel for simd num_threads(threads)
    for (size_t i = 0; i < total; i++)
        y[i] = a[i] + b[i];
}

static void add_backward(size_t total, int threads, const real *dy, real *dx) {
#pragma omp parallel for simd num_threads(threads)
    for (size_t i = 0; i < total; i++)
        dx[i] += dy[i];
}

/* Average-pooling: each window gives its mean, and takes dy in equal parts ----------------------*/
static void avgpool_forward(const cairn_op *op, int count, int threads, const real *x, real *y) {
    int k = op->kernel, s = op->stride, width = op->in.w;
#pragma omp parallel for num_threads(threads)
    for (int plane = 0; plane < count * op->out.c; plane++) {
        const real *from = x + (size_t)plane * (size_t)(op->in.h * width);
        real *to = y + (size_t)plane * (size_t)(op->out.h * op->out.w);
        for (int i = 0; i < op->out.h; i++)
            for (int j = 0; j < op->out.w; j++) {
                real sum = 0;
                for (int u = 0; u < k; u++)
                    sum += sum_of((size_t)k, from + (i * s + u) * width + j * s);
                *to++ = sum / (real)(k * k);
            }
    }
}

static void avgpool_backward(const cairn_op *op, int count, int threads, const real *dy, real *dx) {
    int k = op->kernel, s = op->stride, width = op->in.w;
#pragma omp parallel for num_threads(threads)
    for (int plane = 0; plane < count * op->out.c; plane++) {
        const real *from = dy + (size_t)plane * (size_t)(op->out.h * op->out.w);
        real *to = dx + (size_t)plane * (size_t)(op->in.h * width);
        for (int i = 0; i < op->out.h; i++)
            for (int j = 0; j < op->out.w; j++, from++)
                for (int u = 0; u < k; u++)
                    for (int v = 0; v < k; v++)
                        to[(i * s + u) * width + j * s + v] += *from / (real)(k * k);
    }
}

/* Max-pooling: `chosen` [n,c,oh,ow] holds each maximum's place in its input plane. The first of
 * equals wins, and the last NaN before any number, as in PyTorch ----------------------------------
 */
static void maxpool_forward(const cairn_op *op, int count, int threads, const real *x, real *y,
                            int32_t *chosen) {
    int k = op->kernel, s = op->stride, width = op->in.w;
    cairn_shape out = op->out;
#pragma omp parallel for num_threads(threads)
    for (int plane = 0; plane < count * out.c; plane++) {
        const real *from = x + (size_t)plane * (size_t)(op->in.h * width);
        size_t to = (size_t)plane * (size_t)(out.h * out.w);
        for (int i = 0; i < out.h; i++)
            for (int j = 0; j < out.w; j++, to++) {
                int best = i * s * width + j * s;
                for (int u = 0; u < k; u++)
                    for (int v = 0; v < k; v++) {
                        int place = (i * s + u) * width + j * s + v;
                        if (from[place] > from[best] || isnan(from[place]))
                            best = place;
                    }
                y[to] = from[best];
                chosen[to] = best;
            }
    }
}

static void maxpool_backward(const cairn_op *op, int count, int threads, const int32_t *chosen,
                             const real *dy, real *dx) {
    size_t outputs = (size_t)(op->out.h * op->out.w);
#pragma omp parallel for num_threads(threads)
    for (int plane = 0; plane < count * op->out.c; plane++) {
        size_t from = (size_t)plane * outputs;
        real *to = dx + (size_t)plane * (size_t)(op->in.h * op->in.w);
        for (size_t i = 0; i < outputs; i++)
            to[chosen[from + i]] += dy[from + i];
    }
}

/* Dropout: what survives is scaled by 1/(1-p), so that evaluation needs no change. The mask is
 * computed again in the backward pass, which is the same function of dy. y[i] = 0 or x[i] / (1 -
 * p), added to y when `add`. */
static void dropout_apply(const cairn_op *op, uint64_t seed, uint32_t step, uint32_t micro_batch,
                          int ordinal, size_t total, int threads, const real *x, real *y,
                          bool add) {
    uint32_t threshold = cairn_rng_dropout_threshold(op->p);
    real scale = (real)(1.0 / (1.0 - (double)op->p));
#pragma omp parallel for num_threads(threads)
    for (size_t block = 0; block < (total + 3) / 4; block++) {
        cairn_rng_block random = cairn_rng(seed, CAIRN_RNG_DROPOUT, step, (uint32_t)ordinal,
                                           cairn_rng_dropout_index(micro_batch, block));
        for (size_t i = 4 * block; i < 4 * block + 4 && i < total; i++) {
            real kept = random.word[i % 4] < threshold ? 0 : scale * x[i];
            y[i] = add ? y[i] + kept : kept;
        }
    }
}

/* Softmax cross-entropy of one sample's logits z with wanted probabilities q: loss = log(sum of
 * exp(z)) - sum of q z, in double, shifted by the greatest logit. Any NaN logit makes the loss NaN
 * and the guess wrong. dz (NULL: not wanted) += (softmax(z) - q) * scale. */
static double cross_entropy(int classes, const real *z, const loss_target *target, double smoothing,
                            double scale, real *dz, bool *correct) {
    int guess = 0;
    bool valid = true;
    for (int c = 0; c < classes; c++) {
        valid = valid && !isnan(z[c]);
        if (z[c] > z[guess])
            guess = c;
    }
    double sum = 0, at_target = 0, top = (double)z[guess];
    for (int c = 0; c < classes; c++) {
        double q = target_probability(target, smoothing, classes, c);
        sum += exp((double)z[c] - top);
        if (q > 0) /* 0 times an infinite logit would be no number */
            at_target += q * ((double)z[c] - top);
    }
    for (int c = 0; c < classes && dz; c++)
        dz[c] += (real)((exp((double)z[c] - top) / sum -
                         target_probability(target, smoothing, classes, c)) *
                        scale);
    *correct = valid && guess == target_label(target);
    return log(sum) - at_target;
}
