/* The layers, which compile themselves into a plan. */
#ifndef CAIRN_BACKEND_CPU_LAYERS_H
#define CAIRN_BACKEND_CPU_LAYERS_H

#include "cpu_plan.h"

/* Forward: reads `given`, sets stage->dst; `*taken` ops of the net went into the stage. Backward:
 * `given` is the gradient of stage->dst; sets `*made`, the gradient of the stage's input or inputs
 * (where that is wanted). */
typedef struct {
    cairn_status (*forward)(cpu_plan *plan, cpu_stage *stage, const tensor *given, int *taken);
    cairn_status (*backward)(cpu_plan *plan, cpu_stage *stage, const tensor *given, tensor *made);
} layer_compiler;

extern const layer_compiler compile_conv2d, compile_relu, compile_pool, compile_flatten,
    compile_linear, compile_dropout, compile_batchnorm, compile_add, compile_activation;

#endif
