/* The experiment: from a configuration to a run folder. */
#ifndef CAIRN_TRAIN_H
#define CAIRN_TRAIN_H

#include "cairn/config.h"
#include "cairn/executor.h"
#include "cairn/record.h"
#include "cairn/safetensors.h"
#include "cairn/trace.h"

#include <signal.h>

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

/* Writes or reads the executor's parameters as a safetensors file under PyTorch's names. Reading
 * refuses missing, extra (but for checkpoint tensors) and misshapen ones by name. The data set's
 * description (shape, statistics, class names) goes into the file's metadata; NULL: not. */
cairn_status cairn_model_save(cairn_executor *executor, const cairn_dataset *data,
                              const char *path);
cairn_status cairn_model_load(cairn_executor *executor, const char *path);

/* What a model's file says of its data; where it says nothing, what config->data does. The data set
 * has no images; destroy it. */
cairn_status cairn_model_describe(cairn_dataset **data, const cairn_config *config,
                                  const char *path);

/* Prepares a data set for a model: takes over the statistics that it was trained with, and refuses
 * other classes than it knows. Nothing where its file says nothing. */
cairn_status cairn_model_match(cairn_dataset *data, const char *path);

/* Where a run stands; kept in checkpoint.safetensors with parameters and moments. */
typedef struct {
    cairn_config config;
    char data_digest[CAIRN_DIGEST_HEX];
    uint32_t epoch;         /* epochs completed */
    uint32_t step_in_epoch; /* steps done of the next epoch */
    uint32_t step;          /* steps done over the whole run */
    cairn_stats stats;      /* of the epoch begun */
    double seconds, train_seconds;
    int64_t trained_images;
    cairn_epoch_row *rows;     /* [epoch]; owned */
    cairn_metrics metrics;     /* the same as text, to be extended before a save; owned */
    const cairn_dataset *data; /* whose description the file is to carry; NULL: none */
} cairn_checkpoint;

/* `finite`: values that are no numbers are CAIRN_FAILED, and nothing is written. */
cairn_status cairn_checkpoint_save(cairn_executor *executor, const cairn_checkpoint *checkpoint,
                                   const char *path, bool finite);

/* The position, which cairn_checkpoint_free frees, and the file's tensors, unless `tensors` is
 * NULL; after a failure neither. Then those into an executor, which counts on from the position's
 * stats; `path` is for messages. */
cairn_status cairn_checkpoint_read(cairn_checkpoint *checkpoint, cairn_safetensors *tensors,
                                   const char *path);
cairn_status cairn_checkpoint_restore(cairn_executor *executor, const cairn_checkpoint *checkpoint,
                                      const cairn_safetensors *tensors, const char *path);
void cairn_checkpoint_free(cairn_checkpoint *checkpoint);

/* Begins the trace of an executor's work; a path of NULL: none, and it stays NULL. */
cairn_status cairn_profile_open(cairn_trace **trace, const char *path,
                                const cairn_executor *executor);

enum { CAIRN_PROFILE_PARTS = 2048 }; /* of a step, at most; later ones are left out */

/* A training step that the trace shows with its parts, whose times are left in
 * rows[CAIRN_PROFILE_PARTS], how many in *count. The trace may be NULL. */
cairn_status cairn_profile_step(cairn_trace *trace, cairn_executor *executor,
                                const cairn_step *step, cairn_timing *rows, int *count);

/* The name of this machine's processor, or "unknown". */
void cairn_processor_name(char *out, size_t size);

#endif
