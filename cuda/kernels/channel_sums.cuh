/* Sums over samples and places, some of them a channel, in two launches: blocks sum slices of the
 * batch, then one block sums the slices of each channel and ends with what is made of them. How the
 * batch is sliced depends on its shape alone, so the order of additions, and with it every bit, is
 * the same on every GPU.
 *
 * What is summed is a struct `Terms`, an argument of the kernel:
 *   typedef ... element;                  bf16 or float
 *   enum { SUMS = ... };                  sums a channel
 *   template <int V, bool NHWC> struct walker {
 *       walker(const Terms &, int channel);     once a thread: V channels from this one on, or one
 *       void add(size_t at, float (&sum)[SUMS][V]);    V elements in memory from `at` on
 *   };
 * and `End` has void operator()(int channel, const float (&sum)[SUMS]) const, for one thread. */
#ifndef CAIRN_CUDA_CHANNEL_SUMS_CUH
#define CAIRN_CUDA_CHANNEL_SUMS_CUH

#include "common.cuh"

enum { WARPS = THREADS / WARP, SLICES_MAX = 512, PER_THREAD = 8 };

/* The sum over a warp's lanes whose numbers differ by multiples of `step`, a power of two. */
static __device__ __forceinline__ float warp_sum(float value, int step) {
    for (int distance = step; distance < WARP; distance *= 2)
        value += __shfl_xor_sync((unsigned)ALL_LANES, value, distance);
    return value;
}

/* CUDA_NHWC, a matrix [rows][pitch]. `across` threads, a power of two up to a warp, take V channels
 * each, side by side; the others of the block take further rows. Grid: (slices, channels). */
template <typename Terms, int V>
static __global__ void __launch_bounds__(THREADS)
    sum_rows(Terms terms, size_t rows, int pitch, int across, float *__restrict__ partial) {
    enum { SUMS = Terms::SUMS };
    SHARED(float, warps, [SUMS][WARPS][WARP * V]);
    const int thread = (int)threadIdx.x, lane = thread % WARP;
    const int channel = ((int)blockIdx.y * across + thread % across) * V;
    const int height = THREADS / across;
    float sum[SUMS][V] = {};
    if (channel < pitch) {
        typename Terms::template walker<V, true> walk(terms, channel);
        for (size_t row = (size_t)blockIdx.x * height + thread / across; row < rows;
             row += (size_t)gridDim.x * height)
            walk.add(row * pitch + channel, sum);
    }
    UNROLL
    for (int s = 0; s < SUMS; s++)
        UNROLL
    for (int l = 0; l < V; l++) {
        const float total = warp_sum(sum[s][l], across);
        if (lane < across)
            warps[s][thread / WARP][lane * V + l] = total;
    }
    __syncthreads();
    const int to = (int)blockIdx.y * across * V + thread;
    if (thread >= across * V || to >= pitch)
        return;
    UNROLL
    for (int s = 0; s < SUMS; s++) {
        float total = 0;
        for (int w = 0; w < WARPS; w++)
            total += warps[s][w][thread];
        partial[((size_t)blockIdx.x * SUMS + s) * pitch + to] = total;
    }
}

/* CUDA_NCHW: a block takes one channel's planes of every gridDim.x-th group of samples. Grid:
 * (slices, channels), block: (places, samples). */
template <typename Terms, int V>
static __global__ void __launch_bounds__(THREADS)
    sum_planes(Terms terms, cuda_tensor shape, float *__restrict__ partial) {
    enum { SUMS = Terms::SUMS };
    SHARED(float, warps, [SUMS][WARPS]);
    const int plane = shape.h * shape.w, c = (int)blockIdx.y;
    const int thread = (int)(threadIdx.y * blockDim.x + threadIdx.x);
    float sum[SUMS][V] = {};
    typename Terms::template walker<V, false> walk(terms, c);
    for (int n = (int)(blockIdx.x * blockDim.y + threadIdx.y); n < shape.count;
         n += (int)(gridDim.x * blockDim.y))
        for (int p = (int)threadIdx.x * V; p < plane; p += (int)blockDim.x * V)
            walk.add(((size_t)n * shape.c + c) * plane + p, sum);
    UNROLL
    for (int s = 0; s < SUMS; s++) {
        float total = 0;
        UNROLL
        for (int l = 0; l < V; l++)
            total += sum[s][l];
        total = warp_sum(total, 1);
        if (thread % WARP == 0)
            warps[s][thread / WARP] = total;
    }
    __syncthreads();
    if (thread >= SUMS)
        return;
    float total = 0;
    for (int w = 0; w < WARPS; w++)
        total += warps[thread][w];
    partial[((size_t)blockIdx.x * SUMS + thread) * shape.c + c] = total;
}

