/* `cairn train`. */
#include "cli.h"

#include "cairn/experiment.h"
#include "cairn/stop.h"

static cairn_status take_profile_steps(cairn_experiment_options *experiment, const char *text) {
    long steps = 0;
    if (!experiment->profile)
        return cairn_error_set(CAIRN_BAD_INPUT, "--profile-steps needs --profile FILE");
    cairn_status status = cairn_argument_integer("--profile-steps", text, 1, 1000000, &steps);
    experiment->profile_steps = (int)steps;
    return status;
}

static cairn_status run(int argc, char **argv) {
    const char *positionals[argc];
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
    "\n"
    "Trains the model that params.yaml describes, evaluates it after every epoch, and writes the\n"
    "run folder <run.out_dir>/<run.name>: params.yaml, metrics.json, summary.json,\n"
    "model.safetensors (of the best epoch), checkpoint.safetensors (the last state),\n"
    "predictions.csv and confusion.csv (of the best model).\n"
    "\n"
    "  --run-dir DIR   the run folder, instead of <run.out_dir>/<run.name>\n"
    "  --resume        go on from the folder's checkpoint; start where there is none\n"
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
    "  cairn train --resume\n",
    run};
