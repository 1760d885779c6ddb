/* Where parameters lie on the device, and their way between PyTorch's layout and ours. Those that
 * are trained come first, so that the optimiser goes over one stretch of memory.
 *
 * Every weight is a filter [out][c][h][w]: a convolution's with its window, a linear layer's with
 * the shape that was flattened before it. */
#include "parameters.h"

#include "cuda_executor.h"
#include "probe.h"

#include <stdlib.h>
#include <string.h>

static int padded(const cuda_executor *executor, int channels) {
    return (channels + executor->pad - 1) / executor->pad * executor->pad;
}

/* The shape of what a layer of features reads, before flattening: that is its layout in memory. */
static cairn_shape unflattened(const cairn_net *net, const cairn_op *layer) {
    cairn_shape shape = layer->in;
    for (int i = layer->input; i >= 0; i = net->op[i].input) {
        const cairn_op *op = &net->op[i];
        if (op->kind == CAIRN_OP_FLATTEN)
            shape = op->in;
        else if (op->kind == CAIRN_OP_CONV2D || op->kind == CAIRN_OP_LINEAR ||
                 op->kind == CAIRN_OP_MAXPOOL || op->kind == CAIRN_OP_AVGPOOL)
            break;
    }
    return shape;
}

static void describe_weight(cuda_executor *executor, const cairn_op *op) {
    cairn_shape in = op->kind == CAIRN_OP_CONV2D ? (cairn_shape){op->in.c, op->kernel, op->kernel}
                                                 : unflattened(executor->base.net, op);
    bool bf16 = executor->type == CUDA_BF16 && op->kind == CAIRN_OP_CONV2D;
    executor->parameter[op->weight] = (cuda_parameter){.out = op->out.c,
                                                       .c = in.c,
                                                       .h = in.h,
                                                       .w = in.w,
                                                       .pitch = padded(executor, in.c),
                                                       .bf16_gradient = bf16};
}

/* One value a channel; behind a flattening, one an element of the map. */
static void describe_channels(cuda_executor *executor, const cairn_op *op, int ordinal) {
    cairn_shape in = unflattened(executor->base.net, op);
    cuda_parameter *to = &executor->parameter[ordinal];
    if (op->kind == CAIRN_OP_BATCHNORM && op->in.h * op->in.w == 1 && in.h * in.w > 1)
        *to = (cuda_parameter){
            .out = 1, .c = in.c, .h = in.h, .w = in.w, .pitch = padded(executor, in.c)};
    else
        *to = (cuda_parameter){.out = op->out.c, .c = 1, .h = 1, .w = 1, .pitch = 1};
}

/* Places for those parameters that are frozen or not, with a bf16 gradient or not. */
static void place_parameters(cuda_executor *executor, bool frozen, bool bf16) {
    const cairn_net *net = executor->base.net;
    for (int k = 0; k < net->parameter_count; k++) {
        cuda_parameter *parameter = &executor->parameter[k];
        parameter->bf16_gradient = parameter->bf16_gradient && !net->parameter[k].group.frozen;
        if (net->parameter[k].group.frozen != frozen || parameter->bf16_gradient != bf16)
            continue;
        parameter->offset = executor->total;
        parameter->count = (size_t)padded(executor, parameter->out) * (size_t)parameter->pitch *
                           (size_t)parameter->h * (size_t)parameter->w;
        /* Each starts on a 256-byte boundary, in bf16 too. */
        executor->total += (parameter->count + CUDA_GRAIN - 1) / CUDA_GRAIN * CUDA_GRAIN;
    }
}

void parameters_lay_out(cuda_executor *executor) {
    const cairn_net *net = executor->base.net;
    for (int i = 0; i < net->op_count; i++) {
        const cairn_op *op = &net->op[i];
        const int each[] = {op->weight, op->bias, op->mean, op->variance};
        const bool weighs = op->kind != CAIRN_OP_BATCHNORM; /* a matrix or filter */
        if (op->weight >= 0 && weighs)
            describe_weight(executor, op);
        for (int k = weighs ? 1 : 0; k < 4; k++)
            if (each[k] >= 0)
                describe_channels(executor, op, each[k]);
    }
    place_parameters(executor, false, true);
    executor->bf16_total = executor->total;
    place_parameters(executor, false, false);
    executor->trained_total = executor->total;
    place_parameters(executor, true, false);
}

