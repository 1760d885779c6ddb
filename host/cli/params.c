/* `cairn params`: what can be configured, and what a configuration resolves to. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

static void print_table(void) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    printf("%-25s %-11s %s\n", "KEY", "DEFAULT", "TAKES, AND WHAT IT IS");
    for (size_t i = 0; i < count; i++) {
        char takes[256];
        printf("%-25s %-11s %s\n%37s %s\n", keys[i].name,
               keys[i].fallback ? keys[i].fallback : "(required)",
               cairn_config_expected(&keys[i], takes, sizeof takes), "", keys[i].help);
    }
}

static void print_markdown(void) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    puts("| key | default | takes | meaning |\n| --- | --- | --- | --- |");
    for (size_t i = 0; i < count; i++) {
        char takes[256];
        const char *tick = keys[i].fallback ? "`" : "";
        printf("| `%s` | %s%s%s | %s | %s |\n", keys[i].name, tick,
               keys[i].fallback ? keys[i].fallback : "required", tick,
               cairn_config_expected(&keys[i], takes, sizeof takes), keys[i].help);
    }
}

static cairn_status print_resolved(const cairn_common_arguments *common) {
    cairn_config config;
    char *text;
    cairn_status status = cairn_common_config(&config, common);
    if (!status)
        status = cairn_config_format(&config, &text);
    if (status)
        return status;
    fputs(text, stdout);
    free(text);
    return CAIRN_OK;
}

static cairn_status plot_rates(const cairn_common_arguments *common) {
    cairn_config config;
    cairn_status status = cairn_common_config(&config, common);
    return status ? status : cairn_plot_rates(&config);
}

static cairn_status run(int argc, char **argv) {
    bool print = false, markdown = false, plot = false;
    const cairn_option options[] = {
        {"print", &print, NULL}, {"markdown", &markdown, NULL}, {"plot-lr", &plot, NULL}};
    cairn_common_arguments common;
    const char *files[argc];
    size_t file_count;
    cairn_status status =
        cairn_arguments_parse(argc, argv, options, 3, &common, files, &file_count);
    if (status)
        return status;
    if (!print && !plot && (file_count || common.override_count || common.device))
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "params: a file, -S and --device go with --print or --plot-lr; "
                               "see `cairn params --help`");
    if (file_count > 1 || print + markdown + plot > 1)
        return cairn_error_set(CAIRN_BAD_INPUT, "params: %s; see `cairn params --help`",
                               file_count > 1
                                   ? "more than one file"
                                   : "--print, --plot-lr and --markdown exclude each other");
    if (file_count)
        common.params = files[0];
    if (print)
        return print_resolved(&common);
    if (plot)
        return plot_rates(&common);
    if (markdown)
        print_markdown();
    else
        print_table();
    return CAIRN_OK;
}

const cairn_command cairn_command_params = {
    "params", "list every key of the configuration, or print a resolved one",
    "usage: cairn params [--markdown]\n"
    "       cairn params --print|--plot-lr [FILE] [-S key=value]... [--device D]\n\n"
    "Lists every key of params.yaml: its default, the values it takes and what it is.\n"
    "  --markdown      the list as a Markdown table\n"
    "  --print [FILE]  instead, the configuration that FILE (params.yaml) resolves to, as YAML,\n"
    "                  every default and override included\n"
    "  --plot-lr [FILE]  instead, a picture of the learning rate over the run\n"
    "  -S key=value    set a key over the file's value; the last one wins\n"
    "  --device D      the same as -S device=D\n",
    run};
