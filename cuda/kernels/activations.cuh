/* The activations that kernels apply, and gradients' way back. NaN passes all of them, both ways.
 */
#ifndef CAIRN_CUDA_ACTIVATIONS_CUH
#define CAIRN_CUDA_ACTIVATIONS_CUH

#include "common.cuh"

/* Phi(x), the normal distribution's share below x; GELU is x Phi(x) (Hendrycks and Gimpel, 2016).
 */
static __device__ __forceinline__ float normal_share(float x) {
    return 0.5f + 0.5f * erff(x * 0.70710678f);
}

static __device__ __forceinline__ float gelu_of(float x) {
    return x * normal_share(x);
}

/* Phi(x) + x phi(x), with phi the normal density. */
static __device__ __forceinline__ float gelu_slope(float x) {
    return normal_share(x) + x * 0.39894228f * expf(-0.5f * x * x);
}

static __device__ __forceinline__ float logistic(float x) {
    return 1.0f / (1.0f + expf(-x));
}

/* x s(x), with s the logistic function (Elfwing et al., 2017). */
static __device__ __forceinline__ float silu_of(float x) {
    return x * logistic(x);
}

static __device__ __forceinline__ float silu_slope(float x) {
    const float share = logistic(x);
    return share * (1.0f + x * (1.0f - share));
}

/* Activations that are ops of their own, each with its slope. */
struct gelu_op {
    static __device__ __forceinline__ float of(float x) {
        return gelu_of(x);
    }
    static __device__ __forceinline__ float slope(float x) {
        return gelu_slope(x);
    }
};

struct silu_op {
    static __device__ __forceinline__ float of(float x) {
        return silu_of(x);
    }
    static __device__ __forceinline__ float slope(float x) {
        return silu_slope(x);
    }
};

/* Calls `use` with the one of that kind: a kernel is compiled for each, since one that chooses by
 * itself runs out of registers. */
template <typename Use> void with_activation(cairn_op_kind kind, const Use &use) {
    if (kind == CAIRN_OP_SILU)
        use(silu_op());
    else
        use(gelu_op());
}

/* An activation that other kernels apply in passing, and gradients' way back through it. */
static __device__ __forceinline__ float activate(cuda_activation activation, float x) {
    return activation == CUDA_RELU ? relu_of(x) : activation == CUDA_GELU ? gelu_of(x) : x;
}

/* The gradient before the activation of x. */
static __device__ __forceinline__ float gradient_through(cuda_activation activation, float x,
                                                         float gradient) {
    if (activation == CUDA_GELU)
        return gradient * gelu_slope(x);
    return activation == CUDA_RELU && x <= 0 ? 0.0f : gradient;
}

#endif
