/* `cairn train`. */
#include "cli.h"

#include "cairn/stop.h"
#include "cairn/train.h"

static cairn_status take_profile_steps(cairn_experiment_options *experiment, const char *text) {
    long steps = 0;
    if (!experiment->profile)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "--profile-steps: says how much --profile FILE records, which is "
                               "not given");
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
        status = cairn_error_set(CAIRN_BAD_INPUT, "--resume keeps the run, --overwrite drops it: "
                                                  "give one of the two");
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
    "                   [--profile FILE [--profile-steps N]]\n\n"
    "Trains what params.yaml says, evaluates after every epoch, and writes the run folder\n"
    "<run.out_dir>/<run.name>: params.yaml, metrics.json, summary.json, model.safetensors (the\n"
    "best epoch's), checkpoint.safetensors (the last), predictions.csv and confusion.csv (of the\n"
    "best model).\n\n"
    "  -S key=value    sets one parameter; `cairn params` lists them\n"
    "  --run-dir DIR   the run folder, instead of <run.out_dir>/<run.name>\n"
    "  --device D      auto, cpu, reference, cuda or cuda:N\n"
    "  --resume        goes on from the folder's checkpoint; without one, starts\n"
    "  --overwrite     replaces whatever run the folder holds\n"
    "  --dvclive       writes DVCLive's files too, into the run folder's dvclive/, so that DVC\n"
    "                  can follow the run\n"
    "  --profile FILE  writes a trace for ui.perfetto.dev and chrome://tracing: when the run\n"
    "                  trained, evaluated and saved, and what the device did in the first 10 "
    "steps\n"
    "                  of each epoch, or the first N by --profile-steps N\n"
    "  --quiet         prints nothing but errors\n\n"
    "Ctrl-C and SIGTERM finish the step, save the checkpoint and exit with 130. A reader of the\n"
    "output that goes away does not end the run.\n"
    "Exit codes: 0 done; 1 failed; 2 wrong usage, configuration or data; 130 interrupted.\n\n"
    "  cairn train -S train.epochs=1 -S run.name=quick\n"
    "  cairn train --resume\n",
    run};
