/* Adam over all parameters in one launch: bound by memory, 28 bytes a parameter and 2 more for the
 * shadow. */
#include "common.cuh"

struct adam_rule {
    float take1, keep2, take2, epsilon;
};

template <int V>
static __device__ __forceinline__ pack<float, V> adam_gradient(const cuda_adam &adam, size_t at) {
    const bf16 *half_gradient = (const bf16 *)adam.half_gradient;
    pack<float, V> gradient;
    if (at + V <= adam.half_count) {
        const pack<bf16, V> rounded = load<V>(half_gradient + at);
        UNROLL
        for (int l = 0; l < V; l++)
            gradient.at[l] = to_float(rounded.at[l]);
    } else if (at >= adam.half_count) {
        gradient = load<V>(adam.gradient + at);
    } else {
        UNROLL
        for (int l = 0; l < V; l++)
            gradient.at[l] =
                at + l < adam.half_count ? to_float(half_gradient[at + l]) : adam.gradient[at + l];
    }
    return gradient;
}

/* The order of operations is the reference's:
 *   m += (1 - b1) (g - m);  v = b2 v + (1 - b2) g^2;  w -= rate m / (sqrt(v) / correction + eps) */
template <int V>
static __device__ __forceinline__ void adam_update(const cuda_adam &adam, const adam_rule &rule,
                                                   float rate, float correction, size_t at) {
    const pack<float, V> gradient = adam_gradient<V>(adam, at);
    pack<float, V> m = load<V>(adam.first_moment + at), v = load<V>(adam.second_moment + at);
    pack<float, V> w = load<V>(adam.parameter + at);
    pack<bf16, V> shadow;
    UNROLL
    for (int l = 0; l < V; l++) {
        float g = gradient.at[l];
        m.at[l] += rule.take1 * (g - m.at[l]);
        v.at[l] = rule.keep2 * v.at[l] + rule.take2 * g * g;
        w.at[l] -= rate * m.at[l] / (sqrtf(v.at[l]) / correction + rule.epsilon);
        shadow.at[l] = from_float<bf16>(w.at[l]);
    }
    store(adam.first_moment + at, m);
    store(adam.second_moment + at, v);
    store(adam.parameter + at, w);
    if (adam.shadow)
        store((bf16 *)adam.shadow + at, shadow);
}

template <int V>
static __global__ void __launch_bounds__(THREADS)
    adam_step(cuda_adam adam, adam_rule rule, const cuda_state *__restrict__ state) {
    const size_t at = flat_index() * V;
    const float rate = state->rate, correction = state->correction;
    if (at + V <= adam.count)
        adam_update<V>(adam, rule, rate, correction, at);
    else
        for (size_t i = at; i < adam.count; i++)
            adam_update<1>(adam, rule, rate, correction, i);
}

void kernel_adam(cudaStream_t stream, const cuda_adam *adam, const cuda_state *state) {
    adam_rule rule = {(float)(1 - adam->beta1), (float)adam->beta2, (float)(1 - adam->beta2),
                      (float)adam->epsilon};
    bool wide = aligned(adam->parameter, 16) && aligned(adam->first_moment, 16) &&
                aligned(adam->second_moment, 16) && aligned(adam->gradient, 16) &&
                aligned(adam->half_gradient, 8) && aligned(adam->shadow, 8);
    if (wide)
        LAUNCH((adam_step<4>), spread_flat(divide_up(adam->count, 4)), stream, *adam, rule, state);
    else
        LAUNCH((adam_step<1>), spread_flat(adam->count), stream, *adam, rule, state);
}
