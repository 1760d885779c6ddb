/* The table of models by name. */
#include "cairn/model.h"

#include <string.h>

static cairn_status simple_cnn(cairn_net **net, const cairn_config *config, cairn_shape input,
                               int classes) {
    cairn_simple_cnn options = {.widths = {32, 64, 128},
                                .blocks = 3,
                                .hidden = 256,
                                .dropout = (float)config->model.dropout};
    return cairn_simple_cnn_build(net, &options, input, classes);
}

static const struct {
    const char *name;
    cairn_status (*build)(cairn_net **, const cairn_config *, cairn_shape, int);
} models[] = {
    {"simple_cnn", simple_cnn},
};

cairn_status cairn_model_build(cairn_net **net, const cairn_config *config, cairn_shape input,
                               int classes) {
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (strcmp(config->model.name, models[i].name) == 0)
            return models[i].build(net, config, input, classes);
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "model.name: there is no model '%s'; there is simple_cnn",
                           config->model.name);
}
