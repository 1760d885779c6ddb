/* The run folder: its files' names, and the rules that keep one run from overwriting another. */
#ifndef CAIRN_TRAIN_RUN_FOLDER_H
#define CAIRN_TRAIN_RUN_FOLDER_H

#include "cairn/checkpoint.h"
#include "cairn/experiment.h"
#include "cairn/lock.h"

#include <limits.h>

/* The paths of the files that the experiment itself reads or writes. */
typedef struct {
    char folder[PATH_MAX];
    char params[PATH_MAX], metrics[PATH_MAX], model[PATH_MAX], checkpoint[PATH_MAX],
        previous[PATH_MAX];
    const char *name; /* of the run, for its records */
    bool made;        /* the folder was not there before, and nothing is written */
    cairn_lock lock;
    int place; /* the folder that was locked, open; plus one; 0: none */
} cairn_run_folder;

cairn_status cairn_run_folder_name(cairn_run_folder *run, const cairn_config *config,
                                   const char *run_dir);

/* Where a run starts. Begins zeroed; cairn_run_start_free frees it, after a failure too. */
typedef struct {
    const char *from; /* the checkpoint that it goes on from; NULL: from the beginning */
    cairn_checkpoint at;
    cairn_safetensors tensors;
    char elsewhere[CAIRN_COMPUTED_BY_MAX]; /* what computed so far, where that is another; "" */
    /* Why not from the last checkpoint but the one before; or, of a new run, what keeps it from the
     * folder that was asked for; "". */
    char notice[PATH_MAX + 128];
} cairn_run_start;
void cairn_run_start_free(cairn_run_start *start);

/* For a folder that was given, or a run that is resumed or replaced: locks the folder, where there
 * is one, and decides what to do with what it holds: a run goes on from the last checkpoint or,
 * where that is missing or damaged, from the one before. Refuses to lose another run. Makes the
 * lock's file and changes nothing. */
cairn_status cairn_run_folder_check(cairn_run_folder *run, const cairn_config *config,
                                    const cairn_experiment_options *options,
                                    cairn_run_start *start);

/* For any other run: makes and locks the first folder that holds no run, <run.name> or <run.name>-2
 * or -3 and so on. Of runs that begin at once each gets its own. */
cairn_status cairn_run_folder_take(cairn_run_folder *run, const cairn_config *config,
                                   const cairn_experiment_options *options, cairn_run_start *start);

/* Makes and locks the folder; removes what a killed process left half-written and, for a fresh
 * start, an earlier run's files; writes params.yaml. */
cairn_status cairn_run_folder_begin(cairn_run_folder *run, const cairn_config *config, bool fresh);

/* Before the folder's files are written: CAIRN_FAILED when another folder, or none, has the name
 * that was locked. */
cairn_status cairn_run_folder_in_place(const cairn_run_folder *run);

/* Unlocks it; removes it where this run made it and wrote nothing. */
void cairn_run_folder_end(cairn_run_folder *run);

#endif
