/* The ops of the reference backend, forward and backward, as the plain loops of their definitions.
 * float32.c and float64.c include this file after a typedef of `real`. The table at the end has an
 * entry for each kind. */
#include "conv2d_impl.h"
#include "norm_impl.h"
#include "work_impl.h"
#include "pool_impl.h"

#include "cairn/rng.h"

/* Linear: y[n,o] = b[o] + scale * sum over i of w[o,i] * x[n,i] ---------------------------------*/

static void linear_forward(const op_work *at) {
    size_t ins = (size_t)at->op->in.c, outs = (size_t)at->op->out.c;
    const real *weight = at->weight, *bias = at->bias;
    real scale = (real)at->op->scale;
#pragma omp parallel for num_threads(at->threads)
    for (size_t n = 0; n < (size_t)at->count; n++)
        for (size_t o = 0; o < outs; o++)
            at->y[n * outs + o] =
                (bias ? bias[o] : 0) + scale * dot(ins, weight + o * ins, at->x + n * ins);
}

static void linear_backward(const op_work *at) {
    size_t ins = (size_t)at->op->in.c, outs = (size_t)at->op->out.c, count = (size_t)at->count;
    real scale = (real)at->op->scale, *dweight = at->dweight, *dbias = at->dbias;
    const real *x = at->x, *dy = at->dy;
#pragma omp parallel for num_threads(at->threads)
    for (size_t o = 0; o < outs; o++)
        for (size_t n = 0; n < count; n++) {
            if (dbias)
                dbias[o] += dy[n * outs + o];
            if (dweight)
                add_scaled(ins, scale * dy[n * outs + o], x + n * ins, dweight + o * ins);
        }
    if (!at->dx)
        return;
#pragma omp parallel for num_threads(at->threads)
    for (size_t n = 0; n < count; n++)
        for (size_t o = 0; o < outs; o++)
            add_scaled(ins, scale * dy[n * outs + o], at->weight + o * ins, at->dx + n * ins);
}

/* ReLU: `x <= 0` is false for NaN, which so passes through both ways, as in PyTorch -------------*/

static void relu_forward(const op_work *at) {
    const real *x = at->x;
    real *y = at->y;
#pragma omp parallel for simd num_threads(at->threads)
    for (size_t i = 0; i < at->total; i++)
        y[i] = x[i] <= 0 ? 0 : x[i];
}

static void relu_backward(const op_work *at) {
    const real *y = at->y, *dy = at->dy;
    real *dx = at->dx;
#pragma omp parallel for simd num_threads(at->threads)
    for (size_t i = 0; i < at->total; i++)
        dx[i] += y[i] <= 0 ? 0 : dy[i];
}

/* GELU (Hendrycks and Gimpel, arXiv:1606.08415): x P(x), P the standard normal distribution. Its
 * derivative is P(x) + x p(x), p the density ----------------------------------------------------*/

static void gelu_forward(const op_work *at) {
#pragma omp parallel for num_threads(at->threads)
    for (size_t i = 0; i < at->total; i++) {
        double x = (double)at->x[i];
        at->y[i] = (real)(0.5 * x * (1 + erf(x * M_SQRT1_2)));
    }
}

static void gelu_backward(const op_work *at) {
#pragma omp parallel for num_threads(at->threads)
    for (size_t i = 0; i < at->total; i++) {
        double x = (double)at->x[i], below = 0.5 * (1 + erf(x * M_SQRT1_2));
        double density = 0.5 * M_SQRT1_2 * M_2_SQRTPI * exp(-0.5 * x * x);
        at->dx[i] += (real)(below + x * density) * at->dy[i];
    }
}

/* SiLU (Elfwing et al., arXiv:1702.03118): x s(x), s the logistic function. Its derivative is s(x)
 * (1 + x (1 - s(x))) ----------------------------------------------------------------------------*/

static void silu_forward(const op_work *at) {
#pragma omp parallel for num_threads(at->threads)
    for (size_t i = 0; i < at->total; i++) {
        double x = (double)at->x[i];
        at->y[i] = (real)(x / (1 + exp(-x)));
    }
}

static void silu_backward(const op_work *at) {
#pragma omp parallel for num_threads(at->threads)
    for (size_t i = 0; i < at->total; i++) {
        double x = (double)at->x[i], share = 1 / (1 + exp(-x));
        at->dx[i] += (real)(share * (1 + x * (1 - share))) * at->dy[i];
    }
}

/* Sum: y = a + b; both take dy ------------------------------------------------------------------*/

static void add_forward(const op_work *at) {
    const real *a = at->x, *b = at->other;
    real *y = at->y;
#pragma omp parallel for simd num_threads(at->threads)
    for (size_t i = 0; i < at->total; i++)
        y[i] = a[i] + b[i];
}

static void add_backward(const op_work *at) {
    const real *dy = at->dy;
    real *const inputs[] = {at->dother, at->dx};
    for (int input = 0; input < 2; input++) {
        real *dx = inputs[input];
        if (!dx)
            continue;
#pragma omp parallel for simd num_threads(at->threads)
        for (size_t i = 0; i < at->total; i++)
            dx[i] += dy[i];
    }
}

/* Dropout: what survives is scaled by 1/(1-p), so that evaluation needs no change. The mask is
 * computed again in the backward pass, which is the same function of dy -------------------------*/

/* y[i] = 0 or x[i] / (1 - p), added to y when `add`. */
static void dropout_apply(const op_work *at, const real *x, real *y, bool add) {
    uint32_t threshold = cairn_rng_dropout_threshold(at->op->p);
    real scale = (real)(1.0 / (1.0 - (double)at->op->p));
#pragma omp parallel for num_threads(at->threads)
    for (size_t block = 0; block < (at->total + 3) / 4; block++) {
        cairn_rng_block random =
            cairn_rng(at->seed, CAIRN_RNG_DROPOUT, at->step, (uint32_t)at->ordinal,
                      cairn_rng_dropout_index(at->micro_batch, block));
        for (size_t i = 4 * block; i < 4 * block + 4 && i < at->total; i++) {
            real kept = random.word[i % 4] < threshold ? 0 : scale * x[i];
            y[i] = add ? y[i] + kept : kept;
        }
    }
}

static void dropout_forward(const op_work *at) {
    if (at->training)
        dropout_apply(at, at->x, at->y, false);
    else
        memcpy(at->y, at->x, at->total * sizeof *at->x);
}

static void dropout_backward(const op_work *at) {
    dropout_apply(at, at->dy, at->dx, true);
}

/* ------------------------------------------------------------------------------------------------
 */

/* Flatten computes nothing: its output is its input. */
static const op_kind op_kinds[CAIRN_OP_KINDS] = {
    [CAIRN_OP_CONV2D] = {conv2d_forward, conv2d_backward, conv2d_take},
    [CAIRN_OP_RELU] = {relu_forward, relu_backward, NULL},
    [CAIRN_OP_MAXPOOL] = {maxpool_forward, maxpool_backward, maxpool_take},
    [CAIRN_OP_LINEAR] = {linear_forward, linear_backward, NULL},
    [CAIRN_OP_DROPOUT] = {dropout_forward, dropout_backward, NULL},
    [CAIRN_OP_BATCHNORM] = {batchnorm_forward, batchnorm_backward, batchnorm_take},
    [CAIRN_OP_ADD] = {add_forward, add_backward, NULL},
    [CAIRN_OP_AVGPOOL] = {avgpool_forward, avgpool_backward, NULL},
    [CAIRN_OP_GELU] = {gelu_forward, gelu_backward, NULL},
    [CAIRN_OP_SILU] = {silu_forward, silu_backward, NULL},
};
