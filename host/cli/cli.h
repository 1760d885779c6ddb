/* The commands. Each is one file, host/cli/<command>.c, with one entry here and one row in main.c's
 * table. A command gets the arguments after its own name (argv[0] is the command's name). */
#ifndef CAIRN_CLI_H
#define CAIRN_CLI_H

#include "cairn/config.h"
#include "cairn/dataset.h"
#include "cairn/status.h"

#include <stdbool.h>
#include <stddef.h>

/* The manual page and the shells' completions are made from the help texts
 * (scripts/make-manual.sh). So each has this form: the usage, whose lines go up to the first blank
 * one; paragraphs; every option as "  --name VALUE  what it does", where VALUE may be a list of
 * choices ("a|b"), with what it does from column 18 on, or on the next line; examples as "  cairn
 * ...". */
typedef struct {
    const char *name;
    const char *summary; /* one line for `cairn help` */
    const char *help;    /* the whole text of `cairn NAME --help` */
    cairn_status (*run)(int argc, char **argv);
} cairn_command;

extern const cairn_command cairn_command_train, cairn_command_eval, cairn_command_predict,
    cairn_command_export, cairn_command_gradcheck, cairn_command_bench, cairn_command_data,
    cairn_command_params, cairn_command_info, cairn_command_model;

/* One option of a command: `--name` sets *flag, or `--name VALUE` sets *value; the other is NULL.
 */
typedef struct {
    const char *name;
    bool *flag;
    const char **value;
} cairn_option;

enum { CAIRN_OVERRIDES_MAX = 64 };

/* What most commands share: [--params FILE] [-S key=value]... [--device D]. */
#define CAIRN_HELP_COMMON                                                                          \
    "  --params FILE   the configuration (default params.yaml)\n"                                  \
    "  -S key=value    override one key; `cairn params` lists them\n"                              \
    "  --device D      auto, cpu, reference, cuda or cuda:N; the same as -S device=D\n"
typedef struct {
    const char *params; /* NULL: "params.yaml" */
    const char *overrides[CAIRN_OVERRIDES_MAX];
    size_t override_count;
    const char *device; /* NULL: as configured */
} cairn_common_arguments;

/* Reads options and positional arguments (in any order; after `--` all are positional). `common`
 * may be NULL for a command without the shared options. `positionals` has room for argc pointers.
 * CAIRN_BAD_INPUT names the argument and the command's help. */
cairn_status cairn_arguments_parse(int argc, char **argv, const cairn_option *options,
                                   size_t option_count, cairn_common_arguments *common,
                                   const char **positionals, size_t *positional_count);

/* An option that the command lacks; `next` is the argument behind it, or NULL. Where `takes_keys`,
 * one that bears a key's name is answered with -S. */
cairn_status cairn_option_refuse(const char *command, const char *option, const char *next,
                                 bool takes_keys);

/* Refuses "-S model.widths=16 32", a list that the shell has split; `next` is what comes behind, up
 * to a NULL. */
cairn_status cairn_override_check_split(const char *override, char *const *next);

/* The configuration that the shared arguments name, --device applied. */
cairn_status cairn_common_config(cairn_config *config, const cairn_common_arguments *arguments);

/* Takes the one positional argument that a command may have, params.yaml. */
cairn_status cairn_params_positional(cairn_common_arguments *arguments,
                                     const char *const *positionals, size_t count);

/* With a run folder and no params.yaml given: the folder's own, its path formatted into `path`. */
cairn_status cairn_run_params(cairn_common_arguments *arguments, const char *run_dir, char *path,
                              size_t size);

/* The model file to read: `model` when given, else model.safetensors in `run_dir`, else in the
 * configured run folder. */
cairn_status cairn_model_path(char *path, size_t size, const cairn_config *config,
                              const char *model, const char *run_dir);

/* A whole decimal number in [low, high], for the option of that name. */
cairn_status cairn_argument_integer(const char *option, const char *text, long low, long high,
                                    long *value);

/* Samples first..first+count-1 of the training split, each as it is and as epochs 0..epochs-1 see
 * it, as a PNG file. */
typedef struct {
    const char *path;
    int first, count, epochs;
} cairn_sheet;
cairn_status cairn_sheet_write(const cairn_sheet *wanted, const cairn_config *config,
                               const cairn_dataset *data);

/* Prints the learning rate over the configured run as a picture. */
cairn_status cairn_plot_rates(const cairn_config *config);

#endif
