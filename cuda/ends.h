/* Both ends of a plan's passes. */
#ifndef CAIRN_CUDA_ENDS_H
#define CAIRN_CUDA_ENDS_H

#include "cairn/status.h"

typedef struct cuda_plan cuda_plan;

/* Appends the gathering of the batch, which is the value of CAIRN_NET_INPUT. */
cairn_status cuda_plan_add_batch(cuda_plan *plan);

/* Appends what makes logits of the last op's output, and the loss; in training, gives that output
 * its gradient. */
cairn_status cuda_plan_add_loss(cuda_plan *plan);

#endif
