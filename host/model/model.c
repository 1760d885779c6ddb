/* The table of models by name. */
#include "cairn/model.h"

#include <stdlib.h>
#include <string.h>

/* "32 64 128", as the schema lets it pass. */
static int read_widths(const char *text, int widths[CAIRN_WIDTHS_MAX]) {
    int count = 0;
    char *end = NULL;
    for (long width; count < CAIRN_WIDTHS_MAX && (width = strtol(text, &end, 10)) > 0; text = end)
        widths[count++] = (int)width;
    return count;
}

static cairn_status simple_cnn(cairn_net **net, const cairn_config *config, cairn_shape input,
                               int classes) {
    cairn_simple_cnn options = {.hidden = (int)config->model.hidden,
                                .dropout = (float)config->model.dropout,
                                .depth = (int)config->model.depth};
    options.blocks = read_widths(config->model.widths, options.widths);
    return cairn_simple_cnn_build(net, &options, input, classes);
}

static cairn_status resnet20(cairn_net **net, const cairn_config *config, cairn_shape input,
                             int classes) {
    (void)config;
    const cairn_resnet options = {{16, 32, 64}, {3, 3, 3}, 3};
    return cairn_resnet_build(net, &options, input, classes);
}

static cairn_status resnet18(cairn_net **net, const cairn_config *config, cairn_shape input,
                             int classes) {
    (void)config;
    const cairn_resnet options = {{64, 128, 256, 512}, {2, 2, 2, 2}, 4};
    return cairn_resnet_build(net, &options, input, classes);
}

static cairn_status wideresnet_16_4(cairn_net **net, const cairn_config *config, cairn_shape input,
                                    int classes) {
    (void)config;
    return cairn_wideresnet_build(net, 2, 4, input, classes);
}

static cairn_status speed_cnn(cairn_net **net, const cairn_config *config, cairn_shape input,
                              int classes) {
    cairn_speed_cnn options = {{64, 256, 256}, 3};
    if (strcmp(config->model.widths, "32 64 128") != 0) /* the key's default is simple_cnn's */
        options.groups = read_widths(config->model.widths, options.widths);
    return cairn_speed_cnn_build(net, &options, input, classes);
}

typedef cairn_status builder(cairn_net **, const cairn_config *, cairn_shape, int);

enum { MODELS = 5 };
static const char *const names[MODELS + 1] = {"simple_cnn", "resnet20", "resnet18",
                                              "wideresnet-16-4", "speed_cnn"};
static builder *const builders[MODELS] = {simple_cnn, resnet20, resnet18, wideresnet_16_4,
                                          speed_cnn};

const char *const *cairn_model_names(void) {
    return names;
}

cairn_status cairn_model_build(cairn_net **net, const cairn_config *config, cairn_shape input,
                               int classes) {
    for (int i = 0; i < MODELS; i++)
        if (strcmp(config->model.name, names[i]) == 0)
            return builders[i](net, config, input, classes);
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "model.name: there is no model '%s'; `cairn model` lists them",
                           config->model.name);
}
