/* The end of a training plan, where gradients become new parameters. */
#ifndef CAIRN_CUDA_UPDATE_H
#define CAIRN_CUDA_UPDATE_H

#include "kernels.h"

#include "cairn/executor.h"

#include <stdbool.h>

typedef struct cuda_executor cuda_executor;
typedef struct cuda_plan cuda_plan;

/* Appends what follows the backward pass. */
cairn_status cuda_plan_add_update(cuda_plan *plan);

/* The parameters' groups: numbers them, and says whether the kernels have to tell them apart; fills
 * executor->group_numbers, which waits; and tells a slot what the step does to them. */
cairn_status update_list_groups(cuda_executor *executor);
bool update_tells_groups(const cuda_executor *executor);
cairn_status update_fill_groups(cuda_executor *executor);
void update_fill_slot(const cuda_executor *executor, const cairn_step *step, cuda_slot *slot);

#endif
