/* Stems (loops/stem.h) as tasks of a plan. */
#ifndef CAIRN_BACKEND_CPU_CONV_STEM_H
#define CAIRN_BACKEND_CPU_CONV_STEM_H

#include "cpu_plan.h"

/* Whether a convolution with what is fused into it is one; then its tasks, which set stage->src,
 * ->dst and ->workspace. The weights are row-major and stay where they are, the bias too, NULL for
 * none. */
bool plan_stem(const cpu_plan *plan, const cpu_stage *stage);
cairn_status plan_stem_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                               const float *weights, const float *bias);
cairn_status plan_stem_weight_gradient(cpu_plan *plan, const cpu_stage *stage, const tensor *given);

#endif
