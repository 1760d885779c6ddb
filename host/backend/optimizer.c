/* What all backends ask of cairn/optimizer.h: everything but the loops over the parameters. */
#include "cairn/optimizer.h"

#include "cairn/executor.h"

#include <math.h>
#include <string.h>

/* Adam's moments begin as zeros, and the fewer steps they have seen, the more they lack. */
static void correct_bias(const cairn_optimizer *optimizer, double t, cairn_update *now) {
    now->rate /= 1 - pow(optimizer->beta1, t);
    now->correction = sqrt(1 - pow(optimizer->beta2, t));
}

static bool has_no_momentum(const cairn_optimizer *optimizer) {
    return optimizer->momentum == 0;
}

#define OPTIMIZER(id, name, ...) [CAIRN_##id] = {__VA_ARGS__},
static const cairn_optimizer_rule rules[CAIRN_OPTIMIZERS] = {
#include "cairn/optimizers.def"
};
#undef OPTIMIZER

cairn_optimizer cairn_optimizer_defaults(void) {
    return (cairn_optimizer){.name = CAIRN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
}

cairn_optimizer cairn_optimizer_configure(const cairn_config *config) {
    return (cairn_optimizer){.name = config->optimizer.name,
                             .beta1 = config->optimizer.beta1,
                             .beta2 = config->optimizer.beta2,
                             .epsilon = config->optimizer.epsilon,
                             .momentum = config->optimizer.momentum,
                             .nesterov = config->optimizer.nesterov,
                             .clip_norm = config->train.clip_norm,
                             .average = config->ema.decay};
}

const cairn_optimizer_rule *cairn_optimizer_rule_of(cairn_optimizer_name name) {
    return &rules[name];
}

cairn_optimizer_name cairn_optimizer_for(const cairn_optimizer *optimizer,
                                         const cairn_parameter *parameter) {
    const cairn_optimizer_rule *rule = &rules[optimizer->name];
    return rule->takes && !rule->takes(parameter) ? rule->rest : optimizer->name;
}

bool cairn_optimizer_alike(const cairn_optimizer *optimizer, const cairn_parameter *a,
                           const cairn_parameter *b) {
    return cairn_optimizer_for(optimizer, a) == cairn_optimizer_for(optimizer, b) &&
           cairn_parameter_group_equal(&a->group, &b->group);
}

/* State ---------------------------------------------------------------------------------------- */

static const char *state_of(const cairn_optimizer *optimizer, cairn_optimizer_name name,
                            int state) {
    const cairn_optimizer_rule *rule = &rules[name];
    return rule->stateless && rule->stateless(optimizer) ? NULL : rule->state[state];
}

const char *cairn_optimizer_state(const cairn_optimizer *optimizer,
                                  const cairn_parameter *parameter, int state) {
    return state_of(optimizer, cairn_optimizer_for(optimizer, parameter), state);
}

bool cairn_optimizer_names(const char *tensor) {
    for (int name = 0; name < CAIRN_OPTIMIZERS; name++)
        for (int state = 0; state < CAIRN_STATES && rules[name].state[state]; state++) {
            size_t length = strlen(rules[name].state[state]);
            if (strncmp(tensor, rules[name].state[state], length) == 0 && tensor[length] == '.')
                return true;
        }
    return false;
}

bool cairn_optimizer_keeps(const cairn_optimizer *optimizer, cairn_tensor_kind kind) {
    const cairn_optimizer_rule *rule = &rules[optimizer->name];
    int state = (int)kind - CAIRN_STATE_0;
    switch (kind) {
    case CAIRN_STATE_0:
    case CAIRN_STATE_1:
        return state_of(optimizer, optimizer->name, state) ||
               (rule->takes && state_of(optimizer, rule->rest, state));
    case CAIRN_AVERAGE:
        return optimizer->average > 0;
    case CAIRN_PARAMETER:
    case CAIRN_GRADIENT:
        break;
    }
    return true;
}

/* A step --------------------------------------------------------------------------------------- */

cairn_update cairn_optimizer_at(const cairn_optimizer *optimizer, const cairn_parameter *parameter,
                                uint32_t step, double lr) {
    const cairn_optimizer_rule *rule = &rules[cairn_optimizer_for(optimizer, parameter)];
    const double decay = parameter->group.decay;
    cairn_update now = {.rate = lr,
                        .correction = 1,
                        .decay = rule->decoupled ? 0 : decay,
                        .shrink = rule->decoupled ? 1 - lr * decay : 1,
                        .take = step == 0 ? 1 : 1 - optimizer->average};
    if (rule->adjust)
        rule->adjust(optimizer, (double)step + 1, &now);
    return now;
}

double cairn_optimizer_clip(const cairn_optimizer *optimizer, double norm) {
    double factor = optimizer->clip_norm / (norm + 1e-6);
    return factor > 1 ? 1 : factor;
}
