/* What max and average pooling share: which windows lie over a place, and sums over packs. */
#ifndef CAIRN_CUDA_KERNELS_WINDOWS_CUH
#define CAIRN_CUDA_KERNELS_WINDOWS_CUH

#include "common.cuh"

/* Rows first_i..last_i and columns first_j..last_j of the output. */
struct window_range {
    int first_i, first_j, last_i, last_j;
};

/* The windows that hold a place of the input. */
static __device__ __forceinline__ window_range windows_over(const cuda_pool &pool,
                                                            const cuda_tensor &out,
                                                            const spot &at) {
    const int kernel = pool.kernel, stride = pool.stride;
    return {at.i < kernel ? 0 : (at.i - kernel) / stride + 1,
            at.j < kernel ? 0 : (at.j - kernel) / stride + 1, min(at.i / stride, out.h - 1),
            min(at.j / stride, out.w - 1)};
}

template <typename T, int V>
static __device__ __forceinline__ void add_pack(float (&sum)[V], const pack<T, V> &values) {
    UNROLL
    for (int l = 0; l < V; l++)
        sum[l] += to_float(values.at[l]);
}

/* share * sum. */
template <typename T, int V>
static __device__ __forceinline__ pack<T, V> round_pack(const float (&sum)[V], float share) {
    pack<T, V> result;
    UNROLL
    for (int l = 0; l < V; l++)
        result.at[l] = from_float<T>(share * sum[l]);
    return result;
}

#endif
