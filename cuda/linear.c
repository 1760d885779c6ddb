/* Linear layers as matrix products, with the bias in the epilogue, a ReLU and a dropout behind. The
 * ReLU is ours: of cuBLAS's it is not said that NaN passes, and a training that diverges must show.
 *
 * Row-major [n][features] is column-major [features, n]. With W [out][in] read as column-major
 * [in, out], and x, y, dx, dy as [features, n]:
 *   forward   y = W^T x + b      [out, n]
 *   data      dx = W dy          [in, n]
 *   weights   dW = x dy^T        [in, out], and db = the sums of dy over n */
#include "cuda_executor.h"
#include "cuda_layers.h"

/* The layer's input features in memory. */
static int inputs(const cuda_stage *stage) {
    return (int)tensor_features(stage->src.shape);
}

static int outputs(const cuda_stage *stage) {
    return stage->made.shape.pitch;
}

static bool is_last(const cuda_plan *plan, const cuda_stage *stage) {
    return stage->ordinal == plan->graph.net->op_count - 1;
}

/* Finds the algorithm and notes how much workspace it takes. */
static cairn_status create(cuda_plan *plan, matmul *made, const matmul_shape *shape) {
    cairn_status status = matmul_create(plan->executor, made, shape, cuda_plan_matmul_limit(plan));
    cuda_plan_want_workspace(plan, made->workspace);
    return status;
}

static cairn_status add(cuda_plan *plan, const cuda_stage *stage, const char *what,
                        cairn_status (*run)(const cuda_plan *, const cuda_task *),
                        const activation *in, const activation *out) {
    cuda_task *added = cuda_plan_add(plan, stage, what, run, in, out);
    if (!added)
        return CAIRN_FAILED;
    added->flops = plan->count * cairn_op_flops(stage->layer, 0);
    return CAIRN_OK;
}

/* Forward ---------------------------------------------------------------------------------------*/

static cairn_status run_forward(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    return matmul_run(plan->executor, &stage->matmul[MATMUL_FORWARD],
                      cuda_plan_operand(plan, stage->layer->weight), task->in.data, task->out.data,
                      cuda_plan_workspace(plan));
}

static cuda_dropout dropout_of(const cuda_plan *plan, const cuda_stage *stage) {
    return (cuda_dropout){plan->executor->base.options.seed, stage->dropout->p,
                          (uint32_t)stage->dropout_ordinal};
}

static cairn_status run_dropout(const cuda_plan *plan, const cuda_task *task) {
    const cuda_executor *executor = plan->executor;
    const bool relu = task->stage->activation == CUDA_RELU;
    kernel_dropout(executor->stream, dropout_of(plan, task->stage), executor->state, task->in.shape,
                   task->in.data, relu ? task->in.data : NULL, task->out.data);
    return CAIRN_OK;
}

static cairn_status run_relu(const cuda_plan *plan, const cuda_task *task) {
    kernel_bias_relu(plan->executor->stream, task->in.shape, task->in.data, NULL, 1,
                     task->out.data);
    return CAIRN_OK;
}

/* How many ops go into this stage: the layer, a ReLU, and a dropout behind them. */
static int fuse(const cuda_plan *plan, cuda_stage *stage) {
    int last = stage->ordinal;
    if (cairn_graph_next(&plan->graph, last, CAIRN_OP_RELU)) {
        stage->activation = CUDA_RELU;
        last++;
    }
    stage->dropout = cairn_graph_next(&plan->graph, last, CAIRN_OP_DROPOUT);
    stage->dropout_ordinal = last + 1;
    return last + (stage->dropout ? 1 : 0) + 1 - stage->ordinal;
}

/* Logits are float32 in every precision. */
static activation output(cuda_plan *plan, const cuda_stage *stage) {
    if (!is_last(plan, stage))
        return cuda_plan_output(plan, stage->layer->out);
    activation made = cuda_plan_activation(plan, stage->layer->out, KEPT);
    made.shape.type = CUDA_F32;
    made.data = cuda_plan_keep(plan, tensor_bytes(made.shape));
    return made;
}

static cairn_status add_product(cuda_plan *plan, cuda_stage *stage) {
    bool half_bias = stage->made.shape.type == CUDA_BF16; /* a bias has the output's type */
    int bias = stage->layer->bias;
    matmul_shape shape = {.a_op = CUBLAS_OP_T,
                          .b_op = CUBLAS_OP_N,
                          .m = outputs(stage),
                          .n = plan->count,
                          .k = inputs(stage),
                          .a_pitch = inputs(stage),
                          .b_pitch = inputs(stage),
                          .d_pitch = outputs(stage),
                          .type = plan->type,
                          .d_type = stage->made.shape.type,
                          .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                          .scale = stage->layer->scale};
    if (bias >= 0) {
        shape.epilogue = CUBLASLT_EPILOGUE_BIAS;
        shape.bias = half_bias ? cuda_plan_operand(plan, bias)
                               : cuda_plan_parameter(plan, CAIRN_PARAMETER, bias);
    }
    cairn_status status = create(plan, &stage->matmul[MATMUL_FORWARD], &shape);
    return status ? status : add(plan, stage, "forward", run_forward, &stage->src, &stage->made);
}

