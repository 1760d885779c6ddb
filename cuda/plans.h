/* The executor's plans, made when they are first wanted. */
#ifndef CAIRN_CUDA_PLANS_H
#define CAIRN_CUDA_PLANS_H

#include "cuda_plan.h"

/* The plan for that many samples: an earlier one, or a new one. */
cairn_status cuda_plan_find(cuda_plan **found, cuda_executor *executor, int count,
                            cairn_plan_purpose wished);

#endif
