/* A network made to be trained fast (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
 * arXiv:2404.00498, 2024). Its normalisations have a fixed scale and move their running statistics
 * by 0.4 a step; their epsilon is PyTorch's, since under the paper's 1e-12 a channel that is the
 * same everywhere would magnify its rounding a million times. */
#include "layers.h"

#include "cairn/model.h"

#include <stdio.h>

enum { PATCH = 2, POOL = 2, LAST_POOL = 3 };

/* A parameter of the last op; ordinals are its fields. */
static cairn_parameter *parameter_of(cairn_net *net, int ordinal) {
    return &net->parameter[ordinal];
}

static cairn_op *last_op(cairn_net *net) {
    return &net->op[cairn_net_last(net)];
}

/* Each principal direction of the patches, and its negative. */
static cairn_status whiten(cairn_net *net, const cairn_speed_cnn *options) {
    const int outputs = 2 * net->input.c * PATCH * PATCH;
    cairn_status status = cairn_net_conv2d(net, "whiten", outputs, PATCH, 1, 0);
    if (status)
        return status;
    cairn_parameter *weight = parameter_of(net, last_op(net)->weight);
    weight->initial = CAIRN_INITIAL_WHITENING;
    weight->group.frozen = true;
    parameter_of(net, last_op(net)->bias)->group.trained_until_epoch = options->whiten_bias_epochs;
    return cairn_net_gelu(net, "whiten_gelu");
}

static cairn_status conv(cairn_net *net, const char *name, int width) {
    cairn_status status = cairn_net_conv2d_unbiased(net, name, width, 3, 1, 1);
    if (!status)
        cairn_net_identity(net);
    return status;
}

static cairn_status norm_gelu(cairn_net *net, const char *norm, const char *gelu) {
    cairn_status status = cairn_net_batchnorm(net, norm);
    if (status)
        return status;
    last_op(net)->momentum = 0.4f;
    parameter_of(net, last_op(net)->weight)->group.frozen = true;
    return cairn_net_gelu(net, gelu);
}

static cairn_status group(cairn_net *net, const char *prefix, int width) {
    cairn_status status = conv(net, label_of(prefix, "conv1").text, width);
    if (!status)
        status = cairn_net_maxpool(net, label_of(prefix, "pool").text, POOL, POOL);
    if (!status)
        status = norm_gelu(net, label_of(prefix, "norm1").text, label_of(prefix, "gelu1").text);
    if (!status)
        status = conv(net, label_of(prefix, "conv2").text, width);
    return status ? status
                  : norm_gelu(net, label_of(prefix, "norm2").text, label_of(prefix, "gelu2").text);
}

static cairn_status build(cairn_net *net, const cairn_speed_cnn *options, int classes) {
    cairn_status status = whiten(net, options);
    for (int i = 0; i < options->groups && !status; i++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "group%d", i + 1);
        status = group(net, prefix, options->widths[i]);
    }
    if (!status)
        status = cairn_net_maxpool(net, "pool", LAST_POOL, LAST_POOL);
    if (!status)
        status = cairn_net_flatten(net, "flatten");
    if (!status)
        status = cairn_net_linear_unbiased(net, "fc", classes);
    if (!status)
        cairn_net_scale(net, 1.0f / 9);
    return status;
}

cairn_status cairn_speed_cnn_build(cairn_net **net, const cairn_speed_cnn *options,
                                   cairn_shape input, int classes) {
    cairn_net *made = NULL;
    const int least = (LAST_POOL << options->groups) + PATCH - 1;
    if (input.h < least || input.w < least)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "model.name: speed_cnn with %d groups takes images of at least "
                               "%dx%d pixels, not %dx%d; fewer model.widths make fewer groups",
                               options->groups, least, least, input.h, input.w);
    cairn_status status = cairn_net_create(&made, input);
    if (!status)
        status = build(made, options, classes);
    return hand_over(net, made, status);
}

cairn_status cairn_build_speed_cnn(cairn_net **net, const cairn_config *config, cairn_shape input,
                                   int classes) {
    cairn_speed_cnn options = {.whiten_bias_epochs = (uint32_t)config->model.whiten_bias_epochs};
    options.groups = read_widths(config, options.widths);
    return cairn_speed_cnn_build(net, &options, input, classes);
}
