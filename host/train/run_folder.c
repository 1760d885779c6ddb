/* The run folder: its files' names, and the rules that keep one run from overwriting another. */
#include "run_folder.h"

#include "cairn/file.h"
#include "cairn/record.h"
#include "cairn/schedule.h"
#include "cairn/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the run's records call it: run.name, or the folder's name where that is the run's with a
 * number, as cairn_run_folder_take gives it. */
static const char *find_name(const char *folder, const cairn_config *config) {
    char unnumbered[PATH_MAX];
    int length =
        snprintf(unnumbered, sizeof unnumbered, "%s/%s-", config->run.out_dir, config->run.name);
    if (strncmp(folder, unnumbered, (size_t)length) != 0 || !folder[length] ||
        folder[length + (int)strspn(folder + length, "0123456789")])
        return config->run.name;
    return strrchr(folder, '/') + 1;
}

static cairn_status name_files(cairn_run_folder *run, const cairn_config *config) {
    const struct {
        char *path;
        const char *name;
    } files[] = {
        {run->params, "params.yaml"},
        {run->metrics, "metrics.json"},
        {run->model, "model.safetensors"},
        {run->checkpoint, "checkpoint.safetensors"},
        {run->previous, "checkpoint.previous.safetensors"},
    };
    cairn_status status = CAIRN_OK;
    run->name = find_name(run->folder, config);
    for (size_t i = 0; i < sizeof files / sizeof files[0] && !status; i++)
        status = cairn_path_format(files[i].path, PATH_MAX, "%s/%s", run->folder, files[i].name);
    return status;
}

cairn_status cairn_run_folder_name(cairn_run_folder *run, const cairn_config *config,
                                   const char *run_dir) {
    cairn_status status = run_dir
                              ? cairn_path_format(run->folder, sizeof run->folder, "%s", run_dir)
                              : cairn_path_format(run->folder, sizeof run->folder, "%s/%s",
                                                  config->run.out_dir, config->run.name);
    for (size_t end = strlen(run->folder); end > 1 && run->folder[end - 1] == '/';)
        run->folder[--end] = '\0';
    return status ? status : name_files(run, config);
}

/* The same run: every key that shapes the result is equal, but that more epochs may be asked. */
static cairn_status check_same_run(const cairn_run_folder *run, const cairn_config *config,
                                   const cairn_checkpoint *held) {
    char was[CAIRN_TEXT_MAX], is[CAIRN_TEXT_MAX];
    cairn_config extended = held->config;
    /* Not fewer than begun; and not where the rates of the epochs done depend on it. */
    if (config->train.epochs >= held->epoch + (held->step_in_epoch > 0) &&
        !cairn_schedule_needs_length(config))
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

static cairn_status lock(cairn_run_folder *run) {
    char path[PATH_MAX];
    cairn_status status = cairn_path_format(path, sizeof path, "%s/.lock", run->folder);
    if (!status)
        status = cairn_lock_take(&run->lock, path);
    if (!status && !run->place)
        run->place = open(run->folder, O_PATH | O_DIRECTORY | O_CLOEXEC) + 1;
    if (!status && !run->place)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot open: %s", run->folder, strerror(errno));
    if (status == CAIRN_BAD_INPUT)
        return cairn_error_set(status, "%s: another run is writing here: %s", run->folder,
                               cairn_error_message());
    return status;
}

/* The last checkpoint that can be read. Its tensors only where the run goes on from it. */
static cairn_status read_newest(const cairn_run_folder *run, bool resume, cairn_run_start *start) {
    cairn_safetensors *tensors = resume ? &start->tensors : NULL;
    if (cairn_file_exists(run->checkpoint)) {
        start->from = run->checkpoint;
        cairn_status status = cairn_checkpoint_read(&start->at, tensors, start->from);
        if (status != CAIRN_BAD_INPUT || !cairn_file_exists(run->previous))
            return status;
        snprintf(start->notice, sizeof start->notice, "%s", cairn_error_message());
    } else {
        snprintf(start->notice, sizeof start->notice, "%s: is missing", run->checkpoint);
    }
    start->from = run->previous;
    return cairn_checkpoint_read(&start->at, tensors, start->from);
}

/* Whether the file is what a run of this configuration writes, to the byte. */
static bool is_written_for(const char *params, const cairn_config *config) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    char *text = NULL;
    bool same = cairn_config_format(config, &text) == CAIRN_OK &&
                cairn_file_read(params, &bytes, &size) == CAIRN_OK && strlen(text) == size &&
                memcmp(text, bytes, size) == 0;
    free(text);
    free(bytes);
    return same;
}

/* Whether a run wrote it that was to compute the same, of as many epochs or not. */
static bool is_written_alike(const char *params, const cairn_config *config) {
    cairn_config begun;
    if (cairn_config_read(&begun, params, NULL, 0) || !is_written_for(params, &begun))
        return false;
    begun.train.epochs = config->train.epochs;
    return !cairn_config_difference(&begun, config);
}

/* Of a folder without a checkpoint: a run of the same configuration that was ended before its first
 * left a model at most. All else is no run's to replace. */
static cairn_status check_unfounded(const cairn_run_folder *run, const cairn_config *config,
                                    bool resume) {
    const char *found = NULL;
    bool begun =
        cairn_file_exists(run->params) &&
        (is_written_for(run->params, config) || (resume && is_written_alike(run->params, config)));
    if (cairn_file_exists(run->metrics))
        found = run->metrics;
    else if (cairn_file_exists(run->params) && !begun)
        found = run->params;
    else if (cairn_file_exists(run->model) && !begun)
        found = run->model;
    if (!found)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "%s: is there without a checkpoint, and a run would replace it; choose "
                           "another folder, or replace it with --overwrite",
                           found);
}

