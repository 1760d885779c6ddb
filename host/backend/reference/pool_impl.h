/* Pooling of the reference backend; included after a typedef of `real`. */
#include "work_impl.h"

/* Average-pooling: each window gives its mean, and takes dy in equal parts. */
static void avgpool_forward(const op_work *at) {
    const cairn_op *op = at->op;
    int k = op->kernel, s = op->stride, width = op->in.w;
#pragma omp parallel for num_threads(at->threads)
    for (int plane = 0; plane < at->count * op->out.c; plane++) {
        const real *from = at->x + (size_t)plane * (size_t)(op->in.h * width);
        real *to = at->y + (size_t)plane * (size_t)(op->out.h * op->out.w);
        for (int i = 0; i < op->out.h; i++)
            for (int j = 0; j < op->out.w; j++) {
                real sum = 0;
                for (int u = 0; u < k; u++)
                    sum += sum_of((size_t)k, from + (i * s + u) * width + j * s);
                *to++ = sum / (real)(k * k);
            }
    }
}

static void avgpool_backward(const op_work *at) {
    const cairn_op *op = at->op;
    int k = op->kernel, s = op->stride, width = op->in.w;
#pragma omp parallel for num_threads(at->threads)
    for (int plane = 0; plane < at->count * op->out.c; plane++) {
        const real *from = at->dy + (size_t)plane * (size_t)(op->out.h * op->out.w);
        real *to = at->dx + (size_t)plane * (size_t)(op->in.h * width);
        for (int i = 0; i < op->out.h; i++)
            for (int j = 0; j < op->out.w; j++, from++)
                for (int u = 0; u < k; u++)
                    for (int v = 0; v < k; v++)
                        to[(i * s + u) * width + j * s + v] += *from / (real)(k * k);
    }
}

/* Max-pooling. Its memory is each maximum's place in its input plane, [n,c,oh,ow]. The first of
 * equals wins, and the last NaN before any number, as in PyTorch. */
static void maxpool_forward(const op_work *at) {
    const cairn_op *op = at->op;
    int32_t *chosen = at->own;
    real *y = at->y;
    int k = op->kernel, s = op->stride, width = op->in.w;
    cairn_shape out = op->out;
#pragma omp parallel for num_threads(at->threads)
    for (int plane = 0; plane < at->count * out.c; plane++) {
        const real *from = at->x + (size_t)plane * (size_t)(op->in.h * width);
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

static void maxpool_backward(const op_work *at) {
    const cairn_op *op = at->op;
    const int32_t *chosen = at->own;
    const real *dy = at->dy;
    size_t outputs = (size_t)(op->out.h * op->out.w);
#pragma omp parallel for num_threads(at->threads)
    for (int plane = 0; plane < at->count * op->out.c; plane++) {
        size_t from = (size_t)plane * outputs;
        real *to = at->dx + (size_t)plane * (size_t)(op->in.h * op->in.w);
        for (size_t i = 0; i < outputs; i++)
            to[chosen[from + i]] += dy[from + i];
    }
}

static void *maxpool_take(op_memory *memory, const cairn_op *op) {
    return take(memory, memory->batch * cairn_shape_count(op->out) * sizeof(int32_t));
}