/* Over the slices of partial [slices][SUMS][channels]. Block: (channels, slices). */
template <int SUMS, typename End>
static __global__ void __launch_bounds__(THREADS)
    sum_slices(int slices, int channels, const float *__restrict__ partial, End end) {
    SHARED(float, warps, [SUMS][WARPS][WARP]);
    const int channel = (int)(blockIdx.x * WARP + threadIdx.x);
    float sum[SUMS] = {};
    if (channel < channels)
        for (int slice = (int)threadIdx.y; slice < slices; slice += WARPS)
            UNROLL
    for (int s = 0; s < SUMS; s++)
        sum[s] += partial[((size_t)slice * SUMS + s) * channels + channel];
    UNROLL
    for (int s = 0; s < SUMS; s++)
        warps[s][threadIdx.y][threadIdx.x] = sum[s];
    __syncthreads();
    if (threadIdx.y != 0 || channel >= channels)
        return;
    UNROLL
    for (int s = 0; s < SUMS; s++)
        for (int w = 1; w < WARPS; w++)
            sum[s] += warps[s][w][threadIdx.x];
    end(channel, sum);
}

/* Enough slices that a thread adds a few values; their greatest number keeps the second launch
 * short. */
static inline unsigned slice_count(size_t items, size_t a_block) {
    size_t slices = divide_up(items, a_block * PER_THREAD);
    return slices < SLICES_MAX ? (unsigned)slices : (unsigned)SLICES_MAX;
}

/* Bytes of scratch that the launches below want. */
static inline size_t channel_sums_scratch(const cuda_tensor &shape, int sums) {
    return (size_t)SLICES_MAX * (size_t)sums * (size_t)shape.pitch * sizeof(float);
}

/* `wide`: the tensors are aligned for packs. */
template <typename Terms, typename End>
static void launch_channel_sums(cudaStream_t stream, const cuda_tensor &shape, bool wide,
                                const Terms &terms, void *scratch, const End &end) {
    constexpr int V = 16 / sizeof(typename Terms::element);
    float *partial = (float *)scratch;
    const int plane = shape.h * shape.w;
    unsigned slices;
    if (shape.layout == CUDA_NHWC || plane == 1) {
        const size_t rows = (size_t)shape.count * plane;
        const int width = wide && shape.pitch % V == 0 ? V : 1, vectors = shape.pitch / width;
        int across = 1;
        while (across < WARP && across < vectors)
            across *= 2;
        slices = slice_count(rows, (size_t)(THREADS / across));
        launch_shape spread = {dim3(slices, (unsigned)divide_up((size_t)vectors, (size_t)across)),
                               dim3(THREADS)};
        if (width == V)
            LAUNCH((sum_rows<Terms, V>), spread, stream, terms, rows, shape.pitch, across, partial);
        else
            LAUNCH((sum_rows<Terms, 1>), spread, stream, terms, rows, shape.pitch, across, partial);
    } else {
        const int width = wide && plane % V == 0 ? V : 1;
        unsigned x = 1;
        while (x < THREADS && x < (unsigned)(plane / width))
            x *= 2;
        slices = slice_count((size_t)shape.count, THREADS / x);
        launch_shape spread = {dim3(slices, (unsigned)shape.c), dim3(x, THREADS / x)};
        if (width == V)
            LAUNCH((sum_planes<Terms, V>), spread, stream, terms, shape, partial);
        else
            LAUNCH((sum_planes<Terms, 1>), spread, stream, terms, shape, partial);
    }
    launch_shape last = {dim3((unsigned)divide_up((size_t)shape.pitch, WARP)), dim3(WARP, WARPS)};
    LAUNCH((sum_slices<Terms::SUMS, End>), last, stream, (int)slices, shape.pitch,
           (const float *)partial, end);
}

#endif
