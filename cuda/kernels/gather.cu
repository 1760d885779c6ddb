/* The first kernel of a step: from sample indices to a normalised batch. One block a sample: one
 * thread reads what the host left in the slot (over the bus, so once), the others meanwhile bring
 * the table of normalised values into shared memory. */
#include "common.cuh"

#include "host/data/transform_pixels.h"

enum { GATHER_THREADS = 512, TABLE_CHANNELS = 4, BYTES = 256 };

/* Where a block's sample lies, and by how much its crop is shifted. */
struct gather_sample {
    size_t index;
    int dy, dx;
};

/* The slot is the host's memory, written since the last step: every read goes there. */
static __device__ __forceinline__ const volatile cuda_slot *gather_slot(const cuda_ring &ring,
                                                                        const cuda_state *state) {
    return (const cuda_slot *)(ring.slots + state->cursor % ring.count * ring.stride);
}

/* The first sample's block leaves the slot's groups in the state: a warp of its own reads them,
 * beside the thread that reads the rest. */
static __device__ __forceinline__ void gather_groups(const cuda_ring &ring, cuda_state *state) {
    enum {
        WORDS = CUDA_GROUPS_MAX * sizeof(cuda_group) / sizeof(float),
        FIRST = GATHER_THREADS - WORDS
    };
    const int word = (int)threadIdx.x - FIRST;
    if (blockIdx.x == 0 && word >= 0)
        ((float *)state->group)[word] =
            ((const volatile float *)gather_slot(ring, state)->group)[word];
}

/* The epoch; the first sample's block leaves the slot's scalars in the state. */
static __device__ __forceinline__ uint32_t gather_begin(const volatile cuda_slot *slot,
                                                        cuda_state *state, int n) {
    const uint32_t epoch = slot->epoch;
    if (n == 0) {
        /* All reads before the first write, so that they cross the bus together. */
        const uint32_t step = slot->step, micro_batch = slot->micro_batch, last = slot->last;
        const uint32_t trained = slot->trained;
        const float share = slot->share, take = slot->take;
        state->epoch = epoch;
        state->step = step;
        state->micro_batch = micro_batch;
        state->last = last;
        state->share = share;
        state->trained = trained;
        state->take = take;
    }
    return epoch;
}

static __device__ gather_sample gather_find(const cuda_gather &gather, const cuda_ring &ring,
                                            cuda_state *state, int n) {
    const volatile cuda_slot *slot = gather_slot(ring, state);
    const uint32_t epoch = gather_begin(slot, state, n);
    const int32_t index = gather.by_index ? slot->indices[n] : slot->first + n;
    if (gather.crop_padding == 0)
        return {(size_t)index, 0, 0};
    const uint32_t places = 2 * (uint32_t)gather.crop_padding + 1;
    const cairn_rng_block random =
        cairn_rng(gather.seed, CAIRN_RNG_CROP, epoch, 0, (uint64_t)index);
    return {(size_t)index, (int)cairn_rng_below(random.word[0], places) - gather.crop_padding,
            (int)cairn_rng_below(random.word[1], places) - gather.crop_padding};
}

template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(GATHER_THREADS)
    gather_batch(cuda_gather gather, cuda_ring ring, cuda_state *state, cuda_tensor shape,
                 T *__restrict__ x, uint8_t *__restrict__ batch_labels) {
    SHARED(T, table, [TABLE_CHANNELS * BYTES]);
    SHARED(gather_sample, sample, [1]);
    const int n = (int)blockIdx.x, thread = (int)threadIdx.x;
    gather_groups(ring, state);
    if (thread == 0) {
        *sample = gather_find(gather, ring, state, n);
        batch_labels[n] = gather.labels[sample->index];
    }
    for (int t = thread; t < min(shape.c, (int)TABLE_CHANNELS) * BYTES; t += GATHER_THREADS)
        table[t] = from_float<T>(gather.table[t]);
    __syncthreads();

    const int plane = shape.h * shape.w;
    const uint8_t *__restrict__ image = gather.images + sample->index * (size_t)(shape.c * plane);
    T *to = x + (size_t)n * sample_size(shape);
    for (unsigned p = threadIdx.x; p < sample_size(shape) / V; p += GATHER_THREADS) {
        const spot at = locate<V, NHWC>(shape, p);
        const int row = at.i + sample->dy, column = at.j + sample->dx;
        const bool inside = row >= 0 && row < shape.h && column >= 0 && column < shape.w;
        const int pixel = row * shape.w + column;
        pack<T, V> values;
        UNROLL
        for (int l = 0; l < V; l++) {
            const int c = at.c + l;
            if (c < shape.c)
                values.at[l] =
                    table[c % TABLE_CHANNELS * BYTES + (inside ? image[c * plane + pixel] : 0)];
            else
                values.at[l] = from_float<T>(0);
        }
        store(to + (size_t)p * V, values);
    }
}

/* The augmented batch, in parts: which sample and what becomes of it; its target; where they are
 * wanted, its lookup tables; its bytes. */
