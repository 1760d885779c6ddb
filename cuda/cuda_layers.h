/* The layers, which compile themselves into a plan, and what they share. */
#ifndef CAIRN_CUDA_LAYERS_H
#define CAIRN_CUDA_LAYERS_H

#include "cuda_plan.h"

/* Forward: reads stage->src, sets stage->dst; `*taken` ops of the net went into the stage.
 * Backward: `given` is the gradient of stage->dst; gives the stage's inputs theirs. */
typedef struct {
    cairn_status (*forward)(cuda_plan *plan, cuda_stage *stage, int *taken);
    cairn_status (*backward)(cuda_plan *plan, cuda_stage *stage, const activation *given);
    void (*release)(cuda_stage *stage); /* descriptors; NULL: it has none */
} layer_compiler;

extern const layer_compiler cuda_compile_conv2d, cuda_compile_relu, cuda_compile_maxpool,
    cuda_compile_flatten, cuda_compile_linear, cuda_compile_dropout, cuda_compile_batchnorm,
    cuda_compile_add, cuda_compile_avgpool, cuda_compile_activation;

/* Appends the sum of a gradient over samples and places, which is a bias's gradient, where there is
 * a bias that is trained; only over elements that stage->chosen marks, where it is not NULL. */
cairn_status cuda_plan_add_bias_gradient(cuda_plan *plan, const cuda_stage *stage,
                                         const activation *gradient);

/* Sets stage->add and stage->other, for adding op `other` to what has the shape of stage->src;
 * refuses summands that lie differently in memory. */
cairn_status cuda_plan_take_other(cuda_plan *plan, cuda_stage *stage, const cairn_op *add,
                                  int other);

#endif
