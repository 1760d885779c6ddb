/* The models as the configuration knows them: names to choose from, and what model.widths stands
 * for at its default. */
#include "keys.h"

#include <string.h>

#define MODEL(name, builder, widths, help) {name, widths, help},
static const cairn_model_line lines[] = {
#include "cairn/models.def"
};
#undef MODEL

#define MODEL(name, builder, widths, help) {0, name},
const cairn_choice cairn_model_choices[] = {
#include "cairn/models.def"
    {0, NULL},
};
#undef MODEL

const cairn_model_line *cairn_model_lines(size_t *count) {
    *count = sizeof lines / sizeof lines[0];
    return lines;
}

const cairn_model_line *cairn_model_find(const char *name) {
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (strcmp(lines[i].name, name) == 0)
            return &lines[i];
    return NULL;
}

static const char *own_widths(const cairn_config *config) {
    const cairn_model_line *model = cairn_model_find(config->model.name);
    return model ? model->widths : "";
}

const char *cairn_config_widths(const cairn_config *config) {
    bool own = strcmp(config->model.widths, CAIRN_WIDTHS_DEFAULT) == 0;
    return own ? own_widths(config) : config->model.widths;
}

void cairn_widths_settle(cairn_config *config, const char *former) {
    char *widths = config->model.widths;
    if (strcmp(widths, former ? former : own_widths(config)) != 0)
        return;
    memset(widths, 0, sizeof config->model.widths);
    strcpy(widths, CAIRN_WIDTHS_DEFAULT);
}
