/* Wide residual networks (Zagoruyko and Komodakis, BMVC 2016), without dropout: a block is
 * shortcut(x) + conv(relu(norm(conv(relu(norm(x)))))). Where its shape changes, the shortcut is a
 * 1x1 convolution of relu(norm(x)), else x itself. */
#include "layers.h"

#include "cairn/model.h"

#include <stdio.h>

static cairn_status norm_relu(cairn_net *net, const char *norm, const char *relu) {
    cairn_status status = cairn_net_batchnorm(net, norm);
    return status ? status : cairn_net_relu(net, relu);
}

static cairn_status block(cairn_net *net, const char *prefix, int width, int stride) {
    int shortcut = cairn_net_last(net);
    bool projects = stride != 1 || net->op[shortcut].out.c != width;
    cairn_status status =
        norm_relu(net, label_of(prefix, "bn1").text, label_of(prefix, "relu1").text);
    int activated = cairn_net_last(net);
    if (!status)
        status = add_conv(net, label_of(prefix, "conv1").text, width, 3, stride);
    if (!status)
        status = norm_relu(net, label_of(prefix, "bn2").text, label_of(prefix, "relu2").text);
    if (!status)
        status = add_conv(net, label_of(prefix, "conv2").text, width, 3, 1);
    if (!status && projects) {
        int branch = cairn_net_last(net);
        cairn_net_branch(net, activated);
        status = add_conv(net, label_of(prefix, "convShortcut").text, width, 1, stride);
        shortcut = branch;
    }
    return status ? status : cairn_net_add(net, label_of(prefix, "add").text, shortcut);
}

static cairn_status build(cairn_net *net, int blocks, int widen, int classes) {
    cairn_status status = add_conv(net, "conv1", 16, 3, 1);
    for (int group = 0; group < 3; group++)
        for (int i = 0; i < blocks && !status; i++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "block%d.layer.%d", group + 1, i);
            status = block(net, prefix, (16 << group) * widen, group > 0 && i == 0 ? 2 : 1);
        }
    if (!status)
        status = norm_relu(net, "bn1", "relu");
    return status ? status : add_head(net, classes);
}

cairn_status cairn_wideresnet_build(cairn_net **net, int blocks, int widen, cairn_shape input,
                                    int classes) {
    cairn_net *made = NULL;
    cairn_status status = cairn_net_create(&made, input);
    if (!status)
        status = build(made, blocks, widen, classes);
    return hand_over(net, made, status);
}

cairn_status cairn_build_wideresnet_16_4(cairn_net **net, const cairn_config *config,
                                         cairn_shape input, int classes) {
    (void)config;
    return cairn_wideresnet_build(net, 2, 4, input, classes);
}
