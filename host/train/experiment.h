/* A run as experiment.c, which trains, and results.c, which writes, share it. */
#ifndef CAIRN_HOST_TRAIN_EXPERIMENT_H
#define CAIRN_HOST_TRAIN_EXPERIMENT_H

#include "train.h"

#include "cairn/session.h"

/* How long it took to write something, and when that was. */
typedef struct {
    double took, ended;
} cairn_pace;

typedef struct {
    const cairn_config *config;
    const cairn_experiment_options *options;
    cairn_run_folder folder;
    cairn_session session;
    cairn_terminal *terminal;
    cairn_board *board;
    cairn_trace *trace; /* NULL: not wanted */
    cairn_provenance provenance;
    cairn_checkpoint at; /* where the run stands */
    int32_t *order;      /* of the epoch under way */
    double began;        /* this process's clock when at.seconds was last brought up to date */
    double looked;       /* and when the loss was last looked at */
    bool saved;          /* there is a checkpoint, */
    uint32_t saved_step; /* of this step */
    bool damaged;        /* the run goes on from the checkpoint before: the last cannot be read */
    cairn_pace saving;
    cairn_safetensors best; /* the best model; empty: it is on disk, or there is none yet */
    uint32_t recorded;      /* epochs whose rows this process has written */
    bool nan_noted;
} cairn_experiment;

/* experiment.c --------------------------------------------------------------------------------- */

/* The row with the highest test accuracy, the earliest of equals; NULL before the first epoch. */
const cairn_epoch_row *cairn_experiment_best(const cairn_experiment *run);

uint32_t cairn_experiment_steps_per_epoch(const cairn_experiment *run);

/* The learning rate of a step of an epoch, both from 0. */
double cairn_experiment_rate(const cairn_experiment *run, uint32_t epoch, uint32_t step);

/* A loss that is no number any more: an error, or a word to the user, as train.on_nan has it. */
cairn_status cairn_experiment_check_loss(cairn_experiment *run, const char *which, double loss);

/* Waits for run->provenance, which is searched for while the training begins. */
cairn_status cairn_experiment_settle(cairn_experiment *run);

/* results.c ------------------------------------------------------------------------------------ */

/* Whether checkpoint.every_steps or every_seconds asks for a save at this time. */
bool cairn_results_due(const cairn_experiment *run, double time);

/* The best model, where it is not on disk yet, then the checkpoint, with the one before kept. */
cairn_status cairn_results_save(cairn_experiment *run);

/* An epoch has ended with this row: to TensorBoard at once, to the files the checkpoint when it is
 * time. */
cairn_status cairn_results_epoch(cairn_experiment *run, const cairn_epoch_row *row);

/* The files in which others follow the run: all its rows. Nothing where they have been written. */
cairn_status cairn_results_record(cairn_experiment *run);

/* After a failure: what was done before it and is not on disk yet, as far as that can be written.
 * The failure's message stays. */
void cairn_results_rescue(cairn_experiment *run);

/* The best model's predictions for the test split. */
cairn_status cairn_results_predict(cairn_experiment *run);

/* summary.json. */
cairn_status cairn_results_summarise(cairn_experiment *run, const char *state);

#endif
