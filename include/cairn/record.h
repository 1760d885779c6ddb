/* Recorders: what a run shows while it goes, and what it leaves for others to read.
 *
 * A recorder is one file in host/record/ and one line of the table in host/record/recorders.c. It
 * knows a run by the plain structs below and nothing else; what it needs beyond numbers it asks for
 * once, when it is opened, and finds in the snapshots. Files are written atomically, and hold no
 * times but where a field's name says so: the same run gives the same bytes. */
#ifndef CAIRN_RECORD_H
#define CAIRN_RECORD_H

#include "cairn/metrics.h"
#include "cairn/safetensors.h"
#include "cairn/split.h"
#include "cairn/status.h"
#include "cairn/timing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What recorders are told -----------------------------------------------------------------------
 */

/* A key of the configuration with its value: "train.lr", "0.001". */
typedef struct {
    const char *name, *text;
    bool number;
    bool idle; /* changes nothing that the run computes */
} cairn_setting;

/* A run, as far as it stays the same. It outlives the recorders, with all that it points to. */
typedef struct {
    /* What was asked for, known from the beginning. */
    const cairn_setting *settings;
    size_t setting_count;
    bool quiet;
    bool dvclive;        /* DVC follows the run */
    const char *trace;   /* where to write one; NULL: none is wanted */
    int64_t trace_steps; /* how many steps of each epoch are shown by their parts */
    /* Known when recorders are opened. */
    const char *name;   /* the run's: run.name, or its folder's where that is numbered */
    const char *folder; /* the run's; it may not be there before `begin` */
    const char *config_digest;
    const char *device, *device_description, *precision;
    int threads;
    int64_t parameters; /* of the model */
    const char *data;   /* the data set's name */
    int64_t train_count;
    cairn_split test;        /* what is evaluated: `held_out` training images or the test split */
    char *const *test_files; /* [test.count]; NULL: images have no files */
    bool held_out;
    int classes;
    const cairn_class_name *class_names; /* [classes] */
} cairn_run;

/* The value of the configuration's key of that name, which must exist: as text; as a whole number;
 * and whether it is "true". */
const char *cairn_run_setting(const cairn_run *run, const char *name);
int64_t cairn_run_integer(const cairn_run *run, const char *name);
bool cairn_run_enabled(const cairn_run *run, const char *name);

/* What a recorder wants to find in snapshots; zeros: nothing. Intervals count over the whole run,
 * and 0 is never. */
typedef struct {
    int64_t means_every_steps;    /* a step's means */
    int64_t parts_of_steps;       /* the parts of so many steps of each epoch, the first ones */
    int64_t tensors_every_epochs; /* weights and gradients */
    int64_t logits_every_epochs;  /* the logits of `test` */
    bool last_logits;             /* those of the best model, in the end */
    bool provenance;              /* from the beginning, not only from the first checkpoint on */
} cairn_record_request;

/* A step that was taken. */
typedef struct {
    uint32_t epoch;      /* from 1 */
    int64_t step;        /* steps done over the whole run, this one included */
    int count;           /* its samples */
    int64_t seen, total; /* samples of this epoch so far, and in all */
    double lr;
    double begin, end; /* cairn_clock_now's seconds */
    /* Means over this epoch, as they were when last looked at: loss, accuracy. NULL: not yet. */
    const double *so_far;
    /* What the recorder asked for; NULL where it is not due. */
    const double *means; /* loss, accuracy */
    const cairn_timing *parts;
    int part_count;
} cairn_step_record;

/* Where a run's numbers come from; NULL or "" where that is not known, or not yet. */
typedef struct {
    const char *data_digest, *git_revision, *binary_digest, *plugin_digest, *processor, *experiment;
    const char *note; /* why one of those is not known */
    bool git_dirty;
} cairn_origin;

/* Failed: something went wrong, and what was done before is recorded as far as that can be. */
typedef enum {
    CAIRN_RUN_GOES_ON,
    CAIRN_RUN_FAILED,
    CAIRN_RUN_INTERRUPTED,
    CAIRN_RUN_FINISHED
} cairn_run_state;

