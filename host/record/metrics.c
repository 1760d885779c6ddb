/* metrics.json: a list with one row an epoch, which DVC and the reference's users read. The same
 * text rides in checkpoints, so that a resumed run goes on with the rows as they were. */
#include "cairn/file.h"
#include "cairn/json.h"
#include "cairn/record.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cairn_status out_of_memory(void) {
    return cairn_error_set(CAIRN_FAILED, "out of memory for metrics");
}

const char *cairn_split_name(bool held_out) {
    return held_out ? "val" : "test";
}

/* One row as a line of JSON, the caller's to free; NULL when memory is short. */
static char *format_row(const cairn_epoch_row *row) {
    char *text = NULL;
    cJSON *object = cJSON_CreateObject();
    if (cairn_json_integer(object, "epoch", row->epoch) &&
        cairn_json_number(object, "train_loss", row->train_loss) &&
        cairn_json_number(object, "train_acc", row->train_acc) &&
        cairn_json_number(object, row->held_out ? "val_loss" : "test_loss", row->test_loss) &&
        cairn_json_number(object, row->held_out ? "val_acc" : "test_acc", row->test_acc))
        text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    return text;
}

cairn_status cairn_metrics_extend(cairn_metrics *metrics, const cairn_epoch_row *rows,
                                  size_t count) {
    const char *end = count ? "\n]\n" : "]\n";
    char *added = NULL;
    size_t size;
    bool whole = true;
    if (metrics->text && metrics->rows == count)
        return CAIRN_OK;
    FILE *out = open_memstream(&added, &size);
    if (!out)
        return out_of_memory();
    if (!metrics->text)
        fputs("[", out);
    for (size_t i = metrics->rows; i < count && whole; i++) {
        char *line = format_row(&rows[i]);
        whole = line != NULL;
        fprintf(out, "%s\n  %s", i ? "," : "", whole ? line : "");
        free(line);
    }
    fputs(end, out);
    whole = fclose(out) == 0 && whole;
    char *text = whole ? realloc(metrics->text, metrics->open + size + 1) : NULL;
    if (text) {
        memcpy(text + metrics->open, added, size + 1);
        *metrics = (cairn_metrics){text, metrics->open + size - strlen(end), count};
    }
    free(added);
    return text ? CAIRN_OK : out_of_memory();
}

void cairn_metrics_free(cairn_metrics *metrics) {
    free(metrics->text);
    *metrics = (cairn_metrics){0};
}

static bool read_number(const cJSON *row, const char *key, double *value) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(row, key);
    *value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    return (cJSON_IsNumber(item) && isfinite(item->valuedouble)) || cJSON_IsNull(item);
}

/* Rows count from 1 without gaps. */
static bool read_row(const cJSON *object, size_t ordinal, cairn_epoch_row *row) {
    double epoch;
    row->epoch = (int)ordinal + 1;
    row->held_out = cJSON_HasObjectItem(object, "val_loss");
    return read_number(object, "epoch", &epoch) && epoch == row->epoch &&
           read_number(object, "train_loss", &row->train_loss) &&
           read_number(object, "train_acc", &row->train_acc) &&
           read_number(object, row->held_out ? "val_loss" : "test_loss", &row->test_loss) &&
           read_number(object, row->held_out ? "val_acc" : "test_acc", &row->test_acc);
}

cairn_status cairn_metrics_parse(const char *text, const char *name, cairn_epoch_row **rows,
                                 size_t *count) {
    cairn_status status = CAIRN_OK;
    cJSON *list = cJSON_ParseWithOpts(text, NULL, 1);
    cairn_epoch_row *made = NULL;
    if (!cJSON_IsArray(list)) {
        status = cairn_error_set(CAIRN_BAD_INPUT, "%s: is not a JSON list of epochs", name);
        goto done;
    }
    made = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof made[0]);
    if (!made) {
        status = out_of_memory();
        goto done;
    }
    size_t ordinal = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (!read_row(item, ordinal, &made[ordinal])) {
            status = cairn_error_set(CAIRN_BAD_INPUT,
                                     "%s: row %zu lacks epoch %zu, or one of train_loss, "
                                     "train_acc, test_loss and test_acc (or val_loss and val_acc)",
                                     name, ordinal + 1, ordinal + 1);
            goto done;
        }
        ordinal++;
    }
    *rows = made;
    *count = ordinal;
    made = NULL;
done:
    free(made);
    cJSON_Delete(list);
    return status;
}

/* The recorder --------------------------------------------------------------------------------- */

static cairn_status open_metrics(void **state, const cairn_run *run,
                                 cairn_record_request *request) {
    (void)request;
    *state = malloc(PATH_MAX);
    return *state ? cairn_path_format(*state, PATH_MAX, "%s/metrics.json", run->folder)
                  : out_of_memory();
}

/* Not before the first epoch: a run that is killed now would seem to have results. */
static cairn_status write_metrics(void *path, const cairn_snapshot *at) {
    return at->epochs ? cairn_file_write(path, at->metrics, strlen(at->metrics)) : CAIRN_OK;
}

static cairn_status close_metrics(void *path) {
    free(path);
    return CAIRN_OK;
}

static const char *const files[] = {"metrics.json", NULL};

const cairn_recorder cairn_recorder_metrics = {.files = files,
                                               .open = open_metrics,
                                               .begin = write_metrics,
                                               .epoch = write_metrics,
                                               .close = close_metrics};