/* Only a folder that nobody chose by itself may give way to the next number. */
static bool is_numbered(const cairn_experiment_options *options) {
    return !options->run_dir && !options->resume && !options->overwrite;
}

cairn_status cairn_run_folder_check(cairn_run_folder *run, const cairn_config *config,
                                    const cairn_experiment_options *options,
                                    cairn_run_start *start) {
    if (is_numbered(options))
        return CAIRN_OK;
    cairn_status status = cairn_folder_exists(run->folder) ? lock(run) : CAIRN_OK;
    if (status || options->overwrite)
        return status;
    if (!cairn_file_exists(run->checkpoint) && !cairn_file_exists(run->previous))
        return check_unfounded(run, config, options->resume);
    status = read_newest(run, options->resume, start);
    if (!status)
        status = check_same_run(run, config, &start->at);
    if (status || options->resume)
        return status;
    /* It would end with the same bytes; but until then they would be gone. */
    if (start->at.epoch >= config->train.epochs)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: holds this run already, finished; choose another folder, or "
                               "replace it with --overwrite",
                               run->folder);
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "%s: holds a run with %u of %lld %s done; go on with --resume, or "
                           "replace it with --overwrite",
                           run->folder, start->at.epoch, (long long)config->train.epochs,
                           cairn_noun(config->train.epochs, "epoch", "epochs"));
}

static bool is_free(const cairn_run_folder *run, const cairn_config *config) {
    return !cairn_file_exists(run->checkpoint) && !cairn_file_exists(run->previous) &&
           check_unfounded(run, config, false) == CAIRN_OK;
}

/* Makes and locks the folder, unless it holds a run, or another process was first. */
static cairn_status take_if_free(cairn_run_folder *run, const cairn_config *config, bool *taken) {
    *taken = false;
    if (!is_free(run, config))
        return CAIRN_OK;
    run->made = !cairn_folder_exists(run->folder);
    cairn_status status = cairn_folder_make(run->folder);
    if (status)
        return status;
    status = lock(run);
    if (status)
        return status == CAIRN_BAD_INPUT ? CAIRN_OK : status;
    *taken = is_free(run, config); /* still: a run may have ended there in between */
    if (!*taken)
        cairn_run_folder_end(run);
    return CAIRN_OK;
}

/* What the folder that was asked for holds. */
static void note_kept(const cairn_run_folder *run, const cairn_config *config,
                      cairn_run_start *start) {
    cairn_run_start held = {0};
    if (read_newest(run, false, &held) == CAIRN_OK &&
        check_same_run(run, config, &held.at) == CAIRN_OK && held.at.epoch < config->train.epochs)
        snprintf(start->notice, sizeof start->notice,
                 "%s holds a run with %u of %lld %s done (--resume goes on with it)", run->folder,
                 held.at.epoch, (long long)config->train.epochs,
                 cairn_noun(config->train.epochs, "epoch", "epochs"));
    else
        snprintf(start->notice, sizeof start->notice, "%s holds another run", run->folder);
    cairn_run_start_free(&held);
}

cairn_status cairn_run_folder_take(cairn_run_folder *run, const cairn_config *config,
                                   const cairn_experiment_options *options,
                                   cairn_run_start *start) {
    bool taken = !is_numbered(options);
    cairn_status status = taken ? CAIRN_OK : take_if_free(run, config, &taken);
    if (!status && !taken)
        note_kept(run, config, start);
    for (int number = 2; !status && !taken; number++) {
        status = cairn_path_format(run->folder, sizeof run->folder, "%s/%s-%d", config->run.out_dir,
                                   config->run.name, number);
        if (!status)
            status = name_files(run, config);
        if (!status)
            status = take_if_free(run, config, &taken);
    }
    return status;
}

void cairn_run_start_free(cairn_run_start *start) {
    cairn_checkpoint_free(&start->at);
    cairn_safetensors_free(&start->tensors);
}

cairn_status cairn_run_folder_begin(cairn_run_folder *run, const cairn_config *config, bool fresh) {
    cairn_status status = cairn_folder_make(run->folder);
    if (!status)
        status = lock(run);
    const char *const earlier[] = {run->checkpoint, run->previous, run->model};
    if (!status)
        cairn_file_sweep(run->params);
    for (size_t i = 0; i < sizeof earlier / sizeof earlier[0] && !status; i++) {
        cairn_file_sweep(earlier[i]);
        if (fresh && unlink(earlier[i]) != 0 && errno != ENOENT)
            status = cairn_error_set(CAIRN_FAILED, "%s: cannot remove the earlier run's file: %s",
                                     earlier[i], strerror(errno));
    }
    if (!status)
        status = cairn_recorders_clear(run->folder, fresh);
    char *text = NULL;
    if (!status)
        status = cairn_config_format(config, &text);
    if (!status)
        status = cairn_file_write(run->params, text, strlen(text));
    free(text);
    run->made = run->made && status; /* what is written stays */
    return status;
}

cairn_status cairn_run_folder_in_place(const cairn_run_folder *run) {
    struct stat opened, named;
    if (fstat(run->place - 1, &opened) == 0 && stat(run->folder, &named) == 0 &&
        opened.st_ino == named.st_ino && opened.st_dev == named.st_dev)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_FAILED,
                           "%s: the run folder was moved or removed while the run went on; what "
                           "bears its name now is left alone, and nothing more is written",
                           run->folder);
}

void cairn_run_folder_end(cairn_run_folder *run) {
    cairn_lock_release(&run->lock);
    if (run->place)
        close(run->place - 1);
    run->place = 0;
    if (run->made)
        (void)rmdir(run->folder);
    run->made = false;
}
