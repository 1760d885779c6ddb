/* Activations that are ops of their own: what each is, and the loops, which are compiled for each
 * so that they vectorise. */
#include "activations.h"

#include "elements.h"
#include "gelu.h"

/* Threads share out parts of so many elements; below some of these a parallel region costs more
 * than it saves. */
enum { PART = 1 << 12, PARALLEL_MIN = 1 << 14 };

/* What each is -----------------------------------------------------------------------------------
 */

/* 1 / (1 + exp(-x)); NaN does not pass. */
ALWAYS_INLINE float logistic(float x) {
    float e = exp_below(fabsf(x)), share = 1.0f / (1.0f + e), sign = copysignf(1.0f, x);
    return (0.5f + 0.5f * sign) * share + (0.5f - 0.5f * sign) * e * share;
}

/* x s(x), with s the logistic function. */
ALWAYS_INLINE float silu_of(float x) {
    return x * logistic(x);
}

ALWAYS_INLINE float silu_slope(float x) {
    float share = logistic(x);
    return share * (1.0f + x * (1.0f - share));
}

ALWAYS_INLINE float value_of(cairn_op_kind kind, float x) {
    return kind == CAIRN_OP_SILU ? silu_of(x) : gelu_of(x);
}

ALWAYS_INLINE float slope_of(cairn_op_kind kind, float x) {
    return kind == CAIRN_OP_SILU ? silu_slope(x) : gelu_slope(x);
}

/* Loops ------------------------------------------------------------------------------------------
 */

/* Elements first..last-1. */
typedef struct {
    const void *x, *dy; /* dy: NULL forward */
    void *out;
    size_t first, last;
} part;

ALWAYS_INLINE void run_loop(cairn_op_kind kind, const part *p, bool bf16) {
    const void *x = p->x, *dy = p->dy;
    void *out = p->out;
    if (dy) {
#pragma omp simd
        for (size_t i = p->first; i < p->last; i++)
            store(out, i, load(dy, i, bf16) * slope_of(kind, load(x, i, bf16)), bf16);
    } else {
#pragma omp simd
        for (size_t i = p->first; i < p->last; i++)
            store(out, i, value_of(kind, load(x, i, bf16)), bf16);
    }
}

ALWAYS_INLINE void run_typed(cairn_op_kind kind, const part *p, bool bf16) {
    if (bf16)
        run_loop(kind, p, true);
    else
        run_loop(kind, p, false);
}

static void run_part(cairn_op_kind kind, const part *p, bool bf16) {
    if (kind == CAIRN_OP_SILU)
        run_typed(CAIRN_OP_SILU, p, bf16);
    else
        run_typed(CAIRN_OP_GELU, p, bf16);
}

static void run(cairn_op_kind kind, const void *x, const void *dy, void *out, size_t count,
                bool bf16) {
#pragma omp parallel for schedule(static) if (count >= PARALLEL_MIN)
    for (size_t first = 0; first < count; first += PART) {
        size_t last = count - first < PART ? count : first + PART;
        run_part(kind, &(part){x, dy, out, first, last}, bf16);
    }
}

void activation_forward(cairn_op_kind kind, const void *x, void *y, size_t count, bool bf16) {
    run(kind, x, NULL, y, count, bf16);
}

void activation_backward(cairn_op_kind kind, const void *x, const void *dy, void *dx, size_t count,
                         bool bf16) {
    run(kind, x, dy, dx, count, bf16);
}
