/* `cairn train`. */
#include "cli.h"

#include "cairn/experiment.h"
#include "cairn/file.h"
#include "cairn/stop.h"

#include <limits.h>

static cairn_status take_profile_steps(cairn_experiment_options *experiment, const char *text) {
    long steps = 0;
    if (!experiment->profile)
        return cairn_error_set(CAIRN_BAD_INPUT, "--profile-steps needs --profile FILE");
    cairn_status status = cairn_argument_integer("--profile-steps", text, 1, 1000000, &steps);
    experiment->profile_steps = (int)steps;
    return status;
}

/* What is resumed has its own params.yaml, which is read unless another is given. The run folder
 * may stand in the place of that; one that --run-dir names may not be there yet. */
static cairn_status take_resumed(cairn_experiment_options *experiment,
                                 cairn_common_arguments *common, const char *const *positionals,
                                 size_t *count, char params[PATH_MAX]) {
    if (!experiment->resume || *count > 1)
        return CAIRN_OK;
    if (*count == 1 && cairn_folder_exists(positionals[0])) {
        if (experiment->run_dir)
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "'%s' is a run folder, and --run-dir names one: give one of "
                                   "the two",
                                   positionals[0]);
        experiment->run_dir = positionals[0];
        *count = 0;
        return cairn_run_params(common, experiment->run_dir, params, PATH_MAX);
    }
    if (*count == 1 || common->params)
        return CAIRN_OK;
    cairn_status status = cairn_run_params(common, experiment->run_dir, params, PATH_MAX);
    if (common->params && !cairn_file_exists(common->params))
        common->params = NULL;
    return status;
}

static cairn_status run(int argc, char **argv) {
    const char *positionals[argc];
    char params[PATH_MAX];
    size_t positional_count = 0;
    cairn_common_arguments common;
    cairn_experiment_options experiment = {.profile_steps = 10, .stop = cairn_stop_install()};
    const char *profile_steps = NULL;
    const cairn_option options[] = {
        {"run-dir", NULL, &experiment.run_dir},     {"resume", &experiment.resume, NULL},
        {"overwrite", &experiment.overwrite, NULL}, {"quiet", &experiment.quiet, NULL},
        {"dvclive", &experiment.dvclive, NULL},     {"profile", NULL, &experiment.profile},
        {"profile-steps", NULL, &profile_steps}};
    cairn_config config;
    cairn_status status =
        cairn_arguments_parse(argc, argv, options, sizeof options / sizeof options[0], &common,
                              positionals, &positional_count);
    if (!status)
        status = take_resumed(&experiment, &common, positionals, &positional_count, params);
    if (!status)
        status = cairn_params_positional(&common, positionals, positional_count);
    if (!status && experiment.resume && experiment.overwrite)
        status = cairn_error_set(CAIRN_BAD_INPUT, "--resume goes on with the run, --overwrite "
                                                  "replaces it: give one of the two");
    if (!status && profile_steps)
        status = take_profile_steps(&experiment, profile_steps);
    if (!status)
        status = cairn_common_config(&config, &common);
    signal(SIGPIPE, SIG_IGN); /* who reads the lines may leave: the run goes on */
    return status ? status : cairn_experiment_run(&config, &experiment);
}

const cairn_command cairn_command_train = {
    "train", "train the configured model and write its run folder",
    "usage: cairn train [params.yaml] [-S key=value]... [--run-dir DIR] [--device D]\n"
    "                   [--resume | --overwrite] [--dvclive] [--quiet]\n"
    "                   [--profile FILE [--profile-steps N]]\n"
    "       cairn train --resume RUN [-S key=value]... [--device D] ...\n"
    "\n"
    "Trains the model that params.yaml describes, evaluates it after every epoch, and writes the\n"
    "run folder <run.out_dir>/<run.name>: params.yaml, metrics.json, summary.json,\n"
    "model.safetensors (of the best epoch), checkpoint.safetensors (the last state),\n"
    "predictions.csv and confusion.csv (of the best model). Where that folder holds a run, it is\n"
    "kept, and the new one goes into <run.name>-2, or -3 and so on.\n"
    "\n"
    "  --run-dir DIR   the run folder, instead of <run.out_dir>/<run.name>\n"
    "  --resume        go on from the folder's checkpoint; start where there is none. With RUN or\n"
    "                  --run-dir, that folder's params.yaml is read unless another is given\n"
    "  --overwrite     replace whatever run the folder holds\n"
    "  --dvclive       also write DVCLive's files, into dvclive/ in the run folder, so that DVC\n"
    "                  can follow the run\n"
    "  --profile FILE  write a trace for ui.perfetto.dev and chrome://tracing: when the run\n"
    "                  trained, evaluated and saved, and what the device did in the first steps\n"
    "                  of each epoch\n"
    "  --profile-steps N\n"
    "                  how many steps of each epoch the trace shows (default 10)\n"
    "  --quiet         print nothing but errors\n" CAIRN_HELP_COMMON "\n"
    "Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGXCPU finish the step, save the checkpoint and exit\n"
    "with code 130; another one, a second or more later, ends the program at once. When the\n"
    "reader of the output goes away, the run goes on.\n"
    "\n"
    "  cairn train -S train.epochs=1 -S run.name=quick\n"
    "  cairn train --resume\n"
    "  cairn train --resume runs/quick -S train.epochs=2\n",
    run};
