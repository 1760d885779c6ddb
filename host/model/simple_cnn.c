/* SimpleCNN: blocks of convolution, ReLU and pooling, then two linear layers. The names are the
 * indices that PyTorch's nn.Sequential gives the same modules. */
#include "layers.h"

#include "cairn/model.h"

#include <stdio.h>

cairn_status cairn_simple_cnn_build(cairn_net **net, const cairn_simple_cnn *options,
                                    cairn_shape input, int classes) {
    char name[32];
    int index = 0;
    cairn_net *made = NULL;
    cairn_status status = cairn_net_create(&made, input);
    int depth = options->depth ? options->depth : 1;
    for (int block = 0; block < options->blocks && !status; block++) {
        for (int i = 0; i < depth && !status; i++) {
            snprintf(name, sizeof name, "features.%d", index++);
            status = cairn_net_conv2d(made, name, options->widths[block], 3, 1, 1);
            snprintf(name, sizeof name, "features.%d", index++);
            if (!status)
                status = cairn_net_relu(made, name);
        }
        snprintf(name, sizeof name, "features.%d", index++);
        if (!status)
            status = cairn_net_maxpool(made, name, 2, 2);
    }
    if (!status)
        status = cairn_net_flatten(made, "classifier.0");
    if (!status)
        status = cairn_net_linear(made, "classifier.1", options->hidden);
    if (!status)
        status = cairn_net_relu(made, "classifier.2");
    if (!status)
        status = cairn_net_dropout(made, "classifier.3", options->dropout);
    if (!status)
        status = cairn_net_linear(made, "classifier.4", classes);
    return hand_over(net, made, status);
}

cairn_status cairn_build_simple_cnn(cairn_net **net, const cairn_config *config, cairn_shape input,
                                    int classes) {
    cairn_simple_cnn options = {.hidden = (int)config->model.hidden,
                                .dropout = (float)config->model.dropout,
                                .depth = (int)config->model.depth};
    options.blocks = read_widths(config, options.widths);
    return cairn_simple_cnn_build(net, &options, input, classes);
}
