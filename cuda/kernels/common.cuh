/* What the kernels share: element types, 16-byte packs of them, and how threads are spread over an
 * activation.
 *
 * A thread takes `V` neighbouring channels under CUDA_NHWC and one element under CUDA_NCHW; threads
 * follow memory, so that a warp reads whole lines. blockIdx.x and threadIdx.x choose the place
 * within a sample, whose index fits in 32 bits and is cheap to take apart; blockIdx.y and
 * threadIdx.y choose the sample, whose offset has 64. */
#ifndef CAIRN_CUDA_COMMON_CUH
#define CAIRN_CUDA_COMMON_CUH

#include "../kernels.h"
#include "../launch.h"

#include <math.h>
#include <string.h>
#include <type_traits>

typedef __nv_bfloat16 bf16;

enum { THREADS = 256, WARP = 32, ALL_LANES = -1 };

/* Elements and packs ----------------------------------------------------------------------------*/
static __device__ __forceinline__ float to_float(float value) {
    return value;
}
static __device__ __forceinline__ float to_float(bf16 value) {
    return __bfloat162float(value);
}
template <typename T> static __device__ __forceinline__ T from_float(float value) {
    if constexpr (std::is_same_v<T, bf16>)
        return __float2bfloat16_rn(value);
    else
        return value;
}

template <typename T, int V> struct alignas(sizeof(T) * V) pack { T at[V]; };

/* Eight bytes travel as two words: as bytes the compiler would move them in two halves. */
template <int V, typename T> static __device__ __forceinline__ pack<T, V> load(const T *from) {
    if constexpr (std::is_same_v<pack<T, V>, pack<uint8_t, 8>>) {
        const uint2 words = *reinterpret_cast<const uint2 *>(from);
        pack<T, V> value;
        memcpy(&value, &words, sizeof value);
        return value;
    } else {
        return *reinterpret_cast<const pack<T, V> *>(from);
    }
}
template <typename T, int V>
static __device__ __forceinline__ void store(T *to, const pack<T, V> &value) {
    if constexpr (std::is_same_v<pack<T, V>, pack<uint8_t, 8>>) {
        uint2 words;
        memcpy(&words, &value, sizeof words);
        *reinterpret_cast<uint2 *>(to) = words;
    } else {
        *reinterpret_cast<pack<T, V> *>(to) = value;
    }
}

/* ReLU: `value <= 0` is false for NaN, which so passes through both ways. */
static __device__ __forceinline__ float relu_of(float value) {
    return value <= 0 ? 0.0f : value;
}

/* Places in an activation -----------------------------------------------------------------------*/
struct spot {
    int c, i, j;
};

static __host__ __device__ __forceinline__ unsigned sample_size(const cuda_tensor &t) {
    return (unsigned)t.pitch * (unsigned)t.h * (unsigned)t.w;
}

/* Work item `index` of a sample. */
template <int V, bool NHWC>
static __device__ __forceinline__ spot locate(const cuda_tensor &t, unsigned index) {
    unsigned h = (unsigned)t.h, w = (unsigned)t.w;
    if constexpr (NHWC) {
        unsigned vectors = (unsigned)t.pitch / V, place = index / vectors;
        return {(int)(index % vectors * V), (int)(place / w), (int)(place % w)};
    } else {
        unsigned row = index / w;
        return {(int)(row / h), (int)(row % h), (int)(index % w)};
    }
}

template <bool NHWC>
static __device__ __forceinline__ unsigned offset(const cuda_tensor &t, int c, int i, int j) {
    return (unsigned)(NHWC ? (i * t.w + j) * t.pitch + c : (c * t.h + i) * t.w + j);
}

static __device__ __forceinline__ unsigned place_here() {
    return blockIdx.x * blockDim.x + threadIdx.x;
}
static __device__ __forceinline__ int first_sample() {
    return (int)(blockIdx.y * blockDim.y + threadIdx.y);
}
static __device__ __forceinline__ int sample_stride() {
    return (int)(gridDim.y * blockDim.y);
}
static __device__ __forceinline__ size_t flat_index() {
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* Launches --------------------------------------------------------------------------------------*/
static inline size_t divide_up(size_t a, size_t b) {
    return (a + b - 1) / b;
}

/* One thread for each of `work` items. */
static inline launch_shape spread_flat(size_t work) {
    return {dim3((unsigned)divide_up(work, THREADS)), dim3(THREADS)};
}

/* A thread for each of `work` items of a sample, which takes every so many samples: enough blocks
 * to fill any GPU, and beyond them more samples a thread, to find its place and bias but once. */
static inline launch_shape spread_samples(int count, unsigned work) {
    const size_t blocks_enough = 2048;
    unsigned x = WARP;
    while (x < THREADS && x < work)
        x *= 2;
    unsigned y = THREADS / x;
    size_t columns = divide_up(work, x), rows = divide_up((size_t)count, y);
    size_t rows_enough = divide_up(blocks_enough, columns);
    return {dim3((unsigned)columns, (unsigned)(rows < rows_enough ? rows : rows_enough)),
            dim3(x, y)};
}

static inline bool aligned(const void *memory, size_t bytes) {
    return (size_t)memory % bytes == 0; /* NULL is */
}

/* Flat features lie the same way in both layouts; CUDA_NHWC is the one that vectorises. */
static inline cuda_tensor as_nhwc_when_flat(cuda_tensor t) {
    if (t.h == 1 && t.w == 1)
        t.layout = CUDA_NHWC;
    return t;
}

template <int V> using width_constant = std::integral_constant<int, V>;

/* Calls f(T(), width_constant<V>(), NHWC) with a tensor's type, layout and the widest pack that its
 * pitch and these pointers allow. */
template <typename T, typename F>
static inline void dispatch_layout(const cuda_tensor &t, bool wide, F f) {
    constexpr int V = 16 / sizeof(T);
    if (t.layout == CUDA_NCHW)
        f(T(), width_constant<1>(), std::false_type());
    else if (wide && t.pitch % V == 0)
        f(T(), width_constant<V>(), std::true_type());
    else
        f(T(), width_constant<1>(), std::true_type());
}
template <typename F> static inline void dispatch(const cuda_tensor &t, bool wide, F f) {
    if (t.type == CUDA_BF16)
        dispatch_layout<bf16>(t, wide, f);
    else
        dispatch_layout<float>(t, wide, f);
}

#endif
