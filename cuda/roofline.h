/* What the device can do at best, measured. */
#ifndef CAIRN_CUDA_ROOFLINE_H
#define CAIRN_CUDA_ROOFLINE_H

#include "cairn/status.h"

typedef struct cuda_executor cuda_executor;

/* Operations a second of a large product in the executor's precision, and bytes a second of a copy,
 * read and written. Waits. */
cairn_status roofline_measure(cuda_executor *executor, double *flops, double *bytes);

#endif
