/* Convolution through cuDNN, with the bias, ReLU and max-pooling behind it.
 *
 * With pooling behind it the convolution writes into shared memory, and one kernel of ours adds the
 * bias, pools and applies the ReLU (maximum and ReLU commute), leaving a byte for each output: all
 * that the backward pass needs. So what the convolution wrote is not kept, and the bias gradient
 * sums the pooled gradient, a quarter of the elements. */
#include "conv2d.h"

#include "autotune.h"
#include "cuda_executor.h"
#include "cuda_layers.h"
#include "probe.h"

#include <stdio.h>
#include <string.h>

enum { CANDIDATES_MAX = 16 };

/* An algorithm as cuDNN offers it, for any of the three passes. */
typedef struct {
    int algorithm;
    cudnnStatus_t status;
    size_t memory;
    cudnnDeterminism_t determinism;
    cudnnMathType_t math;
} candidate;

/* Copies cuDNN's three kinds of rows, which have the same fields, into candidates. */
#define TAKE_ROWS(rows, count, candidates)                                                         \
    for (int row = 0; row < (count); row++)                                                        \
        (candidates)[row] = (candidate) {                                                          \
            (int)(rows)[row].algo, (rows)[row].status, (rows)[row].memory,                         \
                (rows)[row].determinism, (rows)[row].mathType                                      \
        }

/* Descriptors -----------------------------------------------------------------------------------*/

