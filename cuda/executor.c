/* The cuda backend's entry points: parameters and data on the device, plans made on first use for
 * each batch size, a step as one slot of the ring and one graph. Nothing here waits for the device
 * but the calls that executor.h marks so, and a full ring. */
#include "backend.h"

#include "autotune.h"
#include "capture.h"
#include "compile.h"
#include "cuda_executor.h"
#include "cuda_profile.h"
#include "cuda_update.h"
#include "passes.h"
#include "plans.h"
#include "probe.h"
#include "roofline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cuda_executor *own(cairn_executor *executor) {
    return (cuda_executor *)executor;
}

/* A thread's device is its own setting. */
static cairn_status enter(const cuda_executor *executor) {
    return cuda_check(cudaSetDevice(executor->base.options.device), "cudaSetDevice");
}

static cairn_status wait_for(const cuda_executor *executor, const char *what) {
    return cuda_check(cudaStreamSynchronize(executor->stream), what);
}

/* Backend ---------------------------------------------------------------------------------------*/

enum { TENSOR_CORES = 80 }; /* the first capability whose tensor cores take bf16 and tf32 */

/* By the first device; create() looks at the one it is given. */
static bool supports(cairn_precision precision) {
    bool cores = device_count() == 0 || device_capability(0) >= TENSOR_CORES;
    return precision == CAIRN_FLOAT32 ||
           (cores && (precision == CAIRN_BF16 || precision == CAIRN_TF32));
}

/* Life ------------------------------------------------------------------------------------------*/

static void destroy(cairn_executor *base) {
    cuda_executor *executor = own(base);
    if (cudaSetDevice(base->options.device)) /* no such device: nothing was made there */
        cudaGetLastError();                  /* do not hand it to the next call */
    if (executor->stream)
        cudaStreamSynchronize(executor->stream);
    for (cuda_plan *plan = executor->plans; plan;) {
        cuda_plan *next = plan->next;
        cuda_plan_destroy(plan);
        plan = next;
    }
    for (cuda_block *block = executor->blocks; block;) {
        cuda_block *next = block->next;
        cudaFree(block->data);
        free(block);
        block = next;
    }
    for (int id = 0; id < 2; id++)
        if (executor->splits[id].images)
            cudaFree(executor->splits[id].images);
    ring_destroy(&executor->ring);
    if (executor->memory)
        cudaFree(executor->memory);
    if (executor->cublas)
        cublasLtDestroy(executor->cublas);
    if (executor->cudnn)
        cudnnDestroy(executor->cudnn);
    if (executor->stream)
        cudaStreamDestroy(executor->stream);
    free(executor);
}

static cairn_status set_precision(cuda_executor *executor) {
    const cairn_executor_options *options = &executor->base.options;
    executor->type = options->precision == CAIRN_BF16 ? CUDA_BF16 : CUDA_F32;
    executor->layout = options->precision == CAIRN_FLOAT32 ? CUDA_NCHW : CUDA_NHWC;
    executor->pad = options->precision == CAIRN_FLOAT32 ? 1 : executor->type == CUDA_BF16 ? 8 : 4;
    int capability = device_capability(options->device);
    if (options->precision == CAIRN_FLOAT32 || capability >= TENSOR_CORES)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "train.precision: cuda:%d has compute capability %d.%d; %s wants 8.0, "
                           "float32 runs on it",
                           options->device, capability / 10, capability % 10,
                           cairn_precision_name(options->precision));
}

/* Takes `bytes` from the executor's block; before the block is there, only counts them. */
static void *take(cuda_executor *executor, size_t bytes) {
    size_t at = executor->memory_bytes;
    executor->memory_bytes += (bytes + 255) / 256 * 256;
    return executor->memory ? executor->memory + at : NULL;
}

