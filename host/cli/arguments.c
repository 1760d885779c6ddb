/* Command-line arguments, by getopt_long: the options shared by the commands, and each one's own.
 */
#include "cli.h"

#include "cairn/file.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_MAX = 16, PARAMS = 256, DEVICE, OWN };

static cairn_status take_common(cairn_common_arguments *common, int code, const char *value) {
    assert(common);
    if (code == PARAMS)
        common->params = value;
    else if (code == DEVICE)
        common->device = value;
    else if (common->override_count == CAIRN_OVERRIDES_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT, "too many -S: at most %d are possible",
                               CAIRN_OVERRIDES_MAX);
    else
        common->overrides[common->override_count++] = value;
    return CAIRN_OK;
}

cairn_status cairn_arguments_parse(int argc, char **argv, const cairn_option *options,
                                   size_t option_count, cairn_common_arguments *common,
                                   const char **positionals, size_t *positional_count) {
    struct option table[OWN_MAX + 4] = {{0}};
    size_t rows = 0;
    for (size_t i = 0; i < option_count && i < OWN_MAX; i++)
        table[rows++] =
            (struct option){options[i].name, options[i].value ? required_argument : no_argument,
                            NULL, OWN + (int)i};
    if (common) {
        *common = (cairn_common_arguments){0};
        table[rows++] = (struct option){"params", required_argument, NULL, PARAMS};
        table[rows++] = (struct option){"device", required_argument, NULL, DEVICE};
        table[rows++] = (struct option){"set", required_argument, NULL, 'S'};
    }
    *positional_count = 0;
    opterr = 0;
    optind = 0; /* GNU: forget an earlier scan */
    for (int code; (code = getopt_long(argc, argv, common ? "-:S:" : "-:", table, NULL)) != -1;) {
        cairn_status status = CAIRN_OK;
        if (code == 1)
            positionals[(*positional_count)++] = optarg;
        else if (code == ':')
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "a value is missing after '%s'; see `cairn %s --help`",
                                   argv[optind - 1], argv[0]);
        else if (code == '?')
            return cairn_option_refuse(argv[0], argv[optind - 1], argv[optind], common);
        else if (code < OWN)
            status = take_common(common, code, optarg);
        else if (options[code - OWN].flag)
            *options[code - OWN].flag = true;
        else
            *options[code - OWN].value = optarg;
        if (!status && code == 'S')
            status = cairn_override_check_split(optarg, argv + optind);
        if (status)
            return status;
    }
    while (optind < argc)
        positionals[(*positional_count)++] = argv[optind++];
    return CAIRN_OK;
}

cairn_status cairn_common_config(cairn_config *config, const cairn_common_arguments *arguments) {
    const char *overrides[CAIRN_OVERRIDES_MAX + 1];
    char device[CAIRN_TEXT_MAX];
    size_t count = arguments->override_count;
    memcpy(overrides, arguments->overrides, count * sizeof overrides[0]);
    if (arguments->device) {
        snprintf(device, sizeof device, "device=%s", arguments->device);
        overrides[count++] = device;
    }
    return cairn_config_read(config, arguments->params ? arguments->params : "params.yaml",
                             overrides, count);
}

cairn_status cairn_params_positional(cairn_common_arguments *arguments,
                                     const char *const *positionals, size_t count) {
    if (count > 1)
        return cairn_error_set(CAIRN_BAD_INPUT, "unexpected '%s': one params.yaml is enough",
                               positionals[1]);
    if (count == 1)
        arguments->params = positionals[0];
    return CAIRN_OK;
}

cairn_status cairn_run_params(cairn_common_arguments *arguments, const char *run_dir, char *path,
                              size_t size) {
    if (!run_dir || arguments->params)
        return CAIRN_OK;
    arguments->params = path;
    return cairn_path_format(path, size, "%s/params.yaml", run_dir);
}

cairn_status cairn_model_path(char *path, size_t size, const cairn_config *config,
                              const char *model, const char *run_dir) {
    if (model && run_dir)
        return cairn_error_set(CAIRN_BAD_INPUT, "give --model or --run-dir, not both");
    if (model)
        return cairn_path_format(path, size, "%s", model);
    if (run_dir)
        return cairn_path_format(path, size, "%s/model.safetensors", run_dir);
    return cairn_path_format(path, size, "%s/%s/model.safetensors", config->run.out_dir,
                             config->run.name);
}

cairn_status cairn_argument_integer(const char *option, const char *text, long low, long high,
                                    long *value) {
    char *end = NULL;
    errno = 0;
    *value = strtol(text, &end, 10);
    if (errno || end == text || *end || *value < low || *value > high)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: '%s' is not a whole number from %ld to %ld",
                               option, text, low, high);
    return CAIRN_OK;
}