static cudnnDataType_t data_type(const cuda_plan *plan) {
    return plan->type == CUDA_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

static cudnnTensorFormat_t format_of(const cuda_plan *plan) {
    return plan->layout == CUDA_NHWC ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
}

/* float32 is strict: no tensor cores, which round its operands. */
static cudnnMathType_t math_of(const cuda_plan *plan) {
    if (plan->executor->base.options.precision == CAIRN_FLOAT32)
        return CUDNN_FMA_MATH;
    return plan->type == CUDA_BF16 ? CUDNN_TENSOR_OP_MATH : CUDNN_DEFAULT_MATH;
}

static cairn_status describe(const cuda_plan *plan, cudnnTensorDescriptor_t *made, int count,
                             const cuda_tensor *shape) {
    TRY_CUDNN(cudnnCreateTensorDescriptor(made));
    TRY_CUDNN(cudnnSetTensor4dDescriptor(*made, format_of(plan), data_type(plan), count,
                                         shape->pitch, shape->h, shape->w));
    return CAIRN_OK;
}

static cairn_status create(const cuda_plan *plan, cuda_stage *stage, const cuda_tensor *made) {
    const cairn_op *op = stage->layer;
    convolution *conv = &stage->conv;
    cairn_status status = describe(plan, &conv->x, plan->count, &stage->src.shape);
    if (!status)
        status = describe(plan, &conv->y, plan->count, made);
    if (status)
        return status;
    TRY_CUDNN(cudnnCreateFilterDescriptor(&conv->w));
    TRY_CUDNN(cudnnSetFilter4dDescriptor(conv->w, data_type(plan), format_of(plan), made->pitch,
                                         stage->src.shape.pitch, op->kernel, op->kernel));
    for (int i = 0; i < CONV_PASSES; i++) {
        conv_pass *pass = &conv->pass[i];
        TRY_CUDNN(cudnnCreateConvolutionDescriptor(&pass->descriptor));
        TRY_CUDNN(cudnnSetConvolution2dDescriptor(pass->descriptor, op->padding, op->padding,
                                                  op->stride, op->stride, 1, 1,
                                                  CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        TRY_CUDNN(cudnnSetConvolutionMathType(pass->descriptor, math_of(plan)));
    }
    return CAIRN_OK;
}

static void release(cuda_stage *stage) {
    convolution *conv = &stage->conv;
    for (int i = 0; i < CONV_PASSES; i++)
        if (conv->pass[i].descriptor)
            cudnnDestroyConvolutionDescriptor(conv->pass[i].descriptor);
    if (conv->w)
        cudnnDestroyFilterDescriptor(conv->w);
    if (conv->y)
        cudnnDestroyTensorDescriptor(conv->y);
    if (conv->x)
        cudnnDestroyTensorDescriptor(conv->x);
    *conv = (convolution){0};
}

/* Algorithms ------------------------------------------------------------------------------------*/

/* Whether to measure the algorithms, not to ask which one is expected to be fastest. Measuring
 * needs memory, and timing makes a choice that another run may not repeat. */
static bool measures(const cuda_plan *plan) {
    return plan->base && !plan->executor->base.options.deterministic;
}

static cairn_status list_forward(const cuda_plan *plan, const cuda_stage *stage, void *y,
                                 candidate *list, int *count) {
    const convolution *conv = &stage->conv;
    cudnnConvolutionDescriptor_t pass = conv->pass[CONV_FORWARD].descriptor;
    cudnnHandle_t cudnn = plan->executor->cudnn;
    cudnnConvolutionFwdAlgoPerf_t rows[CANDIDATES_MAX];
    if (measures(plan))
        TRY_CUDNN(cudnnFindConvolutionForwardAlgorithmEx(
            cudnn, conv->x, stage->src.data, conv->w, cuda_plan_operand(plan, stage->layer->weight),
            pass, conv->y, y, CANDIDATES_MAX, count, rows, cuda_plan_workspace(plan),
            cuda_plan_workspace_limit(plan)));
    else
        TRY_CUDNN(cudnnGetConvolutionForwardAlgorithm_v7(cudnn, conv->x, conv->w, pass, conv->y,
                                                         CANDIDATES_MAX, count, rows));
    TAKE_ROWS(rows, *count, list);
    return CAIRN_OK;
}

static cairn_status list_data(const cuda_plan *plan, const cuda_stage *stage, const void *dy,
                              void *dx, candidate *list, int *count) {
    const convolution *conv = &stage->conv;
    cudnnConvolutionDescriptor_t pass = conv->pass[CONV_DATA].descriptor;
    cudnnHandle_t cudnn = plan->executor->cudnn;
    cudnnConvolutionBwdDataAlgoPerf_t rows[CANDIDATES_MAX];
    if (measures(plan))
        TRY_CUDNN(cudnnFindConvolutionBackwardDataAlgorithmEx(
            cudnn, conv->w, cuda_plan_operand(plan, stage->layer->weight), conv->y, dy, pass,
            conv->x, dx, CANDIDATES_MAX, count, rows, cuda_plan_workspace(plan),
            cuda_plan_workspace_limit(plan)));
    else
        TRY_CUDNN(cudnnGetConvolutionBackwardDataAlgorithm_v7(
            cudnn, conv->w, conv->y, pass, conv->x, CANDIDATES_MAX, count, rows));
    TAKE_ROWS(rows, *count, list);
    return CAIRN_OK;
}

static cairn_status list_filter(const cuda_plan *plan, const cuda_stage *stage, const void *dy,
                                candidate *list, int *count) {
    const convolution *conv = &stage->conv;
    cudnnConvolutionDescriptor_t pass = conv->pass[CONV_FILTER].descriptor;
    cudnnHandle_t cudnn = plan->executor->cudnn;
    cudnnConvolutionBwdFilterAlgoPerf_t rows[CANDIDATES_MAX];
    if (measures(plan))
        TRY_CUDNN(cudnnFindConvolutionBackwardFilterAlgorithmEx(
            cudnn, conv->x, stage->src.data, conv->y, dy, pass, conv->w,
            cuda_plan_filter_gradient(plan, stage->layer->weight), CANDIDATES_MAX, count, rows,
            cuda_plan_workspace(plan), cuda_plan_workspace_limit(plan)));
    else
        TRY_CUDNN(cudnnGetConvolutionBackwardFilterAlgorithm_v7(
            cudnn, conv->x, conv->y, pass, conv->w, CANDIDATES_MAX, count, rows));
    TAKE_ROWS(rows, *count, list);
    return CAIRN_OK;
}

/* Whether an algorithm adds up the products themselves. The others, Winograd's and the Fourier
 * transforms, multiply sums of inputs with sums of weights: fewer products, but the roundings of
 * those sums come back magnified. For Winograd's F(4x4,3x3) on float32 the largest error is about 7
 * times a direct convolution's (Lavin and Gray, CVPR 2016, table 5), and which tiles cuDNN takes it
 * does not say. So float32 could miss its 1e-5 and tf32 its 2e-3, and sums that would be exact, on
 * which ties hang, are not. */
static bool sums_products(int pass, int algorithm) {
    switch (pass) {
    case CONV_FORWARD:
        return algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM ||
               algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ||
               algorithm == CUDNN_CONVOLUTION_FWD_ALGO_GEMM ||
               algorithm == CUDNN_CONVOLUTION_FWD_ALGO_DIRECT;
    case CONV_DATA:
        return algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 ||
               algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
    default:
        return algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 ||
               algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 ||
               algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3;
    }
}

static bool acceptable(const cuda_plan *plan, int pass, const candidate *offered, size_t limit) {
    const cairn_executor_options *options = &plan->executor->base.options;
    if (offered->status != CUDNN_STATUS_SUCCESS || offered->memory > limit)
        return false;
    if (options->deterministic &&
        (offered->determinism != CUDNN_DETERMINISTIC || !sums_products(pass, offered->algorithm)))
        return false;
    return options->precision != CAIRN_FLOAT32 || offered->math == CUDNN_FMA_MATH ||
           offered->math == CUDNN_DEFAULT_MATH; /* the descriptor's, which is FMA */
}

/* The first that will do, or NULL: cuDNN lists the fastest first. */
static const candidate *find(const cuda_plan *plan, int which, const candidate *list, int count,
                             size_t limit) {
    for (int i = 0; i < count; i++)
        if (acceptable(plan, which, &list[i], limit))
            return &list[i];
    return NULL;
}

static cairn_status choose(cuda_plan *plan, cuda_stage *stage, int which, const candidate *list,
                           int count) {
    static const char *const passes[] = {"forward", "data gradient", "weight gradient"};
    conv_pass *pass = &stage->conv.pass[which];
    const candidate *found = find(plan, which, list, count, cuda_plan_workspace_limit(plan));
    if (!found)
        found = find(plan, which, list, count, cuda_plan_workspace_max(plan));
    if (!found)
        return cairn_error_set(
            CAIRN_FAILED, "cuda: %s: cuDNN has no %s%s algorithm in %s for batches of %d",
            stage->layer->name, plan->executor->base.options.deterministic ? "deterministic " : "",
            passes[which], cairn_precision_name(plan->executor->base.options.precision),
            plan->count);
    pass->algorithm = found->algorithm;
    cuda_plan_want_workspace(plan, found->memory);
    if (math_of(plan) != CUDNN_FMA_MATH)
        TRY_CUDNN(cudnnSetConvolutionMathType(pass->descriptor, found->math));
    return CAIRN_OK;
}

const char *conv_choice(const cairn_op *layer, const convolution *conv, int pass, char *out,
                        size_t size) {
    static const char *const forward[] = {
        "IMPLICIT_GEMM", "IMPLICIT_PRECOMP_GEMM", "GEMM", "DIRECT", "FFT", "FFT_TILING",
        "WINOGRAD",      "WINOGRAD_NONFUSED"};
    static const char *const data[] = {"0",          "1",        "FFT",
                                       "FFT_TILING", "WINOGRAD", "WINOGRAD_NONFUSED"};
    static const char *const filter[] = {
        "0", "1", "FFT", "3", "WINOGRAD", "WINOGRAD_NONFUSED", "FFT_TILING"};
    static const struct {
        const char *const *name;
        size_t count;
        const char *what;
    } passes[] = {{forward, sizeof forward / sizeof forward[0], "forward"},
                  {data, sizeof data / sizeof data[0], "data gradient"},
                  {filter, sizeof filter / sizeof filter[0], "weight gradient"}};
    size_t algorithm = (size_t)conv->pass[pass].algorithm;
    snprintf(out, size, "%s %s %s", layer->name, passes[pass].what,
             algorithm < passes[pass].count ? passes[pass].name[algorithm] : "?");
    return out;
}

/* Forward ---------------------------------------------------------------------------------------*/

/* Each call may use the whole workspace: what cuDNN said that an algorithm wants, it said without
 * knowing of a gradient that is added to. */
static const float one = 1, zero = 0;

static cairn_status run_forward(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    const convolution *conv = &stage->conv;
    const conv_pass *pass = &conv->pass[CONV_FORWARD];
    return cudnn_check(cudnnConvolutionForward(
                           plan->executor->cudnn, &one, conv->x, task->in.data, conv->w,
                           cuda_plan_operand(plan, stage->layer->weight), pass->descriptor,
                           (cudnnConvolutionFwdAlgo_t)pass->algorithm, cuda_plan_workspace(plan),
                           cuda_plan_workspace_limit(plan), &zero, conv->y, task->out.data),
                       task->name);
}

static cairn_status run_bias(const cuda_plan *plan, const cuda_task *task) {
    kernel_bias_relu(plan->executor->stream, task->in.shape, task->in.data,
                     cuda_plan_parameter(plan, CAIRN_PARAMETER, task->stage->layer->bias),
                     task->stage->activation == CUDA_RELU, task->out.data);
    return CAIRN_OK;
}

static cuda_pool window_of(const cuda_stage *stage) {
    return (cuda_pool){stage->pool->kernel, stage->pool->stride, stage->activation == CUDA_RELU};
}

static cairn_status run_pool(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    kernel_pool(plan->executor->stream, window_of(stage), task->in.shape, task->out.shape,
                task->in.data, cuda_plan_parameter(plan, CAIRN_PARAMETER, stage->layer->bias),
                task->out.data, stage->chosen);
    return CAIRN_OK;
}

/* How many ops go into this stage: the convolution, a ReLU, and a pooling behind them. */
static int fuse(const cuda_plan *plan, cuda_stage *stage) {
    int last = stage->ordinal;
    if (cairn_graph_next(&plan->graph, last, CAIRN_OP_RELU)) {
        stage->activation = CUDA_RELU;
        last++;
    }
    stage->pool = cairn_graph_next(&plan->graph, last, CAIRN_OP_MAXPOOL);
    if (stage->pool && plan->graph.training && autotune_prefers_cudnn(plan->executor, last + 1))
        stage->pool = NULL;
    return last + (stage->pool ? 1 : 0) + 1 - stage->ordinal;
}

static cairn_status add_forward(cuda_plan *plan, cuda_stage *stage) {
    cuda_task *added =
        cuda_plan_add(plan, stage, "forward", run_forward, &stage->src, &stage->made);
    if (!added)
        return CAIRN_FAILED;
    added->flops = plan->count * cairn_op_flops(stage->layer, 0);
    const bool relu = stage->activation == CUDA_RELU, bias = stage->layer->bias >= 0;
    if (stage->pool)
        added = cuda_plan_add(plan, stage, relu ? "bias, ReLU, pooling" : "bias, pooling", run_pool,
                              &stage->made, &stage->dst);
    else if (relu || bias) /* by cuDNN, a ReLU would turn NaN into 0 */
        added = cuda_plan_add(plan, stage, relu ? "bias, ReLU" : "bias", run_bias, &stage->made,
                              &stage->made);
    return added ? CAIRN_OK : CAIRN_FAILED;
}

static cairn_status forward(cuda_plan *plan, cuda_stage *stage, int *taken) {
    const cairn_op *layer = stage->layer;
    candidate list[CANDIDATES_MAX];
    int count = 0;
    *taken = fuse(plan, stage);
    stage->made = stage->pool ? cuda_plan_activation(plan, layer->out, SLOT_WIDE)
                              : cuda_plan_output(plan, layer->out);
    stage->dst = stage->pool ? cuda_plan_output(plan, stage->pool->out) : stage->made;
    if (stage->pool)
        stage->chosen =
            cuda_plan_keep(plan, (size_t)plan->count * tensor_features(stage->dst.shape));
    cairn_status status = create(plan, stage, &stage->made.shape);
    if (!status)
        status = list_forward(plan, stage, stage->made.data, list, &count);
    if (!status)
        status = choose(plan, stage, CONV_FORWARD, list, count);
    return status ? status : add_forward(plan, stage);
}

/* Backward --------------------------------------------------------------------------------------*/

static cairn_status run_pool_backward(const cuda_plan *plan, const cuda_task *task) {
    kernel_pool_backward(plan->executor->stream, window_of(task->stage), task->out.shape,
                         task->in.shape, task->in.data, task->stage->chosen, task->out.data);
    return CAIRN_OK;
}

static cairn_status run_relu_backward(const cuda_plan *plan, const cuda_task *task) {
    kernel_relu_backward(plan->executor->stream, task->in.shape, task->stage->dst.data,
                         task->in.data, task->out.data);
    return CAIRN_OK;
}

static cairn_status run_filter(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    const convolution *conv = &stage->conv;
    const conv_pass *pass = &conv->pass[CONV_FILTER];
    return cudnn_check(cudnnConvolutionBackwardFilter(
                           plan->executor->cudnn, &one, conv->x, stage->src.data, conv->y,
                           task->in.data, pass->descriptor,
                           (cudnnConvolutionBwdFilterAlgo_t)pass->algorithm,
                           cuda_plan_workspace(plan), cuda_plan_workspace_limit(plan), &zero,
                           conv->w, cuda_plan_filter_gradient(plan, stage->layer->weight)),
                       task->name);
}

static cairn_status run_data(const cuda_plan *plan, const cuda_task *task) {
    const cuda_stage *stage = task->stage;
    const convolution *conv = &stage->conv;
    const conv_pass *pass = &conv->pass[CONV_DATA];
    return cudnn_check(cudnnConvolutionBackwardData(
                           plan->executor->cudnn, &one, conv->w,
                           cuda_plan_operand(plan, stage->layer->weight), conv->y, task->in.data,
                           pass->descriptor, (cudnnConvolutionBwdDataAlgo_t)pass->algorithm,
                           cuda_plan_workspace(plan), cuda_plan_workspace_limit(plan),
                           task->adds ? &one : &zero, conv->x, task->out.data),
                       task->name);
}

/* From the gradient of stage->dst to that of the convolution's output, and the bias's on the way.
 */
static cairn_status add_unpooling(cuda_plan *plan, cuda_stage *stage, const activation *given,
                                  activation *gradient) {
    *gradient = *given;
    if (stage->pool) {
        *gradient = cuda_plan_activation(plan, stage->layer->out, SLOT_WIDE);
        cairn_status status = cuda_plan_add_bias_gradient(plan, stage, given);
        if (status)
            return status;
        return cuda_plan_add(plan, stage, "pooling backward", run_pool_backward, given, gradient)
                   ? CAIRN_OK
                   : CAIRN_FAILED;
    }
    if (stage->activation == CUDA_RELU) {
        *gradient = cuda_plan_writable(plan, given);
        if (!cuda_plan_add(plan, stage, "ReLU backward", run_relu_backward, given, gradient))
            return CAIRN_FAILED;
    }
    return cuda_plan_add_bias_gradient(plan, stage, gradient);
}

static cairn_status add_filter_gradient(cuda_plan *plan, cuda_stage *stage,
                                        const activation *gradient) {
    candidate list[CANDIDATES_MAX];
    int count = 0;
    if (!cairn_graph_trains(&plan->graph, stage->layer->weight))
        return CAIRN_OK;
    cairn_status status = list_filter(plan, stage, gradient->data, list, &count);
    if (!status)
        status = choose(plan, stage, CONV_FILTER, list, count);
    if (status)
        return status;
    cuda_task *added = cuda_plan_add(plan, stage, "weight gradient", run_filter, gradient, NULL);
    if (!added)
        return CAIRN_FAILED;
    added->flops = plan->count * cairn_op_flops(stage->layer, 0);
    return CAIRN_OK;
}

/* Added in place to the gradient that another reader of the input has given, where there is one. */
static cairn_status add_data_gradient(cuda_plan *plan, cuda_stage *stage,
                                      const activation *gradient) {
    candidate list[CANDIDATES_MAX];
    activation made;
    int count = 0;
    bool adds = cuda_plan_adds(plan, stage->layer->input, &made);
    if (!adds)
        made = cuda_plan_gradient(plan, stage->src.shape);
    cairn_status status = list_data(plan, stage, gradient->data, made.data, list, &count);
    if (!status)
        status = choose(plan, stage, CONV_DATA, list, count);
    if (status)
        return status;
    cuda_task *added = cuda_plan_add(plan, stage, "data gradient", run_data, gradient, &made);
    if (!added)
        return CAIRN_FAILED;
    added->flops = plan->count * cairn_op_flops(stage->layer, 0);
    added->adds = adds;
    return adds ? CAIRN_OK : cuda_plan_give(plan, stage, stage->layer->input, &made);
}

static cairn_status backward(cuda_plan *plan, cuda_stage *stage, const activation *given) {
    activation gradient;
    cairn_status status = add_unpooling(plan, stage, given, &gradient);
    if (!status)
        status = add_filter_gradient(plan, stage, &gradient);
    return status || !cairn_graph_wants(&plan->graph, stage->layer->input)
               ? status
               : add_data_gradient(plan, stage, &gradient);
}

const layer_compiler cuda_compile_conv2d = {forward, backward, release};
