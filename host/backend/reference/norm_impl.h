/* Batch normalisation of the reference backend (net.h has the rule); included after a typedef of
 * `real`. With xh = (x - mean) / sqrt(variance + epsilon), y = weight * xh + bias, and sums over
 * the m values of a channel, dweight = sum dy * xh,  dbias = sum dy, dx = weight / sqrt(variance +
 * epsilon) * (dy - dbias / m - xh * dweight / m). Sums are taken in double, one thread a channel,
 * so bytes do not depend on the thread count. */
#include "work_impl.h"

/* Of the batch at hand: both [c]. */
typedef struct {
    real *mean, *inverse; /* inverse: 1 / sqrt(variance + epsilon) */
} batchnorm_statistics;

static void *batchnorm_take(op_memory *memory, const cairn_op *op) {
    batchnorm_statistics *batch = take(memory, sizeof *batch);
    if (!batch)
        return NULL;
    batch->mean = take(memory, (size_t)op->in.c * sizeof(real));
    batch->inverse = take(memory, (size_t)op->in.c * sizeof(real));
    return batch;
}

static double batchnorm_sum(size_t planes, size_t step, size_t plane, const real *x, double mean,
                            bool square) {
    double sum = 0;
    for (size_t n = 0; n < planes; n++, x += step)
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < plane; i++) {
            double distance = (double)x[i] - mean;
            sum += square ? distance * distance : distance;
        }
    return sum;
}

/* Fills the statistics from the batch, and moves the running ones towards them. */
static void batchnorm_measure(const op_work *at) {
    const cairn_op *op = at->op;
    const batchnorm_statistics *batch = at->own;
    real *running_mean = at->mean, *running_variance = at->variance;
    size_t plane = (size_t)op->in.h * (size_t)op->in.w, channels = (size_t)op->in.c;
    double m = (double)at->count * (double)plane, keep = 1 - (double)op->momentum;
#pragma omp parallel for num_threads(at->threads)
    for (size_t c = 0; c < channels; c++) {
        const real *from = at->x + c * plane;
        size_t step = channels * plane, planes = (size_t)at->count;
        double mean = batchnorm_sum(planes, step, plane, from, 0, false) / m;
        double squares = batchnorm_sum(planes, step, plane, from, mean, true);
        batch->mean[c] = (real)mean;
        batch->inverse[c] = (real)(1 / sqrt(squares / m + (double)op->epsilon));
        double unbiased = squares / (m > 1 ? m - 1 : 1);
        running_mean[c] = (float)(keep * (double)running_mean[c] + (double)op->momentum * mean);
        running_variance[c] =
            (float)(keep * (double)running_variance[c] + (double)op->momentum * unbiased);
    }
}

/* Evaluation: the running statistics are the batch's. */
static void batchnorm_recall(const op_work *at) {
    const batchnorm_statistics *batch = at->own;
    for (int c = 0; c < at->op->in.c; c++) {
        batch->mean[c] = at->mean[c];
        batch->inverse[c] = (real)(1 / sqrt((double)at->variance[c] + (double)at->op->epsilon));
    }
}

static void batchnorm_forward(const op_work *at) {
    const cairn_op *op = at->op;
    const batchnorm_statistics *batch = at->own;
    const real *x = at->x, *weight = at->weight, *bias = at->bias;
    real *y = at->y;
    if (at->training)
        batchnorm_measure(at);
    else
        batchnorm_recall(at);
    size_t plane = (size_t)op->in.h * (size_t)op->in.w, channels = (size_t)op->in.c;
#pragma omp parallel for num_threads(at->threads)
    for (size_t p = 0; p < (size_t)at->count * channels; p++) {
        size_t c = p % channels;
        real mean = batch->mean[c], scale = weight[c] * batch->inverse[c], shift = bias[c];
        for (size_t i = p * plane; i < (p + 1) * plane; i++)
            y[i] = (x[i] - mean) * scale + shift;
    }
}

static void batchnorm_backward(const op_work *at) {
    const cairn_op *op = at->op;
    const batchnorm_statistics *batch = at->own;
    const real *x = at->x, *weight = at->weight, *dy = at->dy;
    real *dweight = at->dweight, *dbias = at->dbias, *dx = at->dx;
    size_t plane = (size_t)op->in.h * (size_t)op->in.w, channels = (size_t)op->in.c;
    double m = (double)at->count * (double)plane;
#pragma omp parallel for num_threads(at->threads)
    for (size_t c = 0; c < channels; c++) {
        real mean = batch->mean[c], inverse = batch->inverse[c];
        double sum = 0, product = 0;
        for (size_t n = 0; n < (size_t)at->count; n++) {
            size_t first = (n * channels + c) * plane;
#pragma omp simd reduction(+ : sum, product)
            for (size_t i = first; i < first + plane; i++) {
                sum += (double)dy[i];
                product += (double)(dy[i] * ((x[i] - mean) * inverse));
            }
        }
        if (dweight)
            dweight[c] += (real)product;
        if (dbias)
            dbias[c] += (real)sum;
        real scale = weight[c] * inverse, by_mean = (real)(sum / m);
        real by_variance = (real)(product / m) * inverse;
        for (size_t n = 0; n < (size_t)at->count && dx; n++) {
            size_t first = (n * channels + c) * plane;
            for (size_t i = first; i < first + plane; i++)
                dx[i] += scale * (dy[i] - by_mean - (x[i] - mean) * by_variance);
        }
    }
}
