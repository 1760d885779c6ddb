/* summary.json: one flat object about the whole run, for tables and scripts. The seed keeps all its
 * digits, as a plain JSON number; results of a run of which no epoch has ended are null. */
#include "cairn/file.h"
#include "cairn/json.h"
#include "cairn/record.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `<prefix>_epoch` and its four results; all null before the first epoch has ended. */
static bool add_row(cJSON *object, const char *prefix, const cairn_epoch_row *row) {
    const struct {
        const char *name;
        double value;
    } fields[] = {
        {"epoch", row->epoch},
        {"train_loss", row->train_loss},
        {"train_acc", row->train_acc},
        {row->held_out ? "val_loss" : "test_loss", row->test_loss},
        {row->held_out ? "val_acc" : "test_acc", row->test_acc},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_%s", prefix, fields[i].name);
        if (!cairn_json_number(object, key, row->epoch ? fields[i].value : NAN))
            return false;
    }
    return true;
}

static bool add_known(cJSON *object, const char *key, const char *value) {
    return value && *value ? cairn_json_text(object, key, value)
                           : cJSON_AddNullToObject(object, key) != NULL;
}

static bool add_origin(cJSON *object, const cairn_origin *origin) {
    bool known = origin->git_revision && *origin->git_revision;
    return add_known(object, "git_revision", origin->git_revision) &&
           (known ? cJSON_AddBoolToObject(object, "git_dirty", origin->git_dirty)
                  : cJSON_AddNullToObject(object, "git_dirty")) != NULL &&
           add_known(object, "binary_digest", origin->binary_digest) &&
           add_known(object, "plugin_digest", origin->plugin_digest) &&
           add_known(object, "processor", origin->processor) &&
           add_known(object, "experiment", origin->experiment) &&
           add_known(object, "provenance_note", origin->note);
}

/* What the run says of itself. */
static bool add_run(cJSON *object, const cairn_run *run, const cairn_snapshot *at) {
    double lr = strtod(cairn_run_setting(run, "train.lr"), NULL);
    return cairn_json_text(object, "device", run->device) &&
           cairn_json_text(object, "device_description", run->device_description) &&
           cairn_json_text(object, "precision", run->precision) &&
           cairn_json_integer(object, "threads", run->threads) &&
           cJSON_AddRawToObject(object, "seed", cairn_run_setting(run, "seed")) &&
           cairn_json_text(object, "model", cairn_run_setting(run, "model.name")) &&
           cairn_json_integer(object, "parameters", run->parameters) &&
           cairn_json_integer(object, "epochs", (long long)at->epochs) &&
           cairn_json_integer(object, "batch_size", cairn_run_integer(run, "train.batch_size")) &&
           cairn_json_number(object, "lr", lr) && cairn_json_text(object, "data", run->data) &&
           cJSON_AddBoolToObject(object, "synthetic", strcmp(run->data, "synthetic") == 0) &&
           cairn_json_text(object, "data_digest", at->origin.data_digest) &&
           cairn_json_integer(object, "train_images", run->train_count) &&
           cairn_json_integer(object, run->held_out ? "val_images" : "test_images",
                              run->test.count) &&
           cairn_json_text(object, "config_digest", run->config_digest) &&
           cairn_json_text(object, "version", CAIRN_VERSION);
}

static bool fill(cJSON *object, const cairn_run *run, const cairn_snapshot *at) {
    static const char *const states[] = {"running", "running", "interrupted", "finished"};
    const cairn_epoch_row none = {.held_out = run->held_out};
    const cairn_epoch_row *last = at->epochs ? &at->rows[at->epochs - 1] : &none;
    double speed = at->train_seconds > 0 ? (double)at->trained_images / at->train_seconds : 0;
    return cairn_json_text(object, "run", run->name) &&
           cairn_json_text(object, "status", states[at->state]) && add_row(object, "final", last) &&
           add_row(object, "best", at->best ? at->best : &none) &&
           cairn_json_number(object, "seconds", at->seconds) &&
           cairn_json_number(object, "train_images_per_second", speed) &&
           add_run(object, run, at) && add_origin(object, &at->origin);
}

typedef struct {
    const cairn_run *run;
    char path[PATH_MAX];
} summary;

static cairn_status open_summary(void **state, const cairn_run *run,
                                 cairn_record_request *request) {
    summary *made = malloc(sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the summary");
    made->run = run;
    request->provenance = run->dvclive;
    *state = made;
    return cairn_path_format(made->path, sizeof made->path, "%s/summary.json", run->folder);
}

static cairn_status write_summary(void *state, const cairn_snapshot *at) {
    const summary *s = state;
    cJSON *object = cJSON_CreateObject();
    char *text = object && fill(object, s->run, at) ? cairn_json_format(object) : NULL;
    cairn_status status = CAIRN_OK;
    if (text)
        status = cairn_file_write(s->path, text, strlen(text));
    else
        status = cairn_error_set(CAIRN_FAILED, "out of memory for %s", s->path);
    free(text);
    cJSON_Delete(object);
    return status;
}

/* A run that goes on: its summary says that it had ended. */
static cairn_status begin_summary(void *state, const cairn_snapshot *at) {
    const summary *s = state;
    return s->run->dvclive || cairn_file_exists(s->path) ? write_summary(state, at) : CAIRN_OK;
}

/* As the run goes only for DVC, which would show an earlier run's. */
static cairn_status write_running(void *state, const cairn_snapshot *at) {
    const summary *s = state;
    return s->run->dvclive ? write_summary(state, at) : CAIRN_OK;
}

static cairn_status close_summary(void *state) {
    free(state);
    return CAIRN_OK;
}

static const char *const files[] = {"summary.json", NULL};

const cairn_recorder cairn_recorder_summary = {.files = files,
                                               .open = open_summary,
                                               .begin = begin_summary,
                                               .epoch = write_running,
                                               .finish = write_summary,
                                               .close = close_summary};
