/* Models by name: the lines of cairn/models.def with their builders. */
#include "cairn/model.h"

#include "layers.h"

#include <string.h>

#define MODEL(name, builder, widths, help) {name, builder},
static const struct {
    const char *name;
    cairn_model_builder *build;
} models[] = {
#include "cairn/models.def"
};
#undef MODEL

cairn_status cairn_model_build(cairn_net **net, const cairn_config *config, cairn_shape input,
                               int classes) {
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (strcmp(config->model.name, models[i].name) == 0) {
            cairn_status status = models[i].build(net, config, input, classes);
            if (!status)
                cairn_net_configure_groups(*net, config);
            return status;
        }
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "model.name: there is no model '%s'; `cairn model` lists them",
                           config->model.name);
}
