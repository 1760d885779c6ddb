/* The experiment: from a configuration to a run folder. */
#ifndef CAIRN_EXPERIMENT_H
#define CAIRN_EXPERIMENT_H

#include "cairn/config.h"
#include "cairn/status.h"

#include <signal.h>
#include <stdbool.h>

typedef struct {
    const char *run_dir; /* NULL: <run.out_dir>/<run.name>, or that with a number */
    bool resume;         /* go on from the folder's checkpoint; without one, start */
    bool overwrite;      /* replace whatever run the folder holds */
    bool quiet;
    bool dvclive; /* for DVC to follow: DVCLive's files in dvclive/, the summary as it goes */
    const char *profile; /* NULL, or the path of a trace of the run's time (cairn/trace.h), ... */
    int profile_steps;   /* ... with so many of the first steps of each epoch */
    const volatile sig_atomic_t *stop; /* becomes non-zero to stop after the current step */
} cairn_experiment_options;

/* Trains, evaluating after every epoch, and writes the run folder:
 *   params.yaml metrics.json summary.json model.safetensors checkpoint.safetensors
 *   checkpoint.previous.safetensors predictions.csv confusion.csv
 * While it runs it holds a lock on the folder, and brings the files up to date at an epoch's end
 * where that takes no more than a twentieth of the time. Told neither to resume nor to overwrite, a
 * run keeps what it finds: a run_dir that holds a run is refused (CAIRN_BAD_INPUT); without one the
 * first of <run.name>, <run.name>-2, <run.name>-3, ... that holds none is taken. To resume another
 * configuration's run is refused, but that more epochs may be asked where the schedule does not
 * depend on their number. CAIRN_INTERRUPTED after a stop, with the checkpoint saved. */
cairn_status cairn_experiment_run(const cairn_config *config,
                                  const cairn_experiment_options *options);

#endif
