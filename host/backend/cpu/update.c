/* The optimiser's loops. They are written so that the compiler vectorises them. */
#include "update.h"

#include <assert.h>
#include <math.h>

/* Below this many elements a parallel region costs more than it saves. */
enum { PARALLEL_MIN = 1 << 14 };

void accumulate(float *sum, const float *gradient, size_t count, float share, bool first) {
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++)
        sum[i] = (first ? 0 : sum[i]) + share * gradient[i];
}

/* In chunks, whose sums are added in their order: the threads may take any of them. */
double squares_of(const float *values, size_t count) {
    enum { CHUNK = 1 << 12, ROUND = 64 };
    double sum = 0;
    for (size_t round = 0; round < count; round += (size_t)CHUNK * ROUND) {
        double sums[ROUND] = {0};
#pragma omp parallel for schedule(static) if (count - round >= PARALLEL_MIN)
        for (size_t c = 0; c < ROUND; c++) {
            size_t begin = round + c * CHUNK;
            size_t end = begin + CHUNK < count ? begin + CHUNK : count;
            double squares = 0;
#pragma omp simd reduction(+ : squares)
            for (size_t i = begin; i < end; i++)
                squares += (double)values[i] * (double)values[i];
            sums[c] = squares;
        }
        for (size_t c = 0; c < ROUND; c++)
            sum += sums[c];
    }
    return sum;
}

/* What a loop needs of the rule, rounded once. */
typedef struct {
    float clip, decay, shrink;        /* g = clip g + decay w; w = shrink w */
    float rate, correction, epsilon;  /* Adam */
    float keep1, take1, keep2, take2; /* Adam, Lion */
    float momentum;                   /* SGD */
    bool nesterov;
} factors;

/* Adam and nothing else: the default. */
static void adam_alone(const factors *by, size_t count, float *w, const float *gradient, float *m,
                       float *v) {
    const factors f = *by;
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i];
        m[i] = f.keep1 * m[i] + f.take1 * g;
        v[i] = f.keep2 * v[i] + f.take2 * g * g;
        w[i] -= f.rate * (m[i] / (sqrtf(v[i]) / f.correction + f.epsilon));
    }
}

static void adam_decayed(const factors *by, size_t count, float *w, const float *gradient, float *m,
                         float *v) {
    const factors f = *by;
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++) {
        float g = f.clip * gradient[i] + f.decay * w[i];
        m[i] = f.keep1 * m[i] + f.take1 * g;
        v[i] = f.keep2 * v[i] + f.take2 * g * g;
        w[i] = f.shrink * w[i] - f.rate * (m[i] / (sqrtf(v[i]) / f.correction + f.epsilon));
    }
}

static void sgd(const factors *by, size_t count, float *w, const float *gradient) {
    const factors f = *by;
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++)
        w[i] -= f.rate * (f.clip * gradient[i] + f.decay * w[i]);
}

static void sgd_momentum(const factors *by, size_t count, float *w, const float *gradient,
                         float *m) {
    const factors f = *by;
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++) {
        float g = f.clip * gradient[i] + f.decay * w[i];
        m[i] = f.momentum * m[i] + g;
        w[i] -= f.rate * (f.nesterov ? g + f.momentum * m[i] : m[i]);
    }
}

static void lion(const factors *by, size_t count, float *w, const float *gradient, float *m) {
    const factors f = *by;
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++) {
        float g = f.clip * gradient[i], c = f.keep1 * m[i] + f.take1 * g;
        float sign = c > 0 ? 1.0f : c < 0 ? -1.0f : c; /* NaN stays one */
        w[i] = f.shrink * w[i] - f.rate * sign;
        m[i] = f.keep2 * m[i] + f.take2 * g;
    }
}

/* The average of the parameters, or where `take` is 1 the parameters themselves. */
static void average(float *a, const float *w, size_t count, float take) {
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++)
        a[i] = take == 1 ? w[i] : a[i] + take * (w[i] - a[i]);
}

static factors factors_of(const cairn_optimizer *optimizer, const cairn_update *now, double clip,
                          const cairn_parameter_group *group) {
    return (factors){.clip = (float)clip,
                     .decay = (float)(now->decay / group->lr_scale),
                     .shrink = (float)now->shrink,
                     .rate = (float)(group->lr_scale * now->rate),
                     .correction = (float)now->correction,
                     .epsilon = (float)optimizer->epsilon,
                     .keep1 = (float)optimizer->beta1,
                     .take1 = (float)(1 - optimizer->beta1),
                     .keep2 = (float)optimizer->beta2,
                     .take2 = (float)(1 - optimizer->beta2),
                     .momentum = (float)optimizer->momentum,
                     .nesterov = optimizer->nesterov};
}

static cairn_status update_weights(const cairn_optimizer *optimizer, const factors *by,
                                   const update_span *span, const update_tensors *on) {
    size_t at = span->begin, count = span->end - span->begin;
    float *w = on->parameter + at, *state[CAIRN_STATES];
    const float *g = on->gradient + at;
    for (int s = 0; s < CAIRN_STATES; s++)
        state[s] = on->state[s] ? on->state[s] + at : NULL;
    switch (cairn_optimizer_for(optimizer, span->parameter)) {
    case CAIRN_ADAM:
    case CAIRN_ADAMW:
        assert(state[0] && state[1]);
        if (span->parameter->group.decay > 0 || optimizer->clip_norm > 0)
            adam_decayed(by, count, w, g, state[0], state[1]);
        else
            adam_alone(by, count, w, g, state[0], state[1]);
        break;
    case CAIRN_SGD:
        if (state[0])
            sgd_momentum(by, count, w, g, state[0]);
        else
            sgd(by, count, w, g);
        break;
    case CAIRN_LION:
        assert(state[0]);
        lion(by, count, w, g, state[0]);
        break;
    case CAIRN_OPTIMIZERS:
        break;
    }
    return CAIRN_OK;
}

cairn_status update(const cairn_optimizer *optimizer, const cairn_step *step, double clip,
                    const update_span *span, const update_tensors *on) {
    const cairn_parameter_group *group = &span->parameter->group;
    cairn_update now = cairn_optimizer_at(optimizer, span->parameter, step->step, step->lr);
    factors by = factors_of(optimizer, &now, clip, group);
    bool trains = cairn_parameter_group_trains(group, step->epoch);
    cairn_status status = trains ? update_weights(optimizer, &by, span, on) : CAIRN_OK;
    if (on->average)
        average(on->average + span->begin, on->parameter + span->begin, span->end - span->begin,
                trains ? (float)now.take : 1);
    return status;
}

void exchange_values(float *a, float *b, size_t count) {
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++) {
        float value = a[i];
        a[i] = b[i];
        b[i] = value;
    }
}
