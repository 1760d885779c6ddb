/* What a step consists of: for people. */
#ifndef CAIRN_CUDA_PROFILE_H
#define CAIRN_CUDA_PROFILE_H

#include "cairn/executor.h"

typedef struct cuda_executor cuda_executor;

/* As executor.h's profile_step has it. Waits. */
cairn_status cuda_profile_step(cuda_executor *executor, const cairn_step *step, cairn_timing *rows,
                               int capacity, int *count);

/* cuDNN's algorithms of a whole batch's training plan, which is the first that was made; and whose
 * pooling it takes, where both were measured. Returns `out`. */
const char *cuda_choices(const cuda_executor *executor, char *out, size_t size);

#endif
