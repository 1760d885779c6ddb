/* What all backends ask of cairn/optimizer.h: everything but the loops over the parameters. */
#include "cairn/optimizer.h"

#include "cairn/executor.h"

#include <math.h>

cairn_optimizer cairn_optimizer_defaults(void) {
    return (cairn_optimizer){.name = CAIRN_ADAM,
                             .beta1 = 0.9,
                             .beta2 = 0.999,
                             .epsilon = 1e-8,
                             .norm_bias_scale = 1,
                             .early_epochs = UINT32_MAX};
}

cairn_optimizer cairn_optimizer_configure(const cairn_config *config) {
    return (cairn_optimizer){.name = config->optimizer.name,
                             .beta1 = config->optimizer.beta1,
                             .beta2 = config->optimizer.beta2,
                             .epsilon = config->optimizer.epsilon,
                             .momentum = config->optimizer.momentum,
                             .nesterov = config->optimizer.nesterov,
                             .weight_decay = config->optimizer.weight_decay,
                             .decay_exclude = config->optimizer.decay_exclude,
                             .clip_norm = config->train.clip_norm,
                             .average = config->ema.decay,
                             .norm_bias_scale = config->optimizer.norm_bias_scale,
                             .early_epochs = (uint32_t)config->model.whiten_bias_epochs};
}

const char *cairn_optimizer_title(const cairn_optimizer *optimizer) {
    static const char *const titles[] = {"Adam", "AdamW", "SGD"};
    return titles[optimizer->name];
}

cairn_update cairn_optimizer_at(const cairn_optimizer *optimizer, uint32_t step, double lr) {
    double t = (double)step + 1;
    cairn_update now = {lr, 1, 1, step == 0 ? 1 : 1 - optimizer->average};
    if (optimizer->name != CAIRN_SGD) {
        now.rate = lr / (1 - pow(optimizer->beta1, t));
        now.correction = sqrt(1 - pow(optimizer->beta2, t));
    }
    if (optimizer->name == CAIRN_ADAMW)
        now.shrink = 1 - lr * optimizer->weight_decay;
    return now;
}

double cairn_optimizer_clip(const cairn_optimizer *optimizer, double norm) {
    double factor = optimizer->clip_norm / (norm + 1e-6);
    return factor > 1 ? 1 : factor;
}

cairn_treatment cairn_optimizer_treatment(const cairn_optimizer *optimizer,
                                          const cairn_parameter *parameter) {
    bool excluded = optimizer->decay_exclude == CAIRN_EXCLUDE_NORMS_AND_BIASES;
    cairn_treatment treatment = CAIRN_TRAINED;
    if (!parameter->trained)
        return CAIRN_FIXED;
    if (optimizer->weight_decay > 0 && !(excluded && parameter->rank <= 1))
        treatment |= CAIRN_DECAYED;
    if (parameter->shifts_norm && optimizer->norm_bias_scale != 1)
        treatment |= CAIRN_SCALED;
    return parameter->early ? treatment | CAIRN_EARLY : treatment;
}

bool cairn_optimizer_is_late(const cairn_optimizer *optimizer, uint32_t epoch) {
    return epoch >= optimizer->early_epochs;
}

bool cairn_treatment_moves(cairn_treatment treatment, bool late) {
    return treatment != CAIRN_FIXED && !(late && treatment & CAIRN_EARLY);
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
