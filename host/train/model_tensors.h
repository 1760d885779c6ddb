/* Parts of a model's and a checkpoint's file. */
#ifndef CAIRN_TRAIN_MODEL_TENSORS_H
#define CAIRN_TRAIN_MODEL_TENSORS_H

#include "cairn/dataset.h"
#include "cairn/executor.h"
#include "cairn/safetensors.h"

/* Every tensor of a kind into a file, its name behind `prefix`, or out of one. */
cairn_status cairn_tensors_add(cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *prefix);
cairn_status cairn_tensors_set(const cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *path);

/* What cairn_model_save writes, into a file that is empty; after a failure it holds a part. */
cairn_status cairn_model_gather(cairn_safetensors *file, cairn_executor *executor,
                                const cairn_dataset *data);

/* The data set's description into the file's metadata. */
cairn_status cairn_description_add(cairn_safetensors *file, const cairn_dataset *data);

#endif
