/* The end of a training plan, where gradients become new parameters. */
#ifndef CAIRN_CUDA_UPDATE_H
#define CAIRN_CUDA_UPDATE_H

#include "cairn/status.h"

#include <stdbool.h>

typedef struct cuda_executor cuda_executor;
typedef struct cuda_plan cuda_plan;

/* Appends what follows the backward pass. */
cairn_status cuda_plan_add_update(cuda_plan *plan);

/* Whether some parameters are treated unlike others; and fills executor->treatment. Waits. */
bool update_has_treatments(const cuda_executor *executor);
cairn_status update_fill_treatments(cuda_executor *executor);

#endif