static void divide_memory(cuda_executor *executor) {
    bool bf16 = executor->type == CUDA_BF16;
    executor->memory_bytes = 0;
    const cairn_executor_options *options = &executor->base.options;
    size_t floats = executor->total * sizeof(float);
    for (int kind = 0; kind < CAIRN_TENSOR_KINDS; kind++)
        if (cairn_optimizer_keeps(&options->optimizer, (cairn_tensor_kind)kind))
            executor->tensors[kind] = take(executor, floats);
    executor->sum = options->accumulate > 1 ? take(executor, floats) : NULL;
    executor->group_numbers =
        update_tells_groups(executor) ? take(executor, executor->total / CUDA_GRAIN) : NULL;
    executor->clip_scratch =
        options->optimizer.clip_norm > 0 ? take(executor, kernel_clip_scratch()) : NULL;
    executor->bf16_gradient = bf16 ? take(executor, executor->bf16_total * sizeof(uint16_t)) : NULL;
    executor->shadow = bf16 ? take(executor, executor->total * sizeof(uint16_t)) : NULL;
    executor->state = take(executor, sizeof *executor->state);
    executor->table = take(executor, (size_t)CAIRN_CHANNELS_MAX * 256 * sizeof(float));
    executor->augmenter = take(executor, sizeof *executor->augmenter);
}

/* A byte's value in each channel, rounded once. */
static cairn_status fill_table(cuda_executor *executor) {
    const cairn_executor_options *options = &executor->base.options;
    float table[CAIRN_CHANNELS_MAX][256];
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++)
        for (int byte = 0; byte < 256; byte++)
            table[c][byte] =
                (float)((byte / 255.0 - (double)options->mean[c]) / (double)options->std[c]);
    TRY_CUDA(cudaMemcpyAsync(executor->table, table, sizeof table, cudaMemcpyHostToDevice,
                             executor->stream));
    return wait_for(executor, "starting the device");
}

static cairn_status make_memory(cuda_executor *executor) {
    parameters_lay_out(executor);
    cairn_status status = update_list_groups(executor);
    if (status)
        return status;
    divide_memory(executor);
    size_t bytes = executor->memory_bytes;
    TRY_CUDA(cudaMalloc((void **)&executor->memory, bytes));
    divide_memory(executor);
    TRY_CUDA(cudaMemsetAsync(executor->memory, 0, bytes, executor->stream));
    status = update_fill_groups(executor);
    return status ? status : fill_table(executor);
}

static cairn_status open_device(cuda_executor *executor) {
    cairn_status status = device_select(executor->base.options.device);
    if (!status)
        status = set_precision(executor);
    if (status)
        return status;
    TRY_CUDA(cudaStreamCreateWithFlags(&executor->stream, cudaStreamNonBlocking));
    TRY_CUDNN(cudnnCreate(&executor->cudnn));
    TRY_CUDNN(cudnnSetStream(executor->cudnn, executor->stream));
    TRY_CUBLAS(cublasLtCreate(&executor->cublas));
    return CAIRN_OK;
}

static const cairn_executor_ops ops;

static cairn_status create(cairn_executor **made, const cairn_net *net,
                           const cairn_executor_options *options) {
    cuda_executor *executor = calloc(1, sizeof *executor);
    if (!executor)
        return cairn_error_set(CAIRN_FAILED, "out of memory for an executor");
    executor->base = (cairn_executor){.ops = &ops, .net = net, .options = *options};
    cuda_plan *first = NULL;
    cairn_status status = open_device(executor);
    if (!status)
        status = make_memory(executor);
    if (!status)
        status = ring_create(&executor->ring, options->batch);
    if (!status && !options->deterministic)
        status = autotune_choose(executor);
    if (!status)
        status = cuda_plan_find(&first, executor, options->batch, CAIRN_PLAN_TRAINS);
    if (status) {
        destroy(&executor->base);
        return status;
    }
    *made = &executor->base;
    return CAIRN_OK;
}

/* Data ------------------------------------------------------------------------------------------*/

