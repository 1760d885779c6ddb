/* What all backends ask of cairn/optimizer.h: everything but the loops over the parameters. */
#include "cairn/optimizer.h"

#include "cairn/executor.h"

#include <math.h>

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

const char *cairn_optimizer_title(const cairn_optimizer *optimizer) {
    static const char *const titles[] = {"Adam", "AdamW", "SGD"};
    return titles[optimizer->name];
}

cairn_update cairn_optimizer_at(const cairn_optimizer *optimizer,
                                const cairn_parameter_group *group, uint32_t step, double lr) {
    bool decoupled = optimizer->name == CAIRN_ADAMW;
    double t = (double)step + 1;
    cairn_update now = {.rate = lr,
                        .correction = 1,
                        .decay = decoupled ? 0 : group->decay,
                        .shrink = decoupled ? 1 - lr * group->decay : 1,
                        .take = step == 0 ? 1 : 1 - optimizer->average};
    if (optimizer->name != CAIRN_SGD) {
        now.rate = lr / (1 - pow(optimizer->beta1, t));
        now.correction = sqrt(1 - pow(optimizer->beta2, t));
    }
    return now;
}

double cairn_optimizer_clip(const cairn_optimizer *optimizer, double norm) {
    double factor = optimizer->clip_norm / (norm + 1e-6);
    return factor > 1 ? 1 : factor;
}

bool cairn_optimizer_keeps(const cairn_optimizer *optimizer, cairn_tensor_kind kind) {
    bool sgd = optimizer->name == CAIRN_SGD;
    switch (kind) {
    case CAIRN_FIRST_MOMENT:
        return !sgd || optimizer->momentum > 0;
    case CAIRN_SECOND_MOMENT:
        return !sgd;
    case CAIRN_AVERAGE:
        return optimizer->average > 0;
    case CAIRN_PARAMETER:
    case CAIRN_GRADIENT:
        break;
    }
    return true;
}
