/* What a sample's loss is taken against, for the backends that compute it on the host. */
#ifndef CAIRN_BACKEND_TARGET_H
#define CAIRN_BACKEND_TARGET_H

#include "cairn/augment.h"

#include <stddef.h>

/* `share` of the label, the rest of the other one. */
typedef struct {
    uint8_t label, other;
    float share;
} loss_target;

static inline loss_target target_of(const cairn_transform *transform, const uint8_t *labels,
                                    size_t index) {
    float share = (float)transform->weight / (float)CAIRN_ONE;
    return (loss_target){labels[index], labels[transform->partner], share};
}

/* The label that a right guess names: the one with the larger share. */
static inline int target_label(const loss_target *target) {
    return target->share >= 0.5f ? target->label : target->other;
}

/* The wanted probability of class c, as PyTorch's label smoothing has it; 0 or 1 exactly where
 * nothing is mixed or smoothed. */
static inline double target_probability(const loss_target *target, double smoothing, int classes,
                                        int c) {
    double share = (double)target->share;
    double mixed = (c == target->label ? share : 0) + (c == target->other ? 1 - share : 0);
    return (1 - smoothing) * mixed + smoothing / classes;
}

#endif
