/* Our pooling and dropout beside cuDNN's, by time: a bench prints both, and a training that need
 * not be deterministic takes the faster pooling.
 *
 * A pooling behind a convolution is measured with the bias and ReLU between them, forward and
 * backward, and the sum that is the bias's gradient: our kernels take these in, cuDNN's leave them
 * to passes of their own over four times the memory.
 *
 * Dropout by cuDNN is measured but never used. Its masks come from a generator on the device whose
 * state moves from call to call, not from (seed, op, step, element): no other backend could draw
 * the same, and a run that went on from a checkpoint would draw others than one that was not broken
 * off. */
#include "autotune.h"

#include "cuda_executor.h"
#include "cudnn_pooling.h"
#include "probe.h"
#include "cuda_timing.h"
#include "values.h"

#include <stdio.h>

/* One op, and memory to run it in. */
typedef struct {
    const cuda_executor *executor;
    const cairn_op *op, *conv; /* conv: before a pooling, or NULL */
    bool relu;                 /* between the two */
    uint32_t ordinal;
    cuda_tensor in, out;
    char *memory;
    size_t bytes;
    char *x, *y, *dy, *dx, *scratch, *mask, *states, *sums;
    uint8_t *chosen;
    size_t mask_bytes, states_bytes;
    cudnn_pooling pooling;
    cudnnDropoutDescriptor_t dropout;
    bool *refused; /* cuDNN cannot do it: nothing to time, and ours is what runs */
} candidate;

static cuda_tensor tensor_of(const cuda_executor *executor, cairn_shape shape) {
    int pad = executor->pad;
    return (cuda_tensor){executor->type, executor->layout, executor->base.options.batch,   shape.c,
                         shape.h,        shape.w,          (shape.c + pad - 1) / pad * pad};
}

/* The answer of a call of cuDNN's that it may have no way to do: with this type, layout or size. */
static cairn_status take_answer(const candidate *c, cudnnStatus_t answer, const char *what) {
    if (CUDNN_STATUS_CATEGORY(answer) != CUDNN_STATUS_NOT_SUPPORTED)
        return cudnn_check(answer, what);
    *c->refused = true;
    return CAIRN_OK;
}

/* Pooling ---------------------------------------------------------------------------------------*/

/* The convolution that would take a pooling in. */
static void find_convolution(candidate *c) {
    const cairn_net *net = c->executor->base.net;
    int before = c->op->input;
    c->relu = before >= 0 && net->op[before].kind == CAIRN_OP_RELU;
    if (c->relu)
        before = net->op[before].input;
    c->conv = before >= 0 && net->op[before].kind == CAIRN_OP_CONV2D ? &net->op[before] : NULL;
}

static const float *bias_of(const candidate *c) {
    const cuda_executor *executor = c->executor;
    if (!c->conv || c->conv->bias < 0)
        return NULL;
    return executor->tensors[CAIRN_PARAMETER] + executor->parameter[c->conv->bias].offset;
}

static cairn_status pool_ours(const void *context) {
    const candidate *c = context;
    cudaStream_t stream = c->executor->stream;
    const cuda_pool pool = {c->op->kernel, c->op->stride, c->conv && c->relu};
    kernel_pool(stream, pool, c->in, c->out, c->x, bias_of(c), c->y, c->chosen);
    if (bias_of(c))
        kernel_bias_gradient(stream, c->out, c->dy, c->chosen, c->scratch, (float *)c->sums);
    kernel_pool_backward(stream, pool, c->in, c->out, c->dy, c->chosen, c->dx);
    return cuda_check(cudaGetLastError(), "timing our pooling");
}

static cairn_status pool_cudnn(const void *context) {
    const candidate *c = context;
    const cuda_executor *executor = c->executor;
    const bool relu = c->conv && c->relu;
    if (relu || bias_of(c))
        kernel_bias_relu(executor->stream, c->in, c->x, bias_of(c), relu, c->x);
    cairn_status status = take_answer(c, pooling_forward(executor->cudnn, &c->pooling, c->x, c->y),
                                      "cudnnPoolingForward");
    if (!status)
        status =
            take_answer(c, pooling_backward(executor->cudnn, &c->pooling, c->x, c->y, c->dy, c->dx),
                        "cudnnPoolingBackward");
    if (status)
        return status;
    if (relu)
        kernel_relu_backward(executor->stream, c->in, c->x, c->dx, c->dx);
    if (bias_of(c))
        kernel_bias_gradient(executor->stream, c->in, c->dx, NULL, c->scratch, (float *)c->sums);
    return cuda_check(cudaGetLastError(), "timing cuDNN's pooling");
}

/* Dropout ---------------------------------------------------------------------------------------*/

static cairn_status drop_ours(const void *context) {
    const candidate *c = context;
    const cuda_executor *executor = c->executor;
    const cuda_dropout rule = {executor->base.options.seed, c->op->p, c->ordinal};
    kernel_dropout(executor->stream, rule, executor->state, c->in, c->x, NULL, c->y);
    kernel_dropout(executor->stream, rule, executor->state, c->in, c->dy, NULL, c->dx);
    return cuda_check(cudaGetLastError(), "timing our dropout");
}

static cairn_status drop_cudnn(const void *context) {
    const candidate *c = context;
    cudnnHandle_t cudnn = c->executor->cudnn;
    cairn_status status =
        take_answer(c,
                    cudnnDropoutForward(cudnn, c->dropout, c->pooling.x, c->x, c->pooling.x, c->y,
                                        c->mask, c->mask_bytes),
                    "cudnnDropoutForward");
    if (!status)
        status = take_answer(c,
                             cudnnDropoutBackward(cudnn, c->dropout, c->pooling.x, c->dy,
                                                  c->pooling.x, c->dx, c->mask, c->mask_bytes),
                             "cudnnDropoutBackward");
    return status;
}

