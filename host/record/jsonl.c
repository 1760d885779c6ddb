/* events.jsonl: a line of JSON for every epoch that has ended, and one for the end of the run, for
 * programs that follow it by `tail -f`. */
#include "cairn/file.h"
#include "cairn/json.h"
#include "cairn/record.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char path[PATH_MAX];
    size_t epochs; /* whose lines are there */
} events;

static cairn_status open_events(void **state, const cairn_run *run, cairn_record_request *request) {
    (void)request;
    events *made = calloc(1, sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for events.jsonl");
    *state = made;
    return cairn_path_format(made->path, sizeof made->path, "%s/events.jsonl", run->folder);
}

/* Prints the event, which is deleted, as a line; false when memory is short. */
static bool put(FILE *out, cJSON *event, bool whole) {
    char *text = whole ? cJSON_PrintUnformatted(event) : NULL;
    if (text)
        fprintf(out, "%s\n", text);
    cJSON_free(text);
    cJSON_Delete(event);
    return text != NULL;
}

static bool put_epoch(FILE *out, const cairn_epoch_row *row, double rate) {
    cJSON *event = cJSON_CreateObject();
    bool whole =
        cairn_json_text(event, "event", "epoch") &&
        cairn_json_integer(event, "epoch", row->epoch) && cairn_json_number(event, "lr", rate) &&
        cairn_json_number(event, "train_loss", row->train_loss) &&
        cairn_json_number(event, "train_acc", row->train_acc) &&
        cairn_json_number(event, row->held_out ? "val_loss" : "test_loss", row->test_loss) &&
        cairn_json_number(event, row->held_out ? "val_acc" : "test_acc", row->test_acc);
    return put(out, event, whole);
}

static bool put_end(FILE *out, const cairn_snapshot *at) {
    cJSON *event = cJSON_CreateObject();
    bool finished = at->state == CAIRN_RUN_FINISHED;
    bool whole = cairn_json_text(event, "event", finished ? "finished" : "interrupted") &&
                 cairn_json_integer(event, "epochs", (long long)at->epochs);
    if (at->best)
        whole = whole && cairn_json_integer(event, "best_epoch", at->best->epoch);
    return put(out, event, whole);
}

/* The lines of the epochs that have none yet and, where the run has ended, its own, as text. */
static cairn_status format(const events *e, const cairn_snapshot *at, bool end, char **text,
                           size_t *size) {
    FILE *out = open_memstream(text, size);
    bool whole = out != NULL;
    for (size_t i = e->epochs; i < at->epochs && whole; i++)
        whole = put_epoch(out, &at->rows[i], at->rates[i]);
    if (end)
        whole = whole && put_end(out, at);
    if (out)
        whole = fclose(out) == 0 && whole;
    return whole ? CAIRN_OK : cairn_error_set(CAIRN_FAILED, "out of memory for %s", e->path);
}

/* The epochs that a resumed run goes on from: anew, since lines beyond its checkpoint are void. */
static cairn_status begin(void *state, const cairn_snapshot *at) {
    events *e = state;
    char *text = NULL;
    size_t size = 0;
    cairn_status status = format(e, at, false, &text, &size);
    if (!status)
        status = cairn_file_write(e->path, text, size);
    if (!status)
        e->epochs = at->epochs;
    free(text);
    return status;
}

static cairn_status append(events *e, const cairn_snapshot *at, bool end) {
    char *text = NULL;
    size_t size = 0;
    cairn_status status = format(e, at, end, &text, &size);
    FILE *file = status ? NULL : fopen(e->path, "ae");
    bool written = file && fwrite(text, 1, size, file) == size;
    if (file)
        written = fclose(file) == 0 && written;
    if (!status && !written)
        status = cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", e->path, strerror(errno));
    if (!status)
        e->epochs = at->epochs;
    free(text);
    return status;
}

static cairn_status show_epoch(void *state, const cairn_snapshot *at) {
    return append(state, at, false);
}

static cairn_status finish(void *state, const cairn_snapshot *at) {
    return append(state, at, true);
}

static cairn_status close_events(void *state) {
    free(state);
    return CAIRN_OK;
}

static const char *const files[] = {"events.jsonl", NULL};

const cairn_recorder cairn_recorder_jsonl = {.name = "jsonl",
                                             .files = files,
                                             .open = open_events,
                                             .begin = begin,
                                             .epoch = show_epoch,
                                             .finish = finish,
                                             .close = close_events};
