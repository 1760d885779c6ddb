/* The layers that several models are built of, and how a builder ends. */
#include "layers.h"

#include "cairn/model.h"

#include <stdio.h>
#include <stdlib.h>

int read_widths(const cairn_config *config, int *widths) {
    const char *text = cairn_config_widths(config);
    int count = 0;
    char *end = NULL;
    for (long width; count < CAIRN_WIDTHS_MAX && (width = strtol(text, &end, 10)) > 0; text = end)
        widths[count++] = (int)width;
    return count;
}

label label_of(const char *prefix, const char *part) {
    label made;
    snprintf(made.text, sizeof made.text, "%s.%s", prefix, part);
    return made;
}

cairn_status add_conv(cairn_net *net, const char *name, int width, int kernel, int stride) {
    cairn_status status = cairn_net_conv2d_unbiased(net, name, width, kernel, stride, kernel / 2);
    if (!status)
        cairn_net_kaiming(net);
    return status;
}

cairn_status add_head(cairn_net *net, int classes) {
    cairn_shape shape = net->op[cairn_net_last(net)].out;
    if (shape.h != shape.w)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "this model takes square images; here %dx%d would be left of one",
                               shape.h, shape.w);
    cairn_status status = cairn_net_avgpool(net, "avgpool", shape.h, 1);
    if (!status)
        status = cairn_net_flatten(net, "flatten");
    return status ? status : cairn_net_linear(net, "fc", classes);
}

cairn_status hand_over(cairn_net **net, cairn_net *made, cairn_status status) {
    if (status)
        cairn_net_destroy(made);
    else
        *net = made;
    return status;
}
