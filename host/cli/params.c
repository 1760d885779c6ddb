/* `cairn params`: what can be configured, and what a configuration resolves to. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* For scripts: the key, then its choices. */
static void print_choices(void) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    for (size_t i = 0; i < count; i++) {
        fputs(keys[i].name, stdout);
        for (const cairn_choice *choice = keys[i].choices; choice && choice->text; choice++)
            printf(" %s", choice->text);
        if (keys[i].type == CAIRN_KEY_BOOLEAN)
            fputs(" true false", stdout);
        putchar('\n');
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
    bool print = false, markdown = false, plot = false, choices = false;
    const cairn_option options[] = {{"print", &print, NULL},
                                    {"markdown", &markdown, NULL},
                                    {"choices", &choices, NULL},
                                    {"plot-lr", &plot, NULL}};
    cairn_common_arguments common;
    const char *files[argc];
    size_t file_count;
    cairn_status status =
        cairn_arguments_parse(argc, argv, options, 4, &common, files, &file_count);
    if (status)
        return status;
    if (!print && !plot && (file_count || common.override_count || common.device))
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "params: a file, -S and --device go with --print or --plot-lr; "
                               "see `cairn params --help`");
    if (file_count > 1 || print + markdown + choices + plot > 1)
        return cairn_error_set(CAIRN_BAD_INPUT, "params: %s; see `cairn params --help`",
                               file_count > 1
                                   ? "more than one file"
                                   : "--print, --plot-lr, --markdown and --choices exclude each "
                                     "other");
    if (file_count)
        common.params = files[0];
    if (print)
        return print_resolved(&common);
    if (plot)
        return plot_rates(&common);
    if (markdown)
        print_markdown();
    else if (choices)
        print_choices();
    else
        print_table();
    return CAIRN_OK;
}

const cairn_command cairn_command_params = {
    "params", "list the keys of the configuration, or print a resolved one",
    "usage: cairn params [--markdown | --choices]\n"
    "       cairn params --print|--plot-lr [FILE] [-S key=value]... [--device D]\n"
    "\n"
    "Lists every key of params.yaml: its default, the values that it takes and what it means.\n"
    "\n"
    "  --markdown      print the list as a Markdown table\n"
    "  --choices       print the keys for scripts: a line for each, the key and then the values\n"
    "                  that it chooses from, where these are a closed list\n"
    "  --print         print the configuration that FILE (params.yaml) resolves to, as YAML, with\n"
    "                  every default and override\n"
    "  --plot-lr       draw the learning rate over the run\n" CAIRN_HELP_COMMON "\n"
    "  cairn params --print -S optimizer.name=sgd\n",
    run};
