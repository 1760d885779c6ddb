/* Checkpoints: where a run stands, with its parameters and the optimiser's state. */
#ifndef CAIRN_CHECKPOINT_H
#define CAIRN_CHECKPOINT_H

#include "cairn/config.h"
#include "cairn/dataset.h"
#include "cairn/executor.h"
#include "cairn/metrics.h"
#include "cairn/safetensors.h"

/* What computes, as far as the last digits depend on it: backend, device, precision, threads,
 * loops. */
enum { CAIRN_COMPUTED_BY_MAX = 1024 };
char *cairn_computed_by(const cairn_executor *executor, char *out, size_t size);

typedef struct {
    cairn_config config;
    char data_digest[CAIRN_DIGEST_HEX];
    uint32_t epoch;         /* epochs completed */
    uint32_t step_in_epoch; /* steps done of the next epoch */
    uint32_t step;          /* steps done over the whole run */
    cairn_stats stats;      /* of the epoch begun */
    double seconds, train_seconds;
    int64_t trained_images;
    char computed_by[CAIRN_COMPUTED_BY_MAX]; /* what took it there; "" in older files */
    cairn_epoch_row *rows;                   /* [epoch]; owned */
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

#endif
