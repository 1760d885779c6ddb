/* The table of recorders, and the calls of record.h: each goes to those that a run wants. */
#include "cairn/record.h"

#include "cairn/clock.h"
#include "cairn/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern const cairn_recorder cairn_recorder_metrics, cairn_recorder_predictions,
    cairn_recorder_tensorboard, cairn_recorder_summary, cairn_recorder_dvclive,
    cairn_recorder_jsonl, cairn_recorder_trace, cairn_recorder_terminal;

/* In this order they are called. The terminal is last: who reads of an epoch there finds its files.
 */
static const cairn_recorder *const table[] = {
    &cairn_recorder_metrics, &cairn_recorder_predictions, &cairn_recorder_tensorboard,
    &cairn_recorder_summary, &cairn_recorder_dvclive,     &cairn_recorder_jsonl,
    &cairn_recorder_trace,   &cairn_recorder_terminal,
};
enum { COUNT = sizeof table / sizeof table[0] };

/* The state and the request of table[i]. */
struct cairn_recorders {
    void *state[COUNT];
    cairn_record_request request[COUNT];
};

/* Those of the table whose state says that they are wanted and that have the call. */
static bool has(const cairn_recorders *recorders, int i, bool call) {
    return recorders->state[i] && call;
}

/* Settings ------------------------------------------------------------------------------------- */

const char *cairn_run_setting(const cairn_run *run, const char *name) {
    for (size_t i = 0; i < run->setting_count; i++)
        if (strcmp(run->settings[i].name, name) == 0)
            return run->settings[i].text;
    assert(false); /* it is none of the schema */
    return "";
}

int64_t cairn_run_integer(const cairn_run *run, const char *name) {
    return strtoll(cairn_run_setting(run, name), NULL, 10);
}

bool cairn_run_enabled(const cairn_run *run, const char *name) {
    return strcmp(cairn_run_setting(run, name), "true") == 0;
}

/* Names ---------------------------------------------------------------------------------------- */

/* The next name of a list with blanks between; how long it is, 0: there is none. */
static size_t next_name(const char **at) {
    *at += strspn(*at, " ");
    return strcspn(*at, " ");
}

static bool is_name(const char *name, const char *text, size_t length) {
    return name && strncmp(name, text, length) == 0 && name[length] == '\0';
}

/* Whether run.recorders has it, where that has to. */
static bool is_named(const cairn_run *run, const cairn_recorder *recorder) {
    const char *at = recorder->name ? cairn_run_setting(run, "run.recorders") : "";
    bool named = !recorder->name;
    for (size_t length; (length = next_name(&at)); at += length)
        named = named || is_name(recorder->name, at, length);
    return named;
}

static cairn_status check_names(const cairn_run *run) {
    const char *at = cairn_run_setting(run, "run.recorders");
    for (size_t length; (length = next_name(&at)); at += length) {
        char names[512] = "none";
        bool known = is_name(names, at, length);
        for (int i = 0; i < COUNT; i++) {
            size_t used = strlen(names);
            known = known || is_name(table[i]->name, at, length);
            if (table[i]->name)
                snprintf(names + used, sizeof names - used, ", %s", table[i]->name);
        }
        if (!known)
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "run.recorders: there is no recorder '%.*s'; names: %s",
                                   (int)length, at, names);
    }
    return CAIRN_OK;
}

/* From the beginning to the end ---------------------------------------------------------------- */

cairn_status cairn_recorders_check(const cairn_run *run) {
    cairn_status status = check_names(run);
    for (int i = 0; i < COUNT && !status; i++)
        if (table[i]->check)
            status = table[i]->check(run);
    return status;
}

cairn_status cairn_recorders_open(cairn_recorders **made, const cairn_run *run) {
    cairn_status status = CAIRN_OK;
    cairn_recorders *recorders = calloc(1, sizeof *recorders);
    if (!recorders)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the recorders");
    for (int i = 0; i < COUNT && !status; i++)
        if (is_named(run, table[i]))
            status = table[i]->open(&recorders->state[i], run, &recorders->request[i]);
    *made = recorders;
    return status;
}

cairn_status cairn_recorders_begin(cairn_recorders *recorders, const cairn_snapshot *at) {
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < COUNT && !status; i++)
        if (has(recorders, i, table[i]->begin))
            status = table[i]->begin(recorders->state[i], at);
    return status;
}

cairn_status cairn_recorders_sync(cairn_recorders *recorders) {
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < COUNT && !status; i++)
        if (has(recorders, i, table[i]->sync))
            status = table[i]->sync(recorders->state[i]);
    return status;
}

cairn_status cairn_recorders_model(cairn_recorders *recorders) {
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < COUNT && recorders && !status; i++)
        if (has(recorders, i, table[i]->model))
            status = table[i]->model(recorders->state[i]);
    return status;
}

void cairn_recorders_phase(cairn_recorders *recorders, const char *name, double begin) {
    double end = cairn_clock_now();
    for (int i = 0; i < COUNT && recorders; i++)
        if (has(recorders, i, table[i]->phase))
            table[i]->phase(recorders->state[i], name, begin, end);
}

void cairn_recorders_note(cairn_recorders *recorders, const char *format, ...) {
    char text[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (int i = 0; i < COUNT && recorders; i++)
        if (has(recorders, i, table[i]->note))
            table[i]->note(recorders->state[i], text);
}

cairn_status cairn_recorders_close(cairn_recorders *recorders) {
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < COUNT && recorders; i++)
        if (has(recorders, i, table[i]->close)) {
            cairn_status closed = table[i]->close(recorders->state[i]);
            status = status ? status : closed;
        }
    free(recorders);
    return status;
}

