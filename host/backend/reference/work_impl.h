/* What the ops of the reference backend share: what one is given to work on, and sums. Included
 * after a typedef of `real`.
 *
 * Activations are [n,c,h,w], row-major. Every backward function adds to its gradients, since an
 * op's output may have several readers. Threads share out outputs, never a sum: each element is
 * summed by one thread in a fixed order, so bytes do not depend on the thread count. Loops are
 * ordered so that the innermost one walks along a row and vectorises. */
#ifndef CAIRN_REFERENCE_WORK_IMPL_H
#define CAIRN_REFERENCE_WORK_IMPL_H

#include "range.h"

#include "cairn/arena.h"
#include "cairn/net.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

/* One op at work on some samples. */
typedef struct {
    const cairn_op *op;
    int ordinal;
    int count, threads;        /* samples */
    size_t total;              /* values of the output, of all samples */
    void *own;                 /* what op_kind.take made */
    const real *x, *other;     /* inputs; other: add's second */
    real *y;                   /* the output */
    const real *weight, *bias; /* parameters, NULL where the op has none */
    real *mean, *variance;     /* running statistics */
    bool training;
    uint64_t seed; /* in training: what random numbers are made from */
    uint32_t step, micro_batch;
    /* Backward alone; gradients are NULL where they are not wanted. */
    const real *dy;
    real *dx, *dother, *dweight, *dbias;
} op_work;

/* Memory of an executor; after the first failure `ok` is false and nothing more is asked. */
typedef struct {
    cairn_arena *arena;
    size_t batch; /* samples, at most */
    int threads;
    bool ok;
} op_memory;

/* Zeroed. */
static void *take(op_memory *memory, size_t bytes) {
    void *taken = memory->ok ? cairn_arena_alloc(memory->arena, bytes) : NULL;
    memory->ok = taken != NULL;
    return taken;
}

/* How a kind of op is computed. */
typedef struct {
    void (*forward)(const op_work *at);
    void (*backward)(const op_work *at);
    void *(*take)(op_memory *memory, const cairn_op *op); /* memory of its own; NULL: it has none */
} op_kind;

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

#endif
