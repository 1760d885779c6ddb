/* Convolutions by Winograd's method (loops/winograd.h) as tasks of a plan. */
#ifndef CAIRN_BACKEND_CPU_CONV_WINOGRAD_H
#define CAIRN_BACKEND_CPU_CONV_WINOGRAD_H

#include "cpu_plan.h"

/* Whether a layer is one; then its tasks, whose tensors lie in blocks. Forward goes from stage->src
 * to stage->made, by row-major weights and a bias, NULL for none, that stay where they are; the
 * data gradient is a new tensor. */
bool plan_winograd(const cpu_plan *plan, const cairn_op *layer);
cairn_status plan_winograd_forward(cpu_plan *plan, const cpu_stage *stage, const float *weights,
                                   const float *bias);
cairn_status plan_winograd_data_gradient(cpu_plan *plan, const cairn_op *layer,
                                         const tensor *gradient, tensor *made);
cairn_status plan_winograd_weight_gradient(cpu_plan *plan, const cpu_stage *stage,
                                           const tensor *gradient);

#endif
