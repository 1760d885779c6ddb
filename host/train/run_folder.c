/* The run folder: its files' names, and the rules that keep one run from overwriting another. */
#include "train.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

cairn_status cairn_run_folder_name(cairn_run_folder *run, const cairn_config *config,
                                   const char *run_dir) {
    cairn_status status = run_dir
                              ? cairn_path_format(run->folder, sizeof run->folder, "%s", run_dir)
                              : cairn_path_format(run->folder, sizeof run->folder, "%s/%s",
                                                  config->run.out_dir, config->run.name);
    const struct {
        char *path;
        const char *name;
    } files[] = {
        {run->params, "params.yaml"},
        {run->metrics, "metrics.json"},
        {run->summary, "summary.json"},
        {run->model, "model.safetensors"},
        {run->predictions, "predictions.csv"},
        {run->confusion, "confusion.csv"},
        {run->checkpoint, "checkpoint.safetensors"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0] && !status; i++)
        status = cairn_path_format(files[i].path, PATH_MAX, "%s/%s", run->folder, files[i].name);
    return status;
}

/* The same run: every key that shapes the result is equal, but that more epochs may be asked. */
static cairn_status check_same_run(const cairn_run_folder *run, const cairn_config *config,
                                   const cairn_checkpoint *held) {
    char was[CAIRN_TEXT_MAX], is[CAIRN_TEXT_MAX];
    cairn_config extended = held->config;
    if (config->train.epochs >= held->epoch + (held->batch > 0)) /* not fewer than begun */
        extended.train.epochs = config->train.epochs;
    const cairn_key *key = cairn_config_difference(&extended, config);
    if (!key)
        return CAIRN_OK;
    return cairn_error_set(
        CAIRN_BAD_INPUT,
        "%s: the run there had %s: %s, now it is %s; set it back, choose another "
        "run.name, or replace the run with --overwrite",
        run->folder, key->name, cairn_config_value(&held->config, key, was, sizeof was),
        cairn_config_value(config, key, is, sizeof is));
}

cairn_status cairn_run_folder_check(const cairn_run_folder *run, const cairn_config *config,
                                    const cairn_experiment_options *options, cairn_checkpoint *held,
                                    bool *resume) {
    *resume = false;
    if (options->overwrite)
        return CAIRN_OK;
    if (!cairn_file_exists(run->checkpoint)) {
        if (cairn_file_exists(run->metrics))
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "%s: holds a run without a checkpoint; choose another run.name, "
                                   "or replace it with --overwrite",
                                   run->folder);
        return CAIRN_OK;
    }
    cairn_status status = cairn_checkpoint_peek(held, run->checkpoint);
    if (!status)
        status = check_same_run(run, config, held);
    if (status)
        return status;
    *resume = options->resume;
    /* A finished run of the same configuration is trained again: it ends with the same bytes. */
    if (options->resume || held->epoch >= config->train.epochs)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "%s: holds an unfinished run, %u of %lld epochs done; go on with "
                           "--resume, or replace it with --overwrite",
                           run->folder, held->epoch, (long long)config->train.epochs);
}

cairn_status cairn_run_folder_begin(const cairn_run_folder *run, const cairn_config *config,
                                    bool fresh) {
    cairn_status status = cairn_folder_make(run->folder);
    const char *const earlier[] = {run->checkpoint, run->metrics,     run->summary,
                                   run->model,      run->predictions, run->confusion};
    for (size_t i = 0; fresh && i < sizeof earlier / sizeof earlier[0] && !status; i++)
        if (unlink(earlier[i]) != 0 && errno != ENOENT)
            status = cairn_error_set(CAIRN_FAILED, "%s: cannot remove the earlier run's file: %s",
                                     earlier[i], strerror(errno));
    char *text = NULL;
    if (!status)
        status = cairn_config_format(config, &text);
    if (!status)
        status = cairn_file_write(run->params, text, strlen(text));
    free(text);
    return status;
}