static cairn_status allocate_split(const cuda_executor *executor, device_split *made,
                                   size_t bytes) {
    size_t available = 0, total = 0;
    cudaError_t error = cudaMalloc((void **)&made->images, bytes);
    if (error != cudaErrorMemoryAllocation)
        return cuda_check(error, "cudaMalloc");
    cudaGetLastError();
    TRY_CUDA(cudaMemGetInfo(&available, &total));
    return cairn_error_set(CAIRN_FAILED,
                           "out of GPU memory: the images ask for %.2f GiB beside batches of %d, "
                           "%.2f GiB of %.2f are free; take fewer of them (data.train_limit) or "
                           "smaller batches (train.batch_size)",
                           (double)bytes / 0x1p30, executor->base.options.batch,
                           (double)available / 0x1p30, (double)total / 0x1p30);
}

static cairn_status upload(cairn_executor *base, cairn_split_id id, const cairn_split *split) {
    cuda_executor *executor = own(base);
    device_split made = {0};
    size_t count = (size_t)split->count, bytes = count * cairn_shape_count(base->net->input);
    cairn_status status = enter(executor);
    if (!status)
        status = wait_for(executor, "earlier work"); /* the split before may be in use */
    if (status)
        return status;
    for (cuda_plan *plan = executor->plans; plan; plan = plan->next)
        cuda_plan_drop_graphs(plan);
    if (executor->splits[id].images)
        cudaFree(executor->splits[id].images);
    executor->splits[id] = (device_split){0};
    status = allocate_split(executor, &made, bytes + count);
    if (status)
        return status;
    made.labels = made.images + bytes;
    executor->splits[id] = made;
    TRY_CUDA(cudaMemcpyAsync(made.images, split->images, bytes, cudaMemcpyHostToDevice,
                             executor->stream));
    TRY_CUDA(cudaMemcpyAsync(made.labels, split->labels, count, cudaMemcpyHostToDevice,
                             executor->stream));
    cairn_augmenter augmenter = cairn_executor_augmenter(base, CAIRN_SPLIT_TRAIN);
    if (id == CAIRN_SPLIT_TRAIN)
        augmenter.count = (uint32_t)split->count;
    TRY_CUDA(cudaMemcpyAsync(executor->augmenter, &augmenter, sizeof augmenter,
                             cudaMemcpyHostToDevice, executor->stream));
    return wait_for(executor, "uploading the images"); /* the caller's arrays are free again */
}

/* Passes ----------------------------------------------------------------------------------------*/

static cairn_status train_step(cairn_executor *base, const cairn_step *step) {
    cairn_status status = enter(own(base));
    return status ? status : cuda_train(own(base), step, 0, step->count);
}

static cairn_status evaluate(cairn_executor *base, cairn_split_id id, int first, int count) {
    cairn_status status = enter(own(base));
    return status ? status : cuda_infer(own(base), id, first, count, NULL);
}

static cairn_status get_stats(cairn_executor *base, cairn_stats *stats) {
    cuda_executor *executor = own(base);
    cuda_state state;
    cairn_status status = enter(executor);
    if (status)
        return status;
    TRY_CUDA(cudaMemcpyAsync(&state, executor->state, sizeof state, cudaMemcpyDeviceToHost,
                             executor->stream));
    status = wait_for(executor, "waiting for the device");
    if (!status)
        *stats = (cairn_stats){state.loss, (int64_t)state.correct, (int64_t)state.seen};
    return status;
}

/* Leaves the state's other half, which belongs to the steps, alone. */
static cairn_status set_stats(cairn_executor *base, const cairn_stats *stats) {
    cuda_executor *executor = own(base);
    cuda_state state = {.loss = stats->loss,
                        .correct = (unsigned long long)stats->correct,
                        .seen = (unsigned long long)stats->seen};
    size_t begin = offsetof(cuda_state, loss);
    cairn_status status = enter(executor);
    if (status)
        return status;
    TRY_CUDA(cudaMemcpyAsync((char *)executor->state + begin, (char *)&state + begin,
                             sizeof state - begin, cudaMemcpyHostToDevice, executor->stream));
    return wait_for(executor, "waiting for the device");
}

