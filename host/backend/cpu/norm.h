/* Batch normalisation's parts for other layers. */
#ifndef CAIRN_BACKEND_CPU_NORM_H
#define CAIRN_BACKEND_CPU_NORM_H

#include "cpu_plan.h"

/* In a plan for evaluation: makes stage->layer's weights with stage->norm folded in, refreshed
 * after every change, in row-major order, and the bias. */
cairn_status plan_fold(cpu_plan *plan, const cpu_stage *stage, float **weights, float **bias);

/* Appends the gradient of a convolution's bias alone: stage->made is its output, `given` the
 * gradient of that or, where stage->gelu, of the GELU's output; both lie as plan_block knows. */
cairn_status plan_bias_gradient(cpu_plan *plan, const cpu_stage *stage, const tensor *given);

#endif
