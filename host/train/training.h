/* A run as the files that train it share it: experiment.c, which calls the others; saving.c and
 * recording.c; and below them progress.c. */
#ifndef CAIRN_TRAIN_TRAINING_H
#define CAIRN_TRAIN_TRAINING_H

#include "run_folder.h"

#include "cairn/provenance.h"
#include "cairn/record.h"
#include "cairn/session.h"

/* How long it took to write something, and when that ended: cairn_clock_now's seconds. */
typedef struct {
    double took, ended;
} cairn_duration;

/* What recorders are told of the run, and the texts that this points to. */
typedef struct {
    cairn_run run;
    cairn_setting *settings;
    char (*texts)[CAIRN_TEXT_MAX]; /* of the settings */
    char device[256];
    char config_digest[CAIRN_DIGEST_HEX];
} cairn_run_description;

typedef struct {
    const cairn_config *config;
    const cairn_experiment_options *options;
    cairn_run_folder folder;
    cairn_session session;
    cairn_provenance provenance;
    cairn_run_description description;
    cairn_recorders *recorders;
    cairn_checkpoint at;   /* where the run stands */
    double *rates;         /* [at.epoch], that the epochs began with */
    int32_t *order;        /* of the epoch under way */
    double began;          /* this process's clock when at.seconds was last brought up to date */
    double loss_read;      /* and when the loss was last looked at, ... */
    cairn_stats seen;      /* ... which was then this, of the epoch under way; or zeros */
    bool saved;            /* there is a checkpoint, */
    uint32_t saved_step;   /* of this step */
    bool damaged;          /* the run goes on from the checkpoint before: the last cannot be read */
    cairn_duration saving; /* the last save */
    cairn_safetensors best; /* the best model; empty: it is on disk, or there is none yet */
    uint32_t recorded;      /* epochs that were recorded after their checkpoint */
    bool nan_noted, high_noted;
} cairn_experiment;

/* progress.c: what follows from where a run stands -----------------------------------------------
 */

/* The row with the highest test accuracy, the earliest of equals; NULL before the first epoch. */
const cairn_epoch_row *cairn_progress_best(const cairn_experiment *run);

/* Of a whole step: some batches, at most the epoch. */
int cairn_progress_samples_per_step(const cairn_experiment *run);

/* The learning rate of a step of an epoch, both from 0. */
double cairn_progress_rate(const cairn_experiment *run, uint32_t epoch, uint32_t step);

/* One epoch more; and what goes with the rows that are there: their text and rates. */
cairn_status cairn_progress_add(cairn_experiment *run, const cairn_epoch_row *row);
cairn_status cairn_progress_complete(cairn_experiment *run, uint32_t from);

/* No loss is below 0, so that a sign can only be a NaN's, which printf would show. */
double cairn_progress_mean_loss(const cairn_stats *stats);

/* A loss that is no number any more: an error, or a word to the user, as train.on_nan has it. One
 * that is far too high: a word, once. */
cairn_status cairn_progress_check_loss(cairn_experiment *run, const char *which, double loss);

/* A word to the user where the warm-up is longer than the run. */
void cairn_progress_note_warmup(const cairn_experiment *run);

/* Waits for run->provenance, which is searched for while the training begins. */
cairn_status cairn_progress_await_provenance(cairn_experiment *run);

/* saving.c: when checkpoints and models are written ---------------------------------------------
 */

/* Whether checkpoint.every_steps or every_seconds asks for a save at this time; or, after an epoch,
 * the twentieth of the time that saves may take. */
bool cairn_saving_is_due(const cairn_experiment *run, double time);
bool cairn_saving_is_due_after_epoch(const cairn_experiment *run);

/* The best model, where it is not on disk yet, then the checkpoint, with the one before kept. */
cairn_status cairn_saving_save(cairn_experiment *run);

/* The model, which is the best so far, waits in memory for the next save, or is written. */
cairn_status cairn_saving_take_best(cairn_experiment *run);
cairn_status cairn_saving_write_best(cairn_experiment *run);

/* recording.c: what recorders are told -----------------------------------------------------------
 */

/* What was asked for, and whether recorders can do that; then what is known of the session, with
 * which they are opened. The folder is there after that; at the end all is freed. */
cairn_status cairn_recording_check(cairn_experiment *run);
cairn_status cairn_recording_open(cairn_experiment *run);
cairn_status cairn_recording_begin(cairn_experiment *run);
cairn_status cairn_recording_close(cairn_experiment *run);

/* Trains a step, measured as far as recorders want to know it. */
cairn_status cairn_recording_take_step(cairn_experiment *run, const cairn_step *step);

/* An epoch has ended: before its checkpoint, and after that. */
cairn_status cairn_recording_epoch(cairn_experiment *run);
cairn_status cairn_recording_saved(cairn_experiment *run, cairn_run_state state);

/* The run is finished, with the best model's predictions, or interrupted. */
cairn_status cairn_recording_finish(cairn_experiment *run, cairn_run_state state);

#endif
