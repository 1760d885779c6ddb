/* A model's file: its parameters under PyTorch's names, and what it knows of its data. */
#ifndef CAIRN_MODEL_FILE_H
#define CAIRN_MODEL_FILE_H

#include "cairn/config.h"
#include "cairn/dataset.h"
#include "cairn/executor.h"

/* Writes or reads the executor's parameters as a safetensors file. Reading refuses missing, extra
 * (but for checkpoint tensors) and misshapen ones by name. The data set's description (shape,
 * statistics, class names) goes into the file's metadata; NULL: not. */
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

#endif
