/* The executor's passes over data, on its device, which is the calling thread's. */
#ifndef CAIRN_CUDA_PASSES_H
#define CAIRN_CUDA_PASSES_H

#include "cairn/executor.h"

typedef struct cuda_executor cuda_executor;

/* The step's micro-batches from sample `first` up to `last`. */
cairn_status cuda_train(cuda_executor *executor, const cairn_step *step, int first, int last);

/* Tells the device of the step's micro-batch that begins at sample `first`; a launch and
 * ring_commit are to follow. */
cairn_status cuda_fill_slot(cuda_executor *executor, const cairn_step *step, int first);

/* Forward over a range in batches, into the stats and, where it is not NULL, into `logits`. */
cairn_status cuda_infer(cuda_executor *executor, cairn_split_id id, int first, int count,
                        float *logits);

#endif
