/* Residual networks for small images (He et al., "Deep residual learning", CVPR 2016): a block's
 * output is relu(f(x) + shortcut(x)), f two normalised convolutions. resnet20 and resnet56
 * are their section 4.2's but for the shortcuts, 1x1 projections where theirs pad with zeros;
 * resnet18 is table 1's with a first convolution fit for 32x32 pixels. */
#include "layers.h"

#include "cairn/model.h"

#include <stdio.h>

static cairn_status conv_norm(cairn_net *net, const char *conv, const char *norm, int width,
                              int kernel, int stride) {
    cairn_status status = add_conv(net, conv, width, kernel, stride);
    return status ? status : cairn_net_batchnorm(net, norm);
}

/* The block of that prefix: both branches, their sum, ReLU. */
static cairn_status block(cairn_net *net, const char *prefix, int width, int stride) {
    int shortcut = cairn_net_last(net);
    bool projects = stride != 1 || net->op[shortcut].out.c != width;
    cairn_status status = conv_norm(net, label_of(prefix, "conv1").text,
                                    label_of(prefix, "bn1").text, width, 3, stride);
    if (!status)
        status = cairn_net_relu(net, label_of(prefix, "relu1").text);
    if (!status)
        status = conv_norm(net, label_of(prefix, "conv2").text, label_of(prefix, "bn2").text, width,
                           3, 1);
    if (!status && projects) {
        int branch = cairn_net_last(net);
        cairn_net_branch(net, shortcut);
        status = conv_norm(net, label_of(prefix, "downsample.0").text,
                           label_of(prefix, "downsample.1").text, width, 1, stride);
        shortcut = branch;
    }
    if (!status)
        status = cairn_net_add(net, label_of(prefix, "add").text, shortcut);
    return status ? status : cairn_net_relu(net, label_of(prefix, "relu2").text);
}

static cairn_status build(cairn_net *net, const cairn_resnet *options, int classes) {
    cairn_status status = conv_norm(net, "conv1", "bn1", options->widths[0], 3, 1);
    if (!status)
        status = cairn_net_relu(net, "relu");
    for (int stage = 0; stage < options->stages; stage++)
        for (int i = 0; i < options->blocks[stage] && !status; i++) {
            char prefix[24];
            snprintf(prefix, sizeof prefix, "layer%d.%d", stage + 1, i);
            status = block(net, prefix, options->widths[stage], stage > 0 && i == 0 ? 2 : 1);
        }
    return status ? status : add_head(net, classes);
}

cairn_status cairn_resnet_build(cairn_net **net, const cairn_resnet *options, cairn_shape input,
                                int classes) {
    cairn_net *made = NULL;
    cairn_status status = cairn_net_create(&made, input);
    if (!status)
        status = build(made, options, classes);
    return hand_over(net, made, status);
}

cairn_status cairn_build_resnet20(cairn_net **net, const cairn_config *config, cairn_shape input,
                                  int classes) {
    (void)config;
    const cairn_resnet options = {{16, 32, 64}, {3, 3, 3}, 3};
    return cairn_resnet_build(net, &options, input, classes);
}

cairn_status cairn_build_resnet56(cairn_net **net, const cairn_config *config, cairn_shape input,
                                  int classes) {
    (void)config;
    const cairn_resnet options = {{16, 32, 64}, {9, 9, 9}, 3};
    return cairn_resnet_build(net, &options, input, classes);
}

cairn_status cairn_build_resnet18(cairn_net **net, const cairn_config *config, cairn_shape input,
                                  int classes) {
    (void)config;
    const cairn_resnet options = {{64, 128, 256, 512}, {2, 2, 2, 2}, 4};
    return cairn_resnet_build(net, &options, input, classes);
}
