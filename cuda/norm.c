/* Batch normalisation by our own kernels, with the sum with another branch and the ReLU or GELU
 * that may follow it: the end of a residual block is one pass over memory. */
#include "cuda_executor.h"
#include "cuda_layers.h"

/* The input as the kernels see it: behind a flattening, each place of the map is a channel. */
static cuda_tensor shape_of(const cuda_stage *stage) {
    cuda_tensor shape = stage->src.shape;
    if (stage->layer->in.h * stage->layer->in.w == 1) {
        shape.c = shape.pitch = (int)tensor_features(shape);
        shape.h = shape.w = 1;
    }
    return shape;
}

/* In training the batch's statistics, in evaluation the running ones. */
static cuda_norm norm_of(const cuda_plan *plan, const cuda_stage *stage) {
    const cairn_op *layer = stage->layer;
    cuda_norm norm = {.mean = cuda_plan_parameter(plan, CAIRN_PARAMETER, layer->mean),
                      .variance = cuda_plan_parameter(plan, CAIRN_PARAMETER, layer->variance),
                      .weight = cuda_plan_parameter(plan, CAIRN_PARAMETER, layer->weight),
                      .bias = cuda_plan_parameter(plan, CAIRN_PARAMETER, layer->bias),
                      .epsilon = layer->epsilon,
                      .momentum = layer->momentum,
                      .activation = stage->activation};
    if (plan->graph.training) {
        norm.mean = stage->statistics;
        norm.variance = stage->statistics + shape_of(stage).pitch;
    }
    return norm;
}

static float *gradient_sums(const cuda_stage *stage) {
    return stage->statistics + 2 * shape_of(stage).pitch;
}

/* A ReLU behind a sum is told by the output, not by the normalised input. */
static bool output_tells(const cuda_stage *stage) {
    return stage->add && stage->activation == CUDA_RELU;
}

/* Forward ---------------------------------------------------------------------------------------*/

static cairn_status run_statistics(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    const cuda_norm norm = norm_of(plan, stage);
    kernel_batchnorm_statistics(plan->executor->stream, &norm, shape_of(stage), task->in.data,
                                cuda_plan_workspace(plan), stage->statistics,
                                stage->statistics + shape_of(stage).pitch,
                                cuda_plan_parameter(plan, CAIRN_PARAMETER, stage->layer->mean),
                                cuda_plan_parameter(plan, CAIRN_PARAMETER, stage->layer->variance));
    return CAIRN_OK;
}

static cairn_status run_forward(const cuda_plan *plan, const cuda_task *task) {
    const cuda_norm norm = norm_of(plan, task->stage);
    kernel_batchnorm(plan->executor->stream, &norm, shape_of(task->stage), task->in.data,
                     task->other, task->out.data);
    return CAIRN_OK;
}

/* How many ops go into this stage. */
static cairn_status fuse(cuda_plan *plan, cuda_stage *stage, int *taken) {
    int last = stage->ordinal;
    const cairn_op *add = cairn_graph_next(&plan->graph, last, CAIRN_OP_ADD);
    if (add) {
        int other = cairn_graph_other(add, last);
        cairn_status status = cuda_plan_take_other(plan, stage, add, other);
        if (status)
            return status;
        last++;
    }
    if (cairn_graph_next(&plan->graph, last, CAIRN_OP_RELU))
        stage->activation = CUDA_RELU;
    else if (!add && cairn_graph_next(&plan->graph, last, CAIRN_OP_GELU))
        stage->activation = CUDA_GELU;
    *taken = last + (stage->activation != CUDA_LINEAR) + 1 - stage->ordinal;
    return CAIRN_OK;
}

static cairn_status forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    static const char *const names[2][3] = {
        {"normalising", "normalising, ReLU", "normalising, GELU"},
        {"normalising, sum", "normalising, sum, ReLU", NULL}};
    const cuda_tensor *shape = &stage->src.shape;
    cairn_status status = fuse(plan, stage, taken);
    if (status)
        return status;
    stage->dst = cuda_plan_output(plan, (cairn_shape){shape->c, shape->h, shape->w});
    if (plan->graph.training) {
        stage->statistics = cuda_plan_keep(plan, 4 * (size_t)shape_of(stage).pitch * sizeof(float));
        cuda_plan_want_workspace(plan, kernel_batchnorm_scratch(shape_of(stage)));
        if (!cuda_plan_add(plan, stage, "statistics", run_statistics, &stage->src, NULL))
            return CAIRN_FAILED;
    }
    cuda_task *added = cuda_plan_add(plan, stage, names[stage->add != NULL][stage->activation],
                                     run_forward, &stage->src, &stage->dst);
    if (!added)
        return CAIRN_FAILED;
    added->other = stage->add ? stage->other.data : NULL;
    return CAIRN_OK;
}

/* Backward --------------------------------------------------------------------------------------*/

static float *wanted_gradient(const cuda_plan *plan, int ordinal) {
    return cairn_graph_trains(&plan->graph, ordinal)
               ? cuda_plan_parameter(plan, CAIRN_GRADIENT, ordinal)
               : NULL;
}

static cairn_status run_sums(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    cuda_norm norm = norm_of(plan, stage);
    if (stage->add)
        norm.activation = CUDA_LINEAR;
    kernel_batchnorm_backward_sums(plan->executor->stream, &norm, shape_of(stage), stage->src.data,
                                   task->in.data, output_tells(stage) ? stage->dst.data : NULL,
                                   task->out.data, cuda_plan_workspace(plan), gradient_sums(stage),
                                   wanted_gradient(plan, stage->layer->weight),
                                   wanted_gradient(plan, stage->layer->bias));
    return CAIRN_OK;
}

static cairn_status run_data(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    cuda_norm norm = norm_of(plan, stage);
    if (stage->add)
        norm.activation = CUDA_LINEAR;
    kernel_batchnorm_backward(plan->executor->stream, &norm, shape_of(stage), gradient_sums(stage),
                              stage->src.data, task->in.data, task->adds ? task->out.data : NULL,
                              task->out.data);
    return CAIRN_OK;
}

/* Added in place to the gradient that another reader of the input has given, where there is one. */
static cairn_status add_data_gradient(cuda_plan *plan, cuda_stage *stage,
                                      const activation *gradient) {
    activation made;
    bool adds = cuda_plan_adds(plan, stage->layer->input, &made);
    if (!adds)
        made = cuda_plan_gradient(plan, stage->src.shape);
    cuda_task *added = cuda_plan_add(plan, stage, "data gradient", run_data, gradient, &made);
    if (!added)
        return CAIRN_FAILED;
    added->adds = adds;
    return adds ? CAIRN_OK : cuda_plan_give(plan, stage, stage->layer->input, &made);
}

static cairn_status backward(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    activation gradient = output_tells(stage) ? cuda_plan_writable(plan, given) : *given;
    if (!cuda_plan_add(plan, stage, "gradient sums", run_sums, given, &gradient))
        return CAIRN_FAILED;
    cairn_status status = CAIRN_OK;
    if (cairn_graph_wants(&plan->graph, stage->layer->input))
        status = add_data_gradient(plan, stage, &gradient);
    if (status || !stage->add)
        return status;
    return cuda_plan_give(plan, stage, cairn_graph_other(stage->add, stage->ordinal), &gradient);
}

const layer_compiler cuda_compile_batchnorm = {forward, backward, NULL};
