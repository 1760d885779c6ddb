/* What several layers do when they compile themselves. */
#include "cuda_layers.h"

#include "cuda_executor.h"

static cairn_status run_bias_gradient(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    kernel_bias_gradient(plan->executor->stream, task->in.shape, task->in.data, stage->chosen,
                         cuda_plan_workspace(plan),
                         cuda_plan_parameter(plan, CAIRN_GRADIENT, stage->layer->bias));
    return CAIRN_OK;
}

cairn_status cuda_plan_add_bias_gradient(cuda_plan *plan, const cuda_stage *stage,
                                         const activation *gradient) {
    if (!cairn_graph_trains(&plan->graph, stage->layer->bias))
        return CAIRN_OK;
    cuda_plan_want_workspace(plan, kernel_bias_gradient_scratch(gradient->shape));
    return cuda_plan_add(plan, stage, "bias gradient", run_bias_gradient, gradient, NULL)
               ? CAIRN_OK
               : CAIRN_FAILED;
}

cairn_status cuda_plan_take_other(cuda_plan *plan, cuda_stage *stage, const cairn_op *add,
                                  int other) {
    stage->add = add;
    stage->other = cuda_plan_node(plan, other)->value;
    const cuda_tensor *a = &stage->src.shape, *b = &stage->other.shape;
    if (a->pitch == b->pitch && a->h == b->h && a->w == b->w)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_FAILED,
                           "%s: the cuda backend cannot add features to a map that was flattened",
                           add->name);
}
