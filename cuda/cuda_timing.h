/* How long work takes the device. */
#ifndef CAIRN_CUDA_TIMING_H
#define CAIRN_CUDA_TIMING_H

#include "cairn/status.h"

typedef struct cuda_executor cuda_executor;

/* What `run` enqueues takes, in seconds: the shortest of some measurements, each of as many runs in
 * a row as tell more of the device than of asking it. Waits. */
cairn_status cuda_best_time(cuda_executor *executor, cairn_status (*run)(const void *context),
                            const void *context, double *seconds);

#endif
