/* Parameter groups: what a net's parameters have in common for the optimiser. */
#include "cairn/model.h"

cairn_parameter_group cairn_parameter_group_default(void) {
    return (cairn_parameter_group){.lr_scale = 1, .trained_until_epoch = UINT32_MAX};
}

bool cairn_parameter_group_equal(const cairn_parameter_group *a, const cairn_parameter_group *b) {
    return a->lr_scale == b->lr_scale && a->decay == b->decay && a->frozen == b->frozen &&
           a->trained_until_epoch == b->trained_until_epoch;
}

bool cairn_parameter_group_trains(const cairn_parameter_group *group, uint32_t epoch) {
    return !group->frozen && epoch < group->trained_until_epoch;
}

uint32_t cairn_net_phase(const cairn_net *net, uint32_t epoch) {
    uint32_t first = 0;
    for (int k = 0; k < net->parameter_count; k++) {
        const cairn_parameter_group *group = &net->parameter[k].group;
        if (!group->frozen && group->trained_until_epoch <= epoch &&
            group->trained_until_epoch > first)
            first = group->trained_until_epoch;
    }
    return first;
}

void cairn_net_configure_groups(cairn_net *net, const cairn_config *config) {
    const bool matrices = config->optimizer.decay_exclude == CAIRN_EXCLUDE_NORMS_AND_BIASES;
    for (int k = 0; k < net->parameter_count; k++) {
        cairn_parameter *parameter = &net->parameter[k];
        const bool decays = !parameter->group.frozen && (parameter->rank > 1 || !matrices);
        parameter->group.decay = decays ? config->optimizer.weight_decay : 0;
    }
    for (int i = 0; i < net->op_count; i++)
        if (net->op[i].kind == CAIRN_OP_BATCHNORM)
            net->parameter[net->op[i].bias].group.lr_scale = config->optimizer.norm_bias_scale;
}