static cairn_status forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    *taken = fuse(plan, stage);
    stage->made = stage->dst = output(plan, stage);
    cairn_status status = add_product(plan, stage);
    const cuda_task *added = NULL;
    if (status)
        return status;
    if (stage->dropout && plan->graph.training) {
        const bool relu = stage->activation == CUDA_RELU;
        stage->dst = cuda_plan_output(plan, stage->layer->out);
        added = cuda_plan_add(plan, stage, relu ? "ReLU, dropout" : "dropout", run_dropout,
                              &stage->made, &stage->dst);
    } else if (stage->activation == CUDA_RELU)
        added = cuda_plan_add(plan, stage, "ReLU", run_relu, &stage->made, &stage->made);
    else
        return CAIRN_OK;
    return added ? CAIRN_OK : CAIRN_FAILED;
}

/* Backward --------------------------------------------------------------------------------------*/

static cairn_status run_weights(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    return matmul_run(
        plan->executor, &stage->matmul[MATMUL_WEIGHTS], stage->src.data, task->in.data,
        cuda_plan_parameter(plan, CAIRN_GRADIENT, stage->layer->weight), cuda_plan_workspace(plan));
}

static cairn_status run_data(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    return matmul_run(plan->executor, &stage->matmul[MATMUL_DATA],
                      cuda_plan_operand(plan, stage->layer->weight), task->in.data, task->out.data,
                      cuda_plan_workspace(plan));
}

static cairn_status run_mask(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    const cuda_executor *executor = plan->executor;
    const bool relu = stage->activation == CUDA_RELU;
    if (stage->dropout)
        kernel_dropout(executor->stream, dropout_of(plan, stage), executor->state, task->in.shape,
                       task->in.data, relu ? stage->made.data : NULL, task->out.data);
    else
        kernel_relu_backward(executor->stream, task->in.shape, stage->made.data, task->in.data,
                             task->out.data);
    return CAIRN_OK;
}

/* With the bias gradient in the epilogue where cuBLAS has that, else by our kernel; of a scaled
 * product it is not said what becomes of that. */
static cairn_status add_parameter_gradients(cuda_plan *plan, cuda_stage *stage,
                                            const activation *given) {
    const cairn_op *layer = stage->layer;
    if (!cairn_graph_trains(&plan->graph, layer->weight))
        return cuda_plan_add_bias_gradient(plan, stage, given);
    matmul *product = &stage->matmul[MATMUL_WEIGHTS];
    matmul_shape shape = {.a_op = CUBLAS_OP_N,
                          .b_op = CUBLAS_OP_T,
                          .m = inputs(stage),
                          .n = outputs(stage),
                          .k = plan->count,
                          .a_pitch = inputs(stage),
                          .b_pitch = outputs(stage),
                          .d_pitch = inputs(stage),
                          .type = plan->type,
                          .d_type = CUDA_F32,
                          .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                          .scale = layer->scale};
    cairn_status status = CAIRN_FAILED;
    if (cairn_graph_trains(&plan->graph, layer->bias) && layer->scale == 1) {
        shape.epilogue = CUBLASLT_EPILOGUE_BGRADB;
        shape.bias = cuda_plan_parameter(plan, CAIRN_GRADIENT, layer->bias);
        status = create(plan, product, &shape);
    }
    if (status) {
        shape.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
        shape.bias = NULL;
        status = create(plan, product, &shape);
        if (!status)
            status = cuda_plan_add_bias_gradient(plan, stage, given);
    }
    return status ? status : add(plan, stage, "weight gradient", run_weights, given, NULL);
}

static cairn_status add_data_gradient(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    activation made = cuda_plan_gradient(plan, stage->src.shape);
    matmul_shape shape = {.a_op = CUBLAS_OP_N,
                          .b_op = CUBLAS_OP_N,
                          .m = inputs(stage),
                          .n = plan->count,
                          .k = outputs(stage),
                          .a_pitch = inputs(stage),
                          .b_pitch = outputs(stage),
                          .d_pitch = inputs(stage),
                          .type = plan->type,
                          .d_type = plan->type,
                          .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                          .scale = stage->layer->scale};
    cairn_status status = create(plan, &stage->matmul[MATMUL_DATA], &shape);
    if (!status)
        status = add(plan, stage, "data gradient", run_data, given, &made);
    return status ? status : cuda_plan_give(plan, stage, stage->layer->input, &made);
}

static cairn_status backward(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    activation gradient = *given;
    if (stage->activation == CUDA_RELU || stage->dropout) {
        gradient = cuda_plan_writable(plan, given);
        if (!cuda_plan_add(plan, stage, stage->dropout ? "dropout backward" : "ReLU backward",
                           run_mask, given, &gradient))
            return CAIRN_FAILED;
    }
    cairn_status status = add_parameter_gradients(plan, stage, &gradient);
    return status || !cairn_graph_wants(&plan->graph, stage->layer->input)
               ? status
               : add_data_gradient(plan, stage, &gradient);
}

static void release(cuda_stage *stage) {
    for (int i = 0; i < MATMULS; i++)
        matmul_release(&stage->matmul[i]);
}

const layer_compiler cuda_compile_linear = {forward, backward, release};