/* The place of PyTorch's element [o][c][i][j]. */
static size_t place(const cuda_executor *executor, const cuda_parameter *p, int o, int c, int i,
                    int j) {
    size_t rows = (size_t)p->h, columns = (size_t)p->w, pitch = (size_t)p->pitch;
    if (executor->layout == CUDA_NCHW)
        return (((size_t)o * pitch + (size_t)c) * rows + (size_t)i) * columns + (size_t)j;
    return (((size_t)o * rows + (size_t)i) * columns + (size_t)j) * pitch + (size_t)c;
}

/* Between PyTorch's `values` and ours in `memory`, one way or the other. */
static void rearrange(const cuda_executor *executor, const cuda_parameter *p, float *values,
                      float *memory, bool to_memory) {
    size_t at = 0;
    for (int o = 0; o < p->out; o++)
        for (int c = 0; c < p->c; c++)
            for (int i = 0; i < p->h; i++)
                for (int j = 0; j < p->w; j++, at++) {
                    float *ours = &memory[place(executor, p, o, c, i, j)];
                    if (to_memory)
                        *ours = values[at];
                    else
                        values[at] = *ours;
                }
}

/* In place: bf16 in the first half of the memory becomes float32 in all of it. */
static void widen(float *memory, size_t count) {
    const uint16_t *values = (const uint16_t *)memory;
    for (size_t i = count; i-- > 0;) {
        uint32_t bits = (uint32_t)values[i] << 16;
        memcpy(&memory[i], &bits, sizeof bits);
    }
}

cairn_status parameter_get(cuda_executor *executor, cairn_tensor_kind kind, int ordinal,
                           float *values) {
    const cuda_parameter *p = &executor->parameter[ordinal];
    bool bf16 = kind == CAIRN_GRADIENT && p->bf16_gradient && !executor->sum;
    const float *tensors =
        kind == CAIRN_GRADIENT && executor->sum ? executor->sum : executor->tensors[kind];
    const void *from = bf16 ? (const void *)((uint16_t *)executor->bf16_gradient + p->offset)
                            : tensors + p->offset;
    float *memory = malloc(p->count * sizeof *memory);
    if (!memory)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a parameter");
    cairn_status status = cuda_check(
        cudaMemcpyAsync(memory, from, p->count * (bf16 ? sizeof(uint16_t) : sizeof(float)),
                        cudaMemcpyDeviceToHost, executor->stream),
        "reading a parameter");
    cudaError_t waited = cudaStreamSynchronize(executor->stream);
    if (!status)
        status = cuda_check(waited, "reading a parameter");
    if (!status && bf16)
        widen(memory, p->count);
    if (!status)
        rearrange(executor, p, values, memory, false);
    free(memory);
    return status;
}

cairn_status parameter_set(cuda_executor *executor, cairn_tensor_kind kind, int ordinal,
                           const float *values) {
    const cuda_parameter *p = &executor->parameter[ordinal];
    if (kind == CAIRN_GRADIENT) /* has no use */
        return CAIRN_OK;
    float *memory = calloc(p->count, sizeof *memory);
    if (!memory)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a parameter");
    rearrange(executor, p, (float *)values, memory, true);
    float *to = executor->tensors[kind] + p->offset;
    cairn_status status = cuda_check(cudaMemcpyAsync(to, memory, p->count * sizeof *memory,
                                                     cudaMemcpyHostToDevice, executor->stream),
                                     "writing a parameter");
    if (!status && kind == CAIRN_PARAMETER && executor->shadow) {
        kernel_to_bf16(executor->stream, p->count, to, (uint16_t *)executor->shadow + p->offset);
        status = cuda_check(cudaGetLastError(), "writing a parameter");
    }
    cudaError_t waited = cudaStreamSynchronize(executor->stream);
    free(memory);
    return status ? status : cuda_check(waited, "writing a parameter");
}
