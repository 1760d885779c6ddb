/* The optimisers of the reference backend (cairn/optimizer.h has the rules), in the order of
 * PyTorch's torch/optim; included after a typedef of `real`. Between steps all tensors are float32
 * values, as which they cross the executor's interface: so a checkpoint loses nothing, in float64
 * neither. */
#include "cairn/optimizer.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>

/* What a step does to one parameter. */
typedef struct {
    const cairn_optimizer *optimizer;
    const cairn_parameter *parameter;
    cairn_update now;
    double clip;    /* the factor of clipping */
    bool trains;    /* the epoch trains it */
    bool decoupled; /* its decay is */
    int threads;
} update_rule;

/* Its tensors, [count]; NULL where the rule keeps none. */
typedef struct {
    size_t count;
    const real *g;
    real *w, *state[CAIRN_STATES], *average;
} update_tensors;

/* g, clipped and, where the decay is the gradient's, decayed. */
static real gradient_at(const update_rule *rule, const update_tensors *on, size_t i) {
    real g = rule->optimizer->clip_norm > 0 ? (real)rule->clip * on->g[i] : on->g[i];
    if (rule->parameter->group.decay > 0 && !rule->decoupled)
        g += (real)(rule->now.decay / rule->parameter->group.lr_scale) * on->w[i];
    return g;
}

static void adam_update(const update_rule *rule, const update_tensors *on) {
    const cairn_optimizer *optimizer = rule->optimizer;
    real rate = (real)(rule->parameter->group.lr_scale * rule->now.rate);
    real root = (real)rule->now.correction, shrink = (real)rule->now.shrink;
    real keep2 = (real)optimizer->beta2, take1 = (real)(1 - optimizer->beta1);
    real take2 = (real)(1 - optimizer->beta2), epsilon = (real)optimizer->epsilon;
    real *m = on->state[0], *v = on->state[1];
#pragma omp parallel for num_threads(rule->threads)
    for (size_t i = 0; i < on->count; i++) {
        real g = gradient_at(rule, on, i), w = shrink * on->w[i];
        real first = m[i] + take1 * (g - m[i]);
        real second = keep2 * v[i] + take2 * g * g;
        on->w[i] = (float)(w - rate * first / ((real)sqrt((double)second) / root + epsilon));
        m[i] = (float)first;
        v[i] = (float)second;
    }
}

static void sgd_update(const update_rule *rule, const update_tensors *on) {
    real rate = (real)(rule->parameter->group.lr_scale * rule->now.rate);
    real momentum = (real)rule->optimizer->momentum, *m = on->state[0];
#pragma omp parallel for num_threads(rule->threads)
    for (size_t i = 0; i < on->count; i++) {
        real g = gradient_at(rule, on, i), direction = g;
        if (m) {
            real first = momentum * m[i] + g;
            direction = rule->optimizer->nesterov ? g + momentum * first : first;
            m[i] = (float)first;
        }
        on->w[i] = (float)(on->w[i] - rate * direction);
    }
}

static void lion_update(const update_rule *rule, const update_tensors *on) {
    real rate = (real)(rule->parameter->group.lr_scale * rule->now.rate);
    real keep1 = (real)rule->optimizer->beta1, take1 = (real)(1 - rule->optimizer->beta1);
    real keep2 = (real)rule->optimizer->beta2, take2 = (real)(1 - rule->optimizer->beta2);
    real shrink = (real)rule->now.shrink, *m = on->state[0];
#pragma omp parallel for num_threads(rule->threads)
    for (size_t i = 0; i < on->count; i++) {
        real g = gradient_at(rule, on, i), c = keep1 * m[i] + take1 * g;
        real sign = c > 0 ? 1 : c < 0 ? -1 : c; /* NaN stays one */
        on->w[i] = (float)(shrink * on->w[i] - rate * sign);
        m[i] = (float)(keep2 * m[i] + take2 * g);
    }
}

static cairn_status update_weights(const update_rule *rule, const update_tensors *on) {
    switch (cairn_optimizer_for(rule->optimizer, rule->parameter)) {
    case CAIRN_ADAM:
    case CAIRN_ADAMW:
        adam_update(rule, on);
        break;
    case CAIRN_SGD:
        sgd_update(rule, on);
        break;
    case CAIRN_LION:
        lion_update(rule, on);
        break;
    case CAIRN_OPTIMIZERS:
        break;
    }
    return CAIRN_OK;
}

static cairn_status update(const update_rule *rule, const update_tensors *on) {
    cairn_status status = rule->trains ? update_weights(rule, on) : CAIRN_OK;
    real take = rule->trains ? (real)rule->now.take : 1;
    for (size_t i = 0; i < on->count && on->average; i++)
        on->average[i] =
            take == 1 ? on->w[i] : (float)(on->average[i] + take * (on->w[i] - on->average[i]));
    return status;
}

static double squares_of(size_t count, const real *g) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)g[i] * (double)g[i];
    return sum;
}