/* Where a run stands after some epochs. */
typedef struct {
    cairn_run_state state;
    size_t epochs;               /* done */
    const cairn_epoch_row *rows; /* [epochs] */
    const double *rates;         /* [epochs], the learning rates that they began with */
    const cairn_epoch_row *best; /* highest test_acc, the earliest of equals; NULL before the first
                                    epoch */
    const char *metrics;         /* the rows as text: cairn_metrics */
    int64_t step;                /* steps done */
    double seconds;              /* training and evaluation, this process and those resumed */
    double train_seconds;        /* training passes only, over ... */
    int64_t trained_images;      /* ... so many samples */
    cairn_origin origin;
    /* What the recorder asked for; NULL where it is not due. */
    const cairn_safetensors *tensors; /* "weights/<name>", and of what is trained "gradients/<name>"
                                         of the last step */
    const float *logits;              /* [test.count, classes] */
} cairn_snapshot;

/* What a recorder is -----------------------------------------------------------------------------
 */

/* Every entry may be NULL but `open`. A failure ends the run. */
typedef struct {
    /* NULL: there is always one, as far as it does not say itself that it is not wanted. Else it is
     * there where run.recorders names it. */
    const char *name;
    /* What it leaves in the run folder, ended by NULL; a file's name may be a pattern, as in the
     * shell. A fresh run removes an earlier run's. */
    const char *const *files;
    /* Its `epoch` comes before the checkpoint of the same step and not after it: for files that
     * grow, where a resumed run makes void what they hold beyond the checkpoint. */
    bool before_checkpoint;
    /* Whether it can do what is asked. Nothing has been made or read yet. */
    cairn_status (*check)(const cairn_run *run);
    /* `*state` is given to all calls below; left NULL, none of them comes: it is not wanted. Makes
     * nothing in the run folder, which may hold another run. */
    cairn_status (*open)(void **state, const cairn_run *run, cairn_record_request *request);
    /* The folder is there, and the run's own. at->epochs were done before. */
    cairn_status (*begin)(void *state, const cairn_snapshot *at);
    cairn_status (*step)(void *state, const cairn_step_record *step);
    /* at->epochs have ended; the last of them may not have been told before. */
    cairn_status (*epoch)(void *state, const cairn_snapshot *at);
    /* A checkpoint comes: what was recorded up to it must not be lost with it. */
    cairn_status (*sync)(void *state);
    /* A better model is about to be written: what was made of the one before is void. */
    cairn_status (*model)(void *state);
    /* The run is finished, or interrupted; not called after a failure. */
    cairn_status (*finish)(void *state, const cairn_snapshot *at);
    /* What the run did from `begin` to `end`, in cairn_clock_now's seconds. */
    void (*phase)(void *state, const char *name, double begin, double end);
    /* A line for people. */
    void (*note)(void *state, const char *text);
    /* Frees the state. */
    cairn_status (*close)(void *state);
} cairn_recorder;

/* All recorders as one ---------------------------------------------------------------------------
 */

typedef struct cairn_recorders cairn_recorders;

/* In the order of the calls above. A list that is NULL has no recorder. */
cairn_status cairn_recorders_check(const cairn_run *run); /* of names, too */
cairn_status cairn_recorders_open(cairn_recorders **recorders, const cairn_run *run);

/* Removes what recorders' killed processes left half-written in a run folder and, with `all`, their
 * files and the folders that are empty then. */
cairn_status cairn_recorders_clear(const char *folder, bool all);

/* What is due for the step that comes (`place` of its epoch, from 0; `step` over the run, from 1),
 * and after an epoch (from 1): then the caller gathers it, and each recorder sees what it asked
 * for. */
typedef struct {
    bool means, parts, tensors, logits, last_logits, provenance;
} cairn_record_due;
cairn_record_due cairn_recorders_due_step(const cairn_recorders *recorders, uint32_t place,
                                          int64_t step);
cairn_record_due cairn_recorders_due_epoch(const cairn_recorders *recorders, size_t epoch);

cairn_status cairn_recorders_begin(cairn_recorders *recorders, const cairn_snapshot *at);
cairn_status cairn_recorders_step(cairn_recorders *recorders, const cairn_step_record *step,
                                  uint32_t place);
/* To those that come before the checkpoint, or to the others. */
cairn_status cairn_recorders_epoch(cairn_recorders *recorders, const cairn_snapshot *at,
                                   bool before_checkpoint);
cairn_status cairn_recorders_sync(cairn_recorders *recorders);
cairn_status cairn_recorders_model(cairn_recorders *recorders);
cairn_status cairn_recorders_finish(cairn_recorders *recorders, const cairn_snapshot *at);
void cairn_recorders_phase(cairn_recorders *recorders, const char *name, double begin); /* to now */
void cairn_recorders_note(cairn_recorders *recorders, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Of several failures the first. */
cairn_status cairn_recorders_close(cairn_recorders *recorders);

#endif
