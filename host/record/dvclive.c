/* What DVC and its editor extension follow while a run trains: the folder layout of DVCLive 3, its
 * values after the last epoch and a table over all epochs for each, and the file by which it
 * signals that an epoch (its "step") is done. Every table is written whole, so that none is ever
 * half a row behind another and a resumed run has all rows. */
#include "cairn/file.h"
#include "cairn/json.h"
#include "cairn/record.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A row's fields: metrics.json nests the loss under "train", its table is train/loss.tsv. */
static const struct {
    const char *split, *name;
    size_t offset;
} series[] = {
    {"train", "loss", offsetof(cairn_epoch_row, train_loss)},
    {"train", "acc", offsetof(cairn_epoch_row, train_acc)},
    {"test", "loss", offsetof(cairn_epoch_row, test_loss)},
    {"test", "acc", offsetof(cairn_epoch_row, test_acc)},
    {"val", "loss", offsetof(cairn_epoch_row, test_loss)},
    {"val", "acc", offsetof(cairn_epoch_row, test_acc)},
};
enum { SERIES = sizeof series / sizeof series[0] };

/* A run evaluates on test or on val. The other's tables are empty, since DVC complains of a plot's
 * file that is missing; metrics.json leaves it out. */
static bool is_measured(int which, bool held_out) {
    return strcmp(series[which].split, cairn_split_name(!held_out)) != 0;
}

static double value_of(const cairn_epoch_row *row, int which) {
    double value;
    memcpy(&value, (const char *)row + series[which].offset, sizeof value);
    return value;
}

static cairn_status out_of_memory(const char *path) {
    return cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
}

/* `which` SERIES: the rates. */
static const char *name_of(int which) {
    return which < SERIES ? series[which].name : "lr";
}

static cairn_status table_path(char path[PATH_MAX], const char *folder, int which) {
    return cairn_path_format(path, PATH_MAX, "%s/plots/metrics/%s%s%s.tsv", folder,
                             which < SERIES ? series[which].split : "", which < SERIES ? "/" : "",
                             name_of(which));
}

/* One series over the epochs. */
static cairn_status write_table(const char *path, const cairn_epoch_row *rows, const double *rates,
                                size_t count, int which) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return out_of_memory(path);
    fprintf(out, "step\t%s\n", name_of(which));
    for (size_t i = 0; i < count; i++) {
        char digits[CAIRN_JSON_DIGITS];
        cairn_json_digits(digits, which < SERIES ? value_of(&rows[i], which) : rates[i]);
        fprintf(out, "%d\t%s\n", rows[i].epoch, digits);
    }
    if (fclose(out) != 0) {
        free(text);
        return out_of_memory(path);
    }
    cairn_status status = cairn_file_write(path, text, size);
    free(text);
    return status;
}

/* {"step": 2, "lr": 0.001, "train": {"loss": ..., "acc": ...}, "test": ...}; before the first epoch
 * the step is 0 and there are no results. */
static cairn_status write_latest(const char *path, const cairn_epoch_row *row, const double *rate) {
    cJSON *object = cJSON_CreateObject(), *split = NULL;
    bool whole = cairn_json_integer(object, "step", row ? row->epoch : 0) &&
                 (!row || cairn_json_number(object, "lr", *rate));
    for (int i = 0; row && i < SERIES && whole; i++) {
        if (!is_measured(i, row->held_out))
            continue;
        if (i == 0 || strcmp(series[i].split, series[i - 1].split) != 0)
            split = cJSON_AddObjectToObject(object, series[i].split);
        whole = cairn_json_number(split, series[i].name, value_of(row, i));
    }
    char *text = whole ? cairn_json_format(object) : NULL;
    cairn_status status = text ? cairn_file_write(path, text, strlen(text)) : out_of_memory(path);
    free(text);
    cJSON_Delete(object);
    return status;
}

static const char *const folders[] = {"/plots/metrics/train",
                                      "/plots/metrics/test",
                                      "/plots/metrics/val",
                                      "/plots/metrics",
                                      "/plots",
                                      ""};
enum { FOLDERS = sizeof folders / sizeof folders[0] };

