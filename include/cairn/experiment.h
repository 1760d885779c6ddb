/* The experiment: from a configuration to a run folder. */
#ifndef CAIRN_EXPERIMENT_H
#define CAIRN_EXPERIMENT_H

#include "cairn/config.h"
#include "cairn/status.h"

#include <signal.h>
#include <stdbool.h>

typedef struct {
    const char *run_dir; /* NULL: <run.out_dir>/<run.name> */
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
 * where that takes no more than a twentieth of the time. A folder that holds an unfinished run is
 * refused (CAIRN_BAD_INPUT) unless told to resume or overwrite, one that holds another
 * configuration's run unless told to overwrite. A run may be resumed with more epochs where its
 * schedule does not depend on their number. A finished run of the same configuration is trained
 * again. CAIRN_INTERRUPTED after a stop, with the checkpoint saved. */
cairn_status cairn_experiment_run(const cairn_config *config,
                                  const cairn_experiment_options *options);

#endif