static __device__ uint32_t augment_find(const cuda_gather &gather, const cuda_ring &ring,
                                        cuda_state *state, int n, cairn_transform *transform) {
    const volatile cuda_slot *slot = gather_slot(ring, state);
    const uint32_t epoch = gather_begin(slot, state, n);
    const uint32_t index = (uint32_t)(gather.by_index ? slot->indices[n] : slot->first + n);
    const cairn_evaluation_view view = {slot->view.flip, slot->view.dy, slot->view.dx};
    if (gather.by_index)
        cairn_transform_draw(gather.augmenter, transform, epoch, index);
    else
        cairn_transform_evaluation(gather.augmenter, transform, view, index);
    return index;
}

/* The lookup tables of the sample's views, by the block's threads together. */
static __device__ __attribute__((noinline)) void
augment_measure(const cuda_gather &gather, cairn_transform *transform, uint32_t index) {
    SHARED(int32_t, count, [3][BYTES]);
    const int thread = (int)threadIdx.x;
    const int plane = gather.augmenter->height * gather.augmenter->width;
    for (int which = 0; which < 2; which++) {
        cairn_view *view = which == 0 ? &transform->own : &transform->other;
        const size_t sample = which == 0 ? index : transform->partner;
        const uint8_t *image = gather.images + sample * 3 * plane;
        if (!view->uses_lut)
            continue;
        for (int t = thread; t < 3 * BYTES; t += GATHER_THREADS)
            count[t / BYTES][t % BYTES] = 0;
        __syncthreads();
        for (int p = thread; p < 3 * plane; p += GATHER_THREADS)
            atomicAdd(&count[p / plane][image[p]], 1);
        __syncthreads();
        if (thread < 3)
            cairn_lut_build(view, count[thread], view->lut[thread]);
        __syncthreads();
    }
}

static __device__ void augment_target(const cuda_gather &gather, const cairn_transform &transform,
                                      uint32_t index, int n, const cuda_targets &targets) {
    targets.label[n] = gather.labels[index];
    if (targets.other) {
        targets.other[n] = gather.labels[transform.partner];
        targets.share[n] = (float)transform.weight / (float)CAIRN_ONE;
    }
}

/* Compiled once, not into every place of every loop: it is long. */
static __device__ __attribute__((noinline)) int augment_level(const cuda_gather &gather,
                                                              const cairn_transform *transform,
                                                              uint32_t index, int c, int i, int j) {
    return cairn_transform_level(gather.augmenter, transform, gather.images, index, c, i, j);
}

template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(GATHER_THREADS, 1)
    augment_batch(cuda_gather gather, cuda_ring ring, cuda_state *state, cuda_tensor shape,
                  T *__restrict__ x, cuda_targets targets) {
    SHARED(T, table, [TABLE_CHANNELS * BYTES]);
    SHARED(cairn_transform, transform, [1]);
    SHARED(uint32_t, index, [1]);
    const int n = (int)blockIdx.x, thread = (int)threadIdx.x;
    gather_groups(ring, state);
    if (thread == 0) {
        *index = augment_find(gather, ring, state, n, transform);
        augment_target(gather, *transform, *index, n, targets);
    }
    for (int t = thread; t < min(shape.c, (int)TABLE_CHANNELS) * BYTES; t += GATHER_THREADS)
        table[t] = from_float<T>(gather.table[t]);
    __syncthreads();
    if (transform->own.uses_lut || transform->other.uses_lut)
        augment_measure(gather, transform, *index);

    T *to = x + (size_t)n * sample_size(shape);
    for (unsigned p = threadIdx.x; p < sample_size(shape) / V; p += GATHER_THREADS) {
        const spot at = locate<V, NHWC>(shape, p);
        pack<T, V> values;
        UNROLL
        for (int l = 0; l < V; l++) {
            const int c = at.c + l;
            values.at[l] = from_float<T>(0);
            if (c < shape.c)
                values.at[l] = table[c % TABLE_CHANNELS * BYTES +
                                     augment_level(gather, transform, *index, c, at.i, at.j)];
        }
        store(to + (size_t)p * V, values);
    }
}

void kernel_gather(cudaStream_t stream, const cuda_gather *gather, cuda_ring ring,
                   cuda_state *state, cuda_tensor shape, void *x, cuda_targets targets) {
    launch_shape spread = {dim3((unsigned)shape.count), dim3(GATHER_THREADS)};
    dispatch(shape, aligned(x, 16), [&](auto zero, auto width, auto nhwc) {
        typedef decltype(zero) T;
        constexpr int V = decltype(width)::value;
        constexpr bool NHWC = decltype(nhwc)::value;
        if (gather->augmenter)
            LAUNCH((augment_batch<T, V, NHWC>), spread, stream, *gather, ring, state, shape, (T *)x,
                   targets);
        else
            LAUNCH((gather_batch<T, V, NHWC>), spread, stream, *gather, ring, state, shape, (T *)x,
                   targets.label);
    });
}