/* An evaluation that puts the stats back. */
static cairn_status logits(cairn_executor *base, cairn_split_id id, int first, int count,
                           float *values) {
    cairn_stats before;
    cairn_status status = get_stats(base, &before);
    if (!status)
        status = cuda_infer(own(base), id, first, count, values);
    if (status) {
        cudaStreamSynchronize(own(base)->stream); /* no copy into `values` is left under way */
        return status;
    }
    return set_stats(base, &before);
}

/* Values in and out -----------------------------------------------------------------------------*/

static cairn_status get(cairn_executor *base, cairn_tensor_kind kind, int ordinal, float *values) {
    cairn_status status = enter(own(base));
    return status ? status : parameter_get(own(base), kind, ordinal, values);
}

static cairn_status set(cairn_executor *base, cairn_tensor_kind kind, int ordinal,
                        const float *values) {
    cairn_status status = enter(own(base));
    return status ? status : parameter_set(own(base), kind, ordinal, values);
}

static cairn_status exchange(cairn_executor *base) {
    cuda_executor *executor = own(base);
    cairn_status status = enter(executor);
    if (status)
        return status;
    kernel_exchange(executor->stream, executor->total, executor->tensors[CAIRN_PARAMETER],
                    executor->tensors[CAIRN_AVERAGE], executor->shadow);
    return cuda_check(cudaGetLastError(), "exchanging parameters and average");
}

/* Measuring -------------------------------------------------------------------------------------*/

static cairn_status profile_step(cairn_executor *base, const cairn_step *step, cairn_timing *rows,
                                 int capacity, int *count) {
    cairn_status status = enter(own(base));
    return status ? status : cuda_profile_step(own(base), step, rows, capacity, count);
}

static cairn_status measure(cairn_executor *base, cairn_roofline *roofline) {
    cuda_executor *executor = own(base);
    cuda_plan *plan = NULL;
    cairn_status status = enter(executor);
    if (!status)
        status = cuda_plan_find(&plan, executor, base->options.batch, CAIRN_PLAN_TRAINS);
    if (status)
        return status;
    roofline->launches = plan->launches;
    return roofline_measure(executor, &roofline->flops, &roofline->bytes);
}

static const char *device_line(const cairn_executor *base, char *out, size_t size) {
    char libraries[128];
    device_describe(base->options.device, out, size);
    size_t used = strlen(out);
    snprintf(out + used, size - used, "; %s", libraries_describe(libraries, sizeof libraries));
    return out;
}

static const char *choices(const cairn_executor *base, char *out, size_t size) {
    return cuda_choices((const cuda_executor *)base, out, size);
}

static cairn_status compare(cairn_executor *base, cairn_timing *rows, int capacity, int *count) {
    cairn_status status = enter(own(base));
    return status ? status : autotune_list(own(base), rows, capacity, count);
}

static const cairn_executor_ops ops = {.destroy = destroy,
                                       .upload = upload,
                                       .train_step = train_step,
                                       .evaluate = evaluate,
                                       .logits = logits,
                                       .get = get,
                                       .set = set,
                                       .exchange = exchange,
                                       .get_stats = get_stats,
                                       .set_stats = set_stats,
                                       .profile_step = profile_step,
                                       .measure = measure,
                                       .device = device_line,
                                       .choices = choices,
                                       .compare = compare};

const cairn_backend cairn_backend_cuda = {.name = "cuda",
                                          .probe = device_probe,
                                          .describe = libraries_describe,
                                          .supports = supports,
                                          .identify = device_identify,
                                          .create = create,
                                          .devices = device_count,
                                          .describe_device = device_describe};
