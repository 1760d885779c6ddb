/* summary.json: one flat object about the whole run, for tables and scripts. */
#include "cairn/file.h"
#include "cairn/record.h"

#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* JSON numbers have no width, but cJSON's have 53 bits: a seed goes in as its digits. */
static bool add_seed(cJSON *object, uint64_t seed) {
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    return cJSON_AddRawToObject(object, "seed", digits) != NULL;
}

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

static bool add_provenance(cJSON *object, const cairn_summary *s) {
    bool known = s->git_revision && *s->git_revision;
    return add_known(object, "git_revision", s->git_revision) &&
           (known ? cJSON_AddBoolToObject(object, "git_dirty", s->git_dirty)
                  : cJSON_AddNullToObject(object, "git_dirty")) != NULL &&
           add_known(object, "binary_digest", s->binary_digest) &&
           add_known(object, "plugin_digest", s->plugin_digest) &&
           add_known(object, "processor", s->processor) &&
           add_known(object, "experiment", s->experiment) &&
           add_known(object, "provenance_note", s->provenance_note);
}

static bool fill(cJSON *object, const cairn_summary *s) {
    return cairn_json_text(object, "run", s->run_name) &&
           cairn_json_text(object, "status", s->status) && add_row(object, "final", &s->final) &&
           add_row(object, "best", &s->best) && cairn_json_number(object, "seconds", s->seconds) &&
           cairn_json_number(object, "train_images_per_second", s->train_images_per_second) &&
           cairn_json_text(object, "device", s->device) &&
           cairn_json_text(object, "device_description", s->device_description) &&
           cairn_json_text(object, "precision", s->precision) &&
           cairn_json_integer(object, "threads", s->threads) && add_seed(object, s->seed) &&
           cairn_json_text(object, "model", s->model) &&
           cairn_json_integer(object, "parameters", s->parameters) &&
           cairn_json_integer(object, "epochs", s->epochs) &&
           cairn_json_integer(object, "batch_size", s->batch_size) &&
           cairn_json_number(object, "lr", s->lr) && cairn_json_text(object, "data", s->data) &&
           cJSON_AddBoolToObject(object, "synthetic", strcmp(s->data, "synthetic") == 0) &&
           cairn_json_text(object, "data_digest", s->data_digest) &&
           cairn_json_integer(object, "train_images", s->train_count) &&
           cairn_json_integer(object, s->final.held_out ? "val_images" : "test_images",
                              s->test_count) &&
           cairn_json_text(object, "config_digest", s->config_digest) &&
           cairn_json_text(object, "version", s->version) && add_provenance(object, s);
}

cairn_status cairn_summary_write(const char *path, const cairn_summary *summary) {
    cJSON *object = cJSON_CreateObject();
    char *text = object && fill(object, summary) ? cJSON_Print(object) : NULL;
    cairn_status status = CAIRN_OK;
    if (text) {
        size_t length = strlen(text);
        text[length] = '\n'; /* where the zero was, which a file has no use for */
        status = cairn_file_write(path, text, length + 1);
    } else {
        status = cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
    }
    free(text);
    cJSON_Delete(object);
    return status;
}
