/* Inside host/train: what its files share. */
#ifndef CAIRN_HOST_TRAIN_H
#define CAIRN_HOST_TRAIN_H

#include "cairn/file.h"
#include "cairn/safetensors.h"
#include "cairn/train.h"

#include <limits.h>

/* Every tensor of a kind into or out of a file, under <prefix><parameter's name>. */
cairn_status cairn_tensors_add(cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *prefix);
cairn_status cairn_tensors_set(const cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *prefix, const char *path);

/* The paths of a run folder's files. */
typedef struct {
    char folder[PATH_MAX];
    char params[PATH_MAX], metrics[PATH_MAX], summary[PATH_MAX], model[PATH_MAX],
        checkpoint[PATH_MAX], predictions[PATH_MAX], confusion[PATH_MAX];
} cairn_run_folder;

cairn_status cairn_run_folder_name(cairn_run_folder *run, const cairn_config *config,
                                   const char *run_dir);

/* Decides what to do with what the folder holds: `*resume` says whether to go on from `*held`, its
 * checkpoint's position. Refuses to lose another run. Makes and changes nothing. */
cairn_status cairn_run_folder_check(const cairn_run_folder *run, const cairn_config *config,
                                    const cairn_experiment_options *options, cairn_checkpoint *held,
                                    bool *resume);

/* Makes the folder; for a fresh start removes an earlier run's files; writes params.yaml. */
cairn_status cairn_run_folder_begin(const cairn_run_folder *run, const cairn_config *config,
                                    bool fresh);

#endif
