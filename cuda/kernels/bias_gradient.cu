/* Sums over samples and places, one a channel, in two launches: blocks sum slices of the batch,
 * then one block sums the slices of each channel. How the batch is sliced depends on its shape
 * alone, so the order of additions, and with it every bit, is the same on every GPU. */
#include "common.cuh"

enum { WARPS = THREADS / WARP, SLICES_MAX = 512, PER_THREAD = 8 };

/* The sum over a warp's lanes whose numbers differ by multiples of `step`, a power of two. */
static __device__ __forceinline__ float warp_sum(float value, int step) {
    for (int distance = step; distance < WARP; distance *= 2)
        value += __shfl_xor_sync((unsigned)ALL_LANES, value, distance);
    return value;
}

template <typename T, int V>
static __device__ __forceinline__ void add_pack(const T *dy, const uint8_t *chosen, size_t at,
                                                float (&sum)[V]) {
    const pack<T, V> values = load<V>(dy + at);
    if (chosen) {
        const pack<uint8_t, V> winners = load<V>(chosen + at);
        UNROLL
        for (int l = 0; l < V; l++)
            sum[l] += winners.at[l] == 255 ? 0.0f : to_float(values.at[l]);
    } else {
        UNROLL
        for (int l = 0; l < V; l++)
            sum[l] += to_float(values.at[l]);
    }
}

/* CUDA_NHWC, a matrix [rows][pitch]. `across` threads, a power of two up to a warp, take V channels
 * each, side by side; the others of the block take further rows. Grid: (slices, channels). */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    sum_rows(size_t rows, int pitch, int across, const T *__restrict__ dy,
             const uint8_t *__restrict__ chosen, float *__restrict__ partial) {
    SHARED(float, warps, [WARPS][WARP * V]);
    const int thread = (int)threadIdx.x, lane = thread % WARP;
    const int channel = ((int)blockIdx.y * across + thread % across) * V;
    const int height = THREADS / across;
    float sum[V] = {};
    if (channel < pitch)
        for (size_t row = (size_t)blockIdx.x * height + thread / across; row < rows;
             row += (size_t)gridDim.x * height)
            add_pack<T, V>(dy, chosen, row * pitch + channel, sum);
    UNROLL
    for (int l = 0; l < V; l++) {
        const float total = warp_sum(sum[l], across);
        if (lane < across)
            warps[thread / WARP][lane * V + l] = total;
    }
    __syncthreads();
    const int to = (int)blockIdx.y * across * V + thread;
    if (thread >= across * V || to >= pitch)
        return;
    float total = 0;
    for (int w = 0; w < WARPS; w++)
        total += warps[w][thread];
    partial[(size_t)blockIdx.x * pitch + to] = total;
}

/* CUDA_NCHW: a block takes one channel's planes of every gridDim.x-th group of samples. Grid:
 * (slices, channels), block: (places, samples). */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    sum_planes(cuda_tensor shape, const T *__restrict__ dy, const uint8_t *__restrict__ chosen,
               float *__restrict__ partial) {
    SHARED(float, warps, [WARPS]);
    const int plane = shape.h * shape.w, c = (int)blockIdx.y;
    const int thread = (int)(threadIdx.y * blockDim.x + threadIdx.x);
    float sum[V] = {};
    for (int n = (int)(blockIdx.x * blockDim.y + threadIdx.y); n < shape.count;
         n += (int)(gridDim.x * blockDim.y))
        for (int p = (int)threadIdx.x * V; p < plane; p += (int)blockDim.x * V)
            add_pack<T, V>(dy, chosen, ((size_t)n * shape.c + c) * plane + p, sum);
    float total = 0;
    UNROLL
    for (int l = 0; l < V; l++)
        total += sum[l];
    total = warp_sum(total, 1);
    if (thread % WARP == 0)
        warps[thread / WARP] = total;
    __syncthreads();
    if (thread != 0)
        return;
    for (int w = 1; w < WARPS; w++)
        total += warps[w];
    partial[(size_t)blockIdx.x * shape.c + c] = total;
}

/* sums[channel] = sum over slices of partial [slices][channels]. Block: (channels, slices). */
static __global__ void __launch_bounds__(THREADS)
    sum_slices(int slices, int channels, const float *__restrict__ partial,
               float *__restrict__ sums) {
    SHARED(float, warps, [WARPS][WARP]);
    const int channel = (int)(blockIdx.x * WARP + threadIdx.x);
    float sum = 0;
    if (channel < channels)
        for (int slice = (int)threadIdx.y; slice < slices; slice += WARPS)
            sum += partial[(size_t)slice * channels + channel];
    warps[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || channel >= channels)
        return;
    for (int w = 1; w < WARPS; w++)
        sum += warps[w][threadIdx.x];
    sums[channel] = sum;
}

/* Enough slices that a thread adds a few values; their greatest number keeps the second launch
 * short. */
static unsigned slice_count(size_t items, size_t a_block) {
    size_t slices = divide_up(items, a_block * PER_THREAD);
    return slices < SLICES_MAX ? (unsigned)slices : (unsigned)SLICES_MAX;
}

size_t kernel_bias_gradient_scratch(cuda_tensor shape) {
    return (size_t)SLICES_MAX * (size_t)shape.pitch * sizeof(float);
}

template <typename T>
static void launch_bias_gradient(cudaStream_t stream, const cuda_tensor &shape, const T *dy,
                                 const uint8_t *chosen, float *partial, float *sums) {
    constexpr int V = 16 / sizeof(T);
    const int plane = shape.h * shape.w;
    const bool wide = aligned(dy, 16) && aligned(chosen, V);
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
            LAUNCH((sum_rows<T, V>), spread, stream, rows, shape.pitch, across, dy, chosen,
                   partial);
        else
            LAUNCH((sum_rows<T, 1>), spread, stream, rows, shape.pitch, across, dy, chosen,
                   partial);
    } else {
        const int width = wide && plane % V == 0 ? V : 1;
        unsigned x = 1;
        while (x < THREADS && x < (unsigned)(plane / width))
            x *= 2;
        slices = slice_count((size_t)shape.count, THREADS / x);
        launch_shape spread = {dim3(slices, (unsigned)shape.c), dim3(x, THREADS / x)};
        if (width == V)
            LAUNCH((sum_planes<T, V>), spread, stream, shape, dy, chosen, partial);
        else
            LAUNCH((sum_planes<T, 1>), spread, stream, shape, dy, chosen, partial);
    }
    launch_shape last = {dim3((unsigned)divide_up((size_t)shape.pitch, WARP)), dim3(WARP, WARPS)};
    LAUNCH(sum_slices, last, stream, (int)slices, shape.pitch, (const float *)partial, sums);
}

void kernel_bias_gradient(cudaStream_t stream, cuda_tensor shape, const void *dy,
                          const uint8_t *chosen, void *scratch, float *sums) {
    if (shape.type == CUDA_BF16)
        launch_bias_gradient(stream, shape, (const bf16 *)dy, chosen, (float *)scratch, sums);
    else
        launch_bias_gradient(stream, shape, (const float *)dy, chosen, (float *)scratch, sums);
}
