/* Inside host/train: what its files share. */
#ifndef CAIRN_HOST_TRAIN_H
#define CAIRN_HOST_TRAIN_H

#include "cairn/dataset.h"
#include "cairn/file.h"
#include "cairn/lock.h"
#include "cairn/safetensors.h"
#include "cairn/trace.h"
#include "cairn/train.h"

#include <limits.h>
#include <pthread.h>

/* Every tensor of a kind into or out of a file, under <prefix><parameter's name>. */
cairn_status cairn_tensors_add(cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *prefix);
cairn_status cairn_tensors_set(const cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *prefix, const char *path);

/* What cairn_model_save writes, into a file that is empty; after a failure it holds a part. */
cairn_status cairn_model_gather(cairn_safetensors *file, cairn_executor *executor,
                                const cairn_dataset *data);

/* The data set's description into the file's metadata. */
cairn_status cairn_description_add(cairn_safetensors *file, const cairn_dataset *data);

/* The paths of a run folder's files. */
typedef struct {
    char folder[PATH_MAX];
    char params[PATH_MAX], metrics[PATH_MAX], summary[PATH_MAX], model[PATH_MAX],
        checkpoint[PATH_MAX], previous[PATH_MAX], predictions[PATH_MAX], confusion[PATH_MAX];
    char dvclive[PATH_MAX]; /* a folder */
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
    char notice[PATH_MAX + 64]; /* why not from the last checkpoint but the one before; "" */
} cairn_run_start;
void cairn_run_start_free(cairn_run_start *start);

/* Locks the folder, where there is one, and decides what to do with what it holds: a run goes on
 * from the last checkpoint or, where that is missing or damaged, from the one before. Refuses to
 * lose another run. Makes the lock's file and changes nothing. */
cairn_status cairn_run_folder_check(cairn_run_folder *run, const cairn_config *config,
                                    const cairn_experiment_options *options,
                                    cairn_run_start *start);

/* Makes and locks the folder; removes what a killed process left half-written and, for a fresh
 * start, an earlier run's files; writes params.yaml. */
cairn_status cairn_run_folder_begin(cairn_run_folder *run, const cairn_config *config, bool fresh);

/* Before the folder's files are written: CAIRN_FAILED when another folder, or none, has the name
 * that was locked. */
cairn_status cairn_run_folder_in_place(const cairn_run_folder *run);

/* Unlocks it. */
void cairn_run_folder_end(cairn_run_folder *run);

/* The run's event files for TensorBoard; NULL, which every call allows, where they are not wanted.
 * `at` and what it holds are the run's, as long as the board. */
typedef struct cairn_board cairn_board;
/* CAIRN_BAD_INPUT where they are wanted and this build cannot write them. */
cairn_status cairn_board_check(const cairn_config *config);
cairn_status cairn_board_open(cairn_board **board, const cairn_run_folder *folder,
                              const cairn_checkpoint *at, const cairn_dataset *data,
                              cairn_executor *executor);
/* Around a training step; they wait for the device where the step is recorded. */
cairn_status cairn_board_begin_step(cairn_board *board, const cairn_step *step);
cairn_status cairn_board_end_step(cairn_board *board, const cairn_step *step);
/* The last of at->rows, with the learning rate that its epoch began with. */
cairn_status cairn_board_epoch(cairn_board *board, const cairn_checkpoint *at, double rate);
/* Before a checkpoint: what was recorded up to it is not lost with it. */
cairn_status cairn_board_sync(cairn_board *board);
cairn_status cairn_board_finish(cairn_board *board, const cairn_checkpoint *at);
void cairn_board_close(cairn_board *board);

/* Where a run's numbers come from; "" where that cannot be found out. */
typedef struct {
    char data_digest[CAIRN_DIGEST_HEX];
    char revision[CAIRN_DIGEST_HEX];      /* git's, of the repository that the process works in */
    bool dirty;                           /* a tracked file differs from it: not the parameters */
    char binary_digest[CAIRN_DIGEST_HEX]; /* sha256 of this program */
    char plugin_digest[CAIRN_DIGEST_HEX]; /* and of the plugin, where one computes */
    char processor[256];
    char experiment[256]; /* DVC's name for it */
    char note[1024];      /* "<key>: <why it is not known>; ..." */
    char warning[512];    /* why not a repository's revision, though there is one; "" */
    /* Of the search. */
    const cairn_dataset *data;
    pthread_t thread;
    bool threaded, ended;
    cairn_status status;
    char message[256];
} cairn_provenance;

/* git's revision of the repository that the process works in, and whether a tracked file differs
 * from it; runs no program that the repository names, and takes some seconds at most. No
 * repository, and no git, are CAIRN_BAD_INPUT. */
cairn_status cairn_git_look(char revision[CAIRN_DIGEST_HEX], bool *dirty);

/* Finds it out beside the caller's work. The end, which has to come and may come again, waits for
 * it; the executor says whether a plugin computes, NULL: nobody wants to know any more. */
void cairn_provenance_begin(cairn_provenance *found, const cairn_dataset *data);
cairn_status cairn_provenance_end(cairn_provenance *found, const cairn_executor *executor);

#endif