/* A folder of them that is a link, into `path`: it would lead out of the run folder. */
static bool find_link(char path[PATH_MAX], const char *folder) {
    struct stat info;
    for (size_t i = 0; i < FOLDERS; i++)
        if (!cairn_path_format(path, PATH_MAX, "%s%s", folder, folders[i]) &&
            lstat(path, &info) == 0 && S_ISLNK(info.st_mode))
            return true;
    return false;
}

/* No rows are allowed. */
static cairn_status write_files(const char *folder, bool held_out, const cairn_epoch_row *rows,
                                const double *rates, size_t count) {
    char path[PATH_MAX];
    cairn_status status = CAIRN_OK;
    if (find_link(path, folder))
        return cairn_error_set(
            CAIRN_BAD_INPUT,
            "%s: is a symbolic link, and a run's files are not written through one", path);
    for (int i = 0; i < SERIES && !status; i++) {
        status =
            cairn_path_format(path, sizeof path, "%s/plots/metrics/%s", folder, series[i].split);
        if (!status)
            status = cairn_folder_make(path);
        if (!status)
            status = table_path(path, folder, i);
        if (!status)
            status = write_table(path, rows, rates, is_measured(i, held_out) ? count : 0, i);
    }
    if (!status)
        status = table_path(path, folder, SERIES);
    if (!status)
        status = write_table(path, rows, rates, count, SERIES);
    if (!status)
        status = cairn_path_format(path, sizeof path, "%s/metrics.json", folder);
    if (!status) /* the last: whoever sees it finds its row in the tables */
        status = count ? write_latest(path, &rows[count - 1], &rates[count - 1])
                       : write_latest(path, NULL, NULL);
    return status;
}

/* The signal lies in the repository that DVC was started in, also for a run in a temporary one. */
static bool signal_path(char *path, size_t size) {
    const char *root = getenv("DVC_ROOT");
    char folder[PATH_MAX];
    return root && !cairn_path_format(folder, sizeof folder, "%s/.dvc", root) &&
           cairn_folder_exists(folder) &&
           !cairn_path_format(folder, sizeof folder, "%s/.dvc/tmp/exps/run", root) &&
           !cairn_folder_make(folder) &&
           !cairn_path_format(path, size, "%s/DVCLIVE_STEP_COMPLETED", folder);
}

/* Tells those who follow the run that an epoch is done. */
static void signal_epoch(int epoch) {
    char path[PATH_MAX], text[64];
    if (!signal_path(path, sizeof path))
        return;
    int length = snprintf(text, sizeof text, "{\"pid\": %ld, \"step\": %d}", (long)getpid(), epoch);
    (void)cairn_file_write(path, text, (size_t)length); /* a reader polls on without it */
}

/* The recorder --------------------------------------------------------------------------------- */

typedef struct {
    const cairn_run *run;
    char folder[PATH_MAX];
} dvclive;

static cairn_status open_dvclive(void **state, const cairn_run *run,
                                 cairn_record_request *request) {
    (void)request;
    if (!run->dvclive)
        return CAIRN_OK;
    dvclive *made = malloc(sizeof *made);
    if (!made)
        return out_of_memory("dvclive");
    made->run = run;
    *state = made;
    return cairn_path_format(made->folder, sizeof made->folder, "%s/dvclive", run->folder);
}

static cairn_status write_dvclive(void *state, const cairn_snapshot *at) {
    const dvclive *d = state;
    cairn_status status = write_files(d->folder, d->run->held_out, at->rows, at->rates, at->epochs);
    if (!status)
        signal_epoch((int)at->epochs);
    return status;
}

static cairn_status close_dvclive(void *state) {
    char path[PATH_MAX];
    if (signal_path(path, sizeof path))
        unlink(path);
    free(state);
    return CAIRN_OK;
}

static const char *const files[] = {"dvclive/metrics.json",
                                    "dvclive/plots/metrics/train/loss.tsv",
                                    "dvclive/plots/metrics/train/acc.tsv",
                                    "dvclive/plots/metrics/test/loss.tsv",
                                    "dvclive/plots/metrics/test/acc.tsv",
                                    "dvclive/plots/metrics/val/loss.tsv",
                                    "dvclive/plots/metrics/val/acc.tsv",
                                    "dvclive/plots/metrics/lr.tsv",
                                    NULL};

const cairn_recorder cairn_recorder_dvclive = {.files = files,
                                               .open = open_dvclive,
                                               .begin = write_dvclive,
                                               .epoch = write_dvclive,
                                               .close = close_dvclive};