/* Both ------------------------------------------------------------------------------------------*/

static bool is_pooling(const candidate *c) {
    return c->op->kind == CAIRN_OP_MAXPOOL;
}

/* cuDNN's dropout knows float16, float32 and float64 alone. */
static bool cudnn_has_it(const candidate *c) {
    return is_pooling(c) || c->executor->type == CUDA_F32;
}

static char *take(candidate *c, size_t bytes) {
    size_t at = c->bytes;
    c->bytes += (bytes + 255) / 256 * 256;
    return c->memory ? c->memory + at : NULL;
}

static void divide_memory(candidate *c) {
    c->bytes = 0;
    c->x = take(c, tensor_bytes(c->in));
    c->dx = take(c, tensor_bytes(c->in));
    c->y = take(c, tensor_bytes(c->out));
    c->dy = take(c, tensor_bytes(c->out));
    c->chosen = (uint8_t *)take(c, tensor_bytes(c->out));
    c->scratch = take(c, kernel_bias_gradient_scratch(c->in));
    c->sums = take(c, (size_t)c->in.pitch * sizeof(float));
    c->mask = take(c, c->mask_bytes);
    c->states = take(c, c->states_bytes);
}

static cairn_status prepare(candidate *c) {
    cudnnHandle_t cudnn = c->executor->cudnn;
    const cairn_op window = {.kernel = 1, .stride = 1}; /* dropout wants but the tensors */
    cairn_status status =
        pooling_create(&c->pooling, is_pooling(c) ? c->op : &window, c->in, c->out);
    if (status)
        return status;
    if (is_pooling(c)) {
        find_convolution(c);
    } else if (cudnn_has_it(c)) {
        TRY_CUDNN(cudnnDropoutGetStatesSize(cudnn, &c->states_bytes));
        TRY_CUDNN(cudnnDropoutGetReserveSpaceSize(c->pooling.x, &c->mask_bytes));
    }
    divide_memory(c);
    if (cudaMalloc((void **)&c->memory, c->bytes)) {
        cudaGetLastError();
        c->memory = NULL;
        return CAIRN_OK;
    }
    divide_memory(c);
    TRY_CUDA(cudaMemsetAsync(c->memory, 0, c->bytes, c->executor->stream));
    if (is_pooling(c) || !cudnn_has_it(c))
        return CAIRN_OK;
    TRY_CUDNN(cudnnCreateDropoutDescriptor(&c->dropout));
    TRY_CUDNN(cudnnSetDropoutDescriptor(c->dropout, cudnn, c->op->p, c->states, c->states_bytes,
                                        c->executor->base.options.seed));
    return CAIRN_OK;
}

static cairn_status run_both(const candidate *c, cuda_executor *executor, cuda_timings *result) {
    cairn_status status =
        cuda_best_time(executor, is_pooling(c) ? pool_ours : drop_ours, c, &result->ours);
    if (!status && cudnn_has_it(c))
        status =
            cuda_best_time(executor, is_pooling(c) ? pool_cudnn : drop_cudnn, c, &result->cudnn);
    if (*c->refused)
        result->cudnn = 0;
    return status;
}

/* Zeros where memory is short: ours is what runs then. */
static cairn_status measure(cuda_executor *executor, int ordinal, cuda_timings *result) {
    const cairn_op *op = &executor->base.net->op[ordinal];
    bool refused = false;
    candidate c = {.executor = executor,
                   .op = op,
                   .refused = &refused,
                   .ordinal = (uint32_t)ordinal,
                   .in = tensor_of(executor, op->in),
                   .out = tensor_of(executor, op->out)};
    *result = (cuda_timings){0, 0};
    cairn_status status = prepare(&c);
    if (!status && c.memory)
        status = run_both(&c, executor, result);
    cudaStreamSynchronize(executor->stream);
    if (c.dropout)
        cudnnDestroyDropoutDescriptor(c.dropout);
    pooling_release(&c.pooling);
    if (c.memory)
        cudaFree(c.memory);
    return status;
}

cairn_status autotune_choose(cuda_executor *executor) {
    const cairn_net *net = executor->base.net;
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < net->op_count && !status; i++)
        if (net->op[i].kind == CAIRN_OP_MAXPOOL)
            status = measure(executor, i, &executor->timings[i]);
    return status;
}

bool autotune_prefers_cudnn(const cuda_executor *executor, int ordinal) {
    const cuda_timings *times = &executor->timings[ordinal];
    return times->cudnn > 0 && times->cudnn < times->ours;
}

cairn_status autotune_list(cuda_executor *executor, cairn_timing *rows, int capacity, int *count) {
    const cairn_net *net = executor->base.net;
    cairn_status status = CAIRN_OK;
    *count = 0;
    for (int i = 0; i < net->op_count && *count + 2 <= capacity && !status; i++) {
        const cairn_op *op = &net->op[i];
        const bool pools = op->kind == CAIRN_OP_MAXPOOL;
        cuda_timings times;
        if (!pools && op->kind != CAIRN_OP_DROPOUT)
            continue;
        status = measure(executor, i, &times);
        for (int by = 0; by < 2 && !status; by++) {
            const double seconds = by ? times.cudnn : times.ours;
            if (seconds <= 0)
                continue;
            cairn_timing *row = &rows[(*count)++];
            *row = (cairn_timing){.seconds = seconds};
            snprintf(row->name, sizeof row->name, "%s %s, %s", op->name,
                     pools ? "pooling" : "dropout", by ? "cuDNN" : "ours");
        }
    }
    return status;
}
