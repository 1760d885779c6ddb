/* The cuda backend's entry points: parameters and data on the device, plans made on first use for
 * each batch size, a step as one slot of the ring and one graph. Nothing here waits for the device
 * but the calls that executor.h marks so, and a full ring. */
#include "backend.h"
#include "plan.h"

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
    ring_destroy(executor);
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

static void deal_out(cuda_executor *executor) {
    bool half = executor->type == CUDA_BF16;
    executor->memory_bytes = 0;
    const cairn_executor_options *options = &executor->base.options;
    size_t floats = executor->total * sizeof(float);
    for (int kind = 0; kind < CAIRN_TENSOR_KINDS; kind++)
        if (cairn_optimizer_keeps(&options->optimizer, (cairn_tensor_kind)kind))
            executor->tensors[kind] = take(executor, floats);
    executor->sum = options->accumulate > 1 ? take(executor, floats) : NULL;
    executor->treatment =
        update_has_treatments(executor) ? take(executor, executor->total / CUDA_GRAIN) : NULL;
    executor->clip_scratch =
        options->optimizer.clip_norm > 0 ? take(executor, kernel_clip_scratch()) : NULL;
    executor->half_gradient = half ? take(executor, executor->half_total * sizeof(uint16_t)) : NULL;
    executor->shadow = half ? take(executor, executor->total * sizeof(uint16_t)) : NULL;
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
    deal_out(executor);
    size_t bytes = executor->memory_bytes;
    TRY_CUDA(cudaMalloc((void **)&executor->memory, bytes));
    deal_out(executor);
    TRY_CUDA(cudaMemsetAsync(executor->memory, 0, bytes, executor->stream));
    cairn_status status = update_fill_treatments(executor);
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
        status = ring_create(executor);
    if (!status && !options->deterministic)
        status = contests_hold(executor);
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

/* The slot of the step's batch that begins at sample `first`. */
static cairn_status fill_batch(cuda_executor *executor, const cairn_step *step, int first) {
    const cairn_executor_options *options = &executor->base.options;
    const cairn_step batch = cairn_step_batch(&executor->base, step, first);
    const cairn_update now = cairn_optimizer_at(&options->optimizer, step->step, step->lr);
    cuda_slot *slot = NULL;
    cairn_status status = ring_take(executor, &slot);
    if (status)
        return status;
    slot->epoch = step->epoch;
    slot->step = step->step;
    slot->batch = (uint32_t)(first / options->batch);
    slot->last = first + batch.count == step->count;
    slot->share = (float)batch.count / (float)step->count;
    slot->rate = (float)now.rate;
    slot->correction = (float)now.correction;
    slot->shrink = (float)now.shrink;
    slot->take = (float)now.take;
    memcpy(slot->indices, batch.indices, (size_t)batch.count * sizeof *batch.indices);
    return CAIRN_OK;
}

/* Its batches from sample `first` up to `last`. */
static cairn_status train_batches(cuda_executor *executor, const cairn_step *step, int first,
                                  int last) {
    cairn_status status = enter(executor);
    for (int count; first < last && !status; first += count) {
        cuda_plan *plan = NULL;
        count = cairn_step_batch(&executor->base, step, first).count;
        status =
            cuda_plan_find(&plan, executor, count, cairn_plan_purpose_of(&executor->base, step));
        if (!status)
            status = fill_batch(executor, step, first);
        if (!status)
            status = cuda_plan_launch(plan, CAIRN_SPLIT_TRAIN);
        if (!status)
            status = ring_commit(executor);
    }
    return status;
}

static cairn_status train_step(cairn_executor *base, const cairn_step *step) {
    return train_batches(own(base), step, 0, step->count);
}

/* Large enough to fill the device, and modest in memory beside the training plan. */
static cairn_status choose_infer_batch(cuda_executor *executor) {
    enum { WISHED = 1000, MODEST = 256 << 20 };
    size_t bytes = 0, allowed = executor->blocks->bytes > MODEST ? executor->blocks->bytes : MODEST;
    cairn_status status = cuda_plan_measure(executor, WISHED, CAIRN_PLAN_EVALUATES, &bytes);
    double share = (double)allowed / (double)bytes;
    executor->infer_batch = status || share >= 1 ? WISHED : (int)(WISHED * share);
    if (executor->infer_batch < 1)
        executor->infer_batch = 1;
    return status;
}

/* Forward over a range in batches, into the stats and, where it is not NULL, into `logits`. */
static cairn_status infer(cuda_executor *executor, cairn_split_id id, int first, int count,
                          float *logits) {
    size_t row = (size_t)cairn_net_classes(executor->base.net) * sizeof *logits;
    cairn_status status = enter(executor);
    if (!status && !executor->infer_batch)
        status = choose_infer_batch(executor);
    for (int done = 0, part; done < count && !status; done += part) {
        part = count - done < executor->infer_batch ? count - done : executor->infer_batch;
        cuda_plan *plan = NULL;
        cuda_slot *slot = NULL;
        status = cuda_plan_find(&plan, executor, part, CAIRN_PLAN_EVALUATES);
        if (!status)
            status = ring_take(executor, &slot);
        if (status)
            break;
        slot->first = first + done;
        slot->glance = executor->base.glance;
        status = cuda_plan_launch(plan, id);
        if (!status)
            status = ring_commit(executor);
        if (!status && logits) {
            size_t pitch = (size_t)plan->logits_pitch * sizeof *logits;
            TRY_CUDA(cudaMemcpy2DAsync((char *)logits + (size_t)done * row, row, plan->logits,
                                       pitch, row, (size_t)part, cudaMemcpyDeviceToHost,
                                       executor->stream));
        }
    }
    return status;
}

static cairn_status evaluate(cairn_executor *base, cairn_split_id id, int first, int count) {
    return infer(own(base), id, first, count, NULL);
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
        status = infer(own(base), id, first, count, values);
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

/* Waits for the events; rows[i] is what passed between i and i + 1. */
static cairn_status take_times(const cuda_plan *plan, const cudaEvent_t *events, cairn_timing *rows,
                               int capacity, int *count) {
    *count = plan->task_count < capacity ? plan->task_count : capacity;
    TRY_CUDA(cudaEventSynchronize(events[plan->task_count]));
    for (int i = 0; i < *count; i++) {
        float milliseconds = 0;
        TRY_CUDA(cudaEventElapsedTime(&milliseconds, events[i], events[i + 1]));
        rows[i] = (cairn_timing){.begin = i ? rows[i - 1].begin + rows[i - 1].seconds : 0,
                                 .seconds = milliseconds * 1e-3,
                                 .flops = plan->task[i].flops};
        snprintf(rows[i].name, sizeof rows[i].name, "%s", plan->task[i].name);
    }
    return CAIRN_OK;
}

static cairn_status profile_step(cairn_executor *base, const cairn_step *step, cairn_timing *rows,
                                 int capacity, int *count) {
    cuda_executor *executor = own(base);
    cuda_plan *plan = NULL;
    int last = (step->count - 1) / base->options.batch * base->options.batch;
    cairn_status status = train_batches(executor, step, 0, last);
    if (!status)
        status = cuda_plan_find(&plan, executor, step->count - last,
                                cairn_plan_purpose_of(&executor->base, step));
    if (status)
        return status;
    cudaEvent_t *events = calloc((size_t)plan->task_count + 1, sizeof(cudaEvent_t));
    if (!events)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d timings", plan->task_count);
    for (int i = 0; i <= plan->task_count && !status; i++)
        status = cuda_check(cudaEventCreate(&events[i]), "cudaEventCreate");
    if (!status)
        status = fill_batch(executor, step, last);
    if (!status)
        status = cuda_plan_enqueue(plan, CAIRN_SPLIT_TRAIN, events);
    if (!status)
        status = ring_commit(executor);
    if (!status)
        status = take_times(plan, events, rows, capacity, count);
    for (int i = 0; i <= plan->task_count; i++)
        if (events[i])
            cudaEventDestroy(events[i]);
    free(events);
    return status;
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

static cairn_status contests(cairn_executor *base, cairn_timing *rows, int capacity, int *count) {
    cairn_status status = enter(own(base));
    return status ? status : contests_list(own(base), rows, capacity, count);
}

/* Appends " text," where there is room. */
static void append_choice(char *out, size_t size, const char *text) {
    size_t used = strlen(out);
    snprintf(out + used, size - used, " %s,", text);
}

static void append_algorithms(const cuda_plan *plan, const cuda_stage *stage, char *out,
                              size_t size) {
    for (int pass = 0; pass < CONV_PASSES; pass++) {
        char one[96];
        bool runs = pass == CONV_FORWARD ||
                    (pass == CONV_DATA && cairn_graph_wants(&plan->graph, stage->layer->input)) ||
                    (pass == CONV_FILTER && cairn_graph_trains(&plan->graph, stage->layer->weight));
        if (runs)
            append_choice(out, size, conv_choice(stage, pass, one, sizeof one));
    }
}

/* cuDNN's algorithms of a whole batch's training plan, which is the first that was made; and whose
 * pooling it takes, where both were measured. */
static const char *choices(const cairn_executor *base, char *out, size_t size) {
    const cuda_executor *executor = (const cuda_executor *)base;
    const cuda_plan *plan = executor->plans;
    snprintf(out, size, "cuDNN:");
    while (plan->next)
        plan = plan->next;
    for (int s = 0; s < plan->stage_count; s++)
        if (plan->stage[s].layer->kind == CAIRN_OP_CONV2D)
            append_algorithms(plan, &plan->stage[s], out, size);
    for (int i = 0; i < base->net->op_count; i++) {
        const cuda_contest *times = &executor->contest[i];
        char one[128];
        if (times->ours <= 0 || times->cudnn <= 0)
            continue;
        snprintf(one, sizeof one, "%s pooling by %s (ours %.1f us, cuDNN %.1f us)",
                 base->net->op[i].name, contest_lost(executor, i) ? "cuDNN" : "ours",
                 1e6 * times->ours, 1e6 * times->cudnn);
        append_choice(out, size, one);
    }
    out[strlen(out) - 1] = '\0';
    return out;
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
                                       .contests = contests};

const cairn_backend cairn_backend_cuda = {.name = "cuda",
                                          .probe = device_probe,
                                          .describe = libraries_describe,
                                          .supports = supports,
                                          .identify = device_identify,
                                          .create = create,
                                          .devices = device_count,
                                          .describe_device = device_describe};