/* What each asked for -------------------------------------------------------------------------- */

static bool is_due(int64_t every, int64_t count) {
    return every > 0 && count % every == 0;
}

static cairn_record_due due_step(const cairn_record_request *request, uint32_t place,
                                 int64_t step) {
    return (cairn_record_due){.means = is_due(request->means_every_steps, step),
                              .parts = place < request->parts_of_steps};
}

static cairn_record_due due_epoch(const cairn_record_request *request, size_t epoch) {
    return (cairn_record_due){.tensors = is_due(request->tensors_every_epochs, (int64_t)epoch),
                              .logits = is_due(request->logits_every_epochs, (int64_t)epoch),
                              .last_logits = request->last_logits,
                              .provenance = request->provenance};
}

cairn_record_due cairn_recorders_due_step(const cairn_recorders *recorders, uint32_t place,
                                          int64_t step) {
    cairn_record_due all = {0};
    for (int i = 0; i < COUNT; i++) {
        cairn_record_due due = due_step(&recorders->request[i], place, step);
        all.means = all.means || due.means;
        all.parts = all.parts || due.parts;
    }
    return all;
}

cairn_record_due cairn_recorders_due_epoch(const cairn_recorders *recorders, size_t epoch) {
    cairn_record_due all = {0};
    for (int i = 0; i < COUNT; i++) {
        cairn_record_due due = due_epoch(&recorders->request[i], epoch);
        all.tensors = all.tensors || due.tensors;
        all.logits = all.logits || due.logits;
        all.last_logits = all.last_logits || due.last_logits;
        all.provenance = all.provenance || due.provenance;
    }
    return all;
}

cairn_status cairn_recorders_step(cairn_recorders *recorders, const cairn_step_record *step,
                                  uint32_t place) {
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < COUNT && !status; i++) {
        cairn_record_due due = due_step(&recorders->request[i], place, step->step);
        cairn_step_record own = *step;
        if (!has(recorders, i, table[i]->step))
            continue;
        own.means = due.means ? own.means : NULL;
        own.parts = due.parts ? own.parts : NULL;
        status = table[i]->step(recorders->state[i], &own);
    }
    return status;
}

cairn_status cairn_recorders_epoch(cairn_recorders *recorders, const cairn_snapshot *at,
                                   bool before_checkpoint) {
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < COUNT && !status; i++) {
        cairn_record_due due = due_epoch(&recorders->request[i], at->epochs);
        cairn_snapshot own = *at;
        if (!has(recorders, i, table[i]->epoch) || table[i]->before_checkpoint != before_checkpoint)
            continue;
        own.tensors = due.tensors ? own.tensors : NULL;
        own.logits = due.logits ? own.logits : NULL;
        status = table[i]->epoch(recorders->state[i], &own);
    }
    return status;
}

cairn_status cairn_recorders_finish(cairn_recorders *recorders, const cairn_snapshot *at) {
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < COUNT && !status; i++) {
        cairn_snapshot own = *at;
        if (!has(recorders, i, table[i]->finish))
            continue;
        own.logits = recorders->request[i].last_logits ? own.logits : NULL;
        status = table[i]->finish(recorders->state[i], &own);
    }
    return status;
}

/* An earlier run's files ----------------------------------------------------------------------- */

/* Removes the file, and the folders between `folder` and it that are empty then. */
static cairn_status remove_file(const char *folder, char *path) {
    if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot remove the earlier run's file: %s", path,
                               strerror(errno));
    for (char *slash; (slash = strrchr(path, '/')) && slash > path + strlen(folder);) {
        *slash = '\0';
        if (rmdir(path) != 0 && errno != ENOENT)
            break; /* it holds anything else */
    }
    return CAIRN_OK;
}

static cairn_status remove_matching(const char *folder, const char *pattern) {
    char path[PATH_MAX];
    cairn_status status = CAIRN_OK;
    DIR *entries = opendir(folder);
    if (!entries)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot open: %s", folder, strerror(errno));
    for (struct dirent *entry; !status && (entry = readdir(entries));) {
        if (fnmatch(pattern, entry->d_name, 0) != 0)
            continue;
        status = cairn_path_format(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (!status)
            status = remove_file(folder, path);
    }
    closedir(entries);
    return status;
}

/* Whether a folder between `folder` and the file at `path` is a link: it would lead out of the run
 * folder, and what lies there is another's. */
static bool leads_out(const char *folder, const char *path) {
    char part[PATH_MAX];
    struct stat info;
    for (const char *slash = path + strlen(folder); (slash = strchr(slash + 1, '/'));) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (lstat(part, &info) == 0 && S_ISLNK(info.st_mode))
            return true;
    }
    return false;
}

static cairn_status clear(const char *folder, const char *name, bool all) {
    char path[PATH_MAX];
    if (strchr(name, '*')) /* never half-written */
        return all ? remove_matching(folder, name) : CAIRN_OK;
    cairn_status status = cairn_path_format(path, sizeof path, "%s/%s", folder, name);
    if (status || leads_out(folder, path))
        return status;
    cairn_file_sweep(path);
    return all ? remove_file(folder, path) : CAIRN_OK;
}

cairn_status cairn_recorders_clear(const char *folder, bool all) {
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < COUNT; i++)
        for (const char *const *name = table[i]->files; name && *name && !status; name++)
            status = clear(folder, *name, all);
    return status;
}
