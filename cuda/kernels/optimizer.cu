/* The optimiser over all parameters (cairn/optimizer.h has the rules): batches' gradients add up,
 * their norm is taken, and one launch moves every parameter. Bound by memory: Adam moves 28 bytes a
 * parameter, and 2 more for the shadow. */
#include "common.cuh"

enum { WARPS = THREADS / WARP, SLICES_MAX = 512, PER_THREAD = 8 };

template <int V>
static __device__ __forceinline__ pack<float, V> load_gradient(const cuda_gradient &from,
                                                               size_t at) {
    const bf16 *rounded_values = (const bf16 *)from.bf16_values;
    pack<float, V> gradient;
    if (at + V <= from.bf16_count) {
        const pack<bf16, V> rounded = load<V>(rounded_values + at);
        UNROLL
        for (int l = 0; l < V; l++)
            gradient.at[l] = to_float(rounded.at[l]);
    } else if (at >= from.bf16_count) {
        gradient = load<V>(from.values + at);
    } else {
        UNROLL
        for (int l = 0; l < V; l++)
            gradient.at[l] =
                at + l < from.bf16_count ? to_float(rounded_values[at + l]) : from.values[at + l];
    }
    return gradient;
}

/* The same for all of a pack, which does not cross a grain. */
static __device__ __forceinline__ unsigned group_of(const cuda_gradient &gradient, size_t at) {
    return gradient.group ? gradient.group[at / CUDA_GRAIN] : 0;
}

/* Calls f(at, width_constant<V>()) for the thread's pack, the last elements one by one. */
template <int V, typename F> static __device__ __forceinline__ void each_pack(size_t count, F f) {
    const size_t at = flat_index() * V;
    if (at + V <= count)
        f(at, std::integral_constant<int, V>());
    else
        for (size_t i = at; i < count; i++)
            f(i, std::integral_constant<int, 1>());
}

static bool wide(const cuda_gradient &gradient) {
    return aligned(gradient.values, 16) && aligned(gradient.bf16_values, 8);
}

/* Accumulation ------------------------------------------------------------------------------------
 */
template <int V>
static __global__ void __launch_bounds__(THREADS)
    accumulate(cuda_gradient gradient, float *__restrict__ sum,
               const cuda_state *__restrict__ state) {
    const float share = state->share;
    const bool first = state->micro_batch == 0;
    each_pack<V>(gradient.count, [&](size_t at, auto width) {
        constexpr int W = decltype(width)::value;
        const pack<float, W> g = load_gradient<W>(gradient, at);
        pack<float, W> total = load<W>(sum + at);
        UNROLL
        for (int l = 0; l < W; l++)
            total.at[l] = (first ? 0.0f : total.at[l]) + share * g.at[l];
        store(sum + at, total);
    });
}

void kernel_accumulate(cudaStream_t stream, const cuda_gradient *gradient, float *sum,
                       const cuda_state *state) {
    if (wide(*gradient) && aligned(sum, 16))
        LAUNCH((accumulate<4>), spread_flat(divide_up(gradient->count, 4)), stream, *gradient, sum,
               state);
    else
        LAUNCH((accumulate<1>), spread_flat(gradient->count), stream, *gradient, sum, state);
}

/* The norm ----------------------------------------------------------------------------------------
 * Blocks sum slices, then one block sums those. How many slices there are depends on the number of
 * parameters alone, so the order of additions, and with it every bit, is the same on every GPU. */

/* The block's sum, in its first thread. */
template <typename T> static __device__ __forceinline__ T block_sum(T value) {
    SHARED(T, warps, [WARPS]);
    const int thread = (int)threadIdx.x;
    UNROLL
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync((unsigned)ALL_LANES, value, distance);
    if (thread % WARP == 0)
        warps[thread / WARP] = value;
    __syncthreads();
    for (int w = 1; thread == 0 && w < WARPS; w++)
        value += warps[w];
    return value;
}

template <int V>
static __global__ void __launch_bounds__(THREADS)
    sum_squares(cuda_gradient gradient, float *__restrict__ partial,
                const cuda_state *__restrict__ state) {
    if (!state->last)
        return;
    const uint32_t trained = state->trained;
    float sum = 0;
    for (size_t at = flat_index() * V; at < gradient.count; at += (size_t)gridDim.x * THREADS * V) {
        if (!(trained >> group_of(gradient, at) & 1))
            continue;
        if (at + V <= gradient.count) {
            const pack<float, V> g = load_gradient<V>(gradient, at);
            UNROLL
            for (int l = 0; l < V; l++)
                sum += g.at[l] * g.at[l];
        } else {
            for (size_t i = at; i < gradient.count; i++) {
                const float g = load_gradient<1>(gradient, i).at[0];
                sum += g * g;
            }
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

/* A NaN stays one. */
static __global__ void __launch_bounds__(THREADS)
    set_clip(int slices, float clip_norm, const float *__restrict__ partial, cuda_state *state) {
    if (!state->last)
        return;
    double sum = 0;
    for (int slice = (int)threadIdx.x; slice < slices; slice += THREADS)
        sum += (double)partial[slice];
    sum = block_sum(sum);
    if (threadIdx.x != 0)
        return;
    const double factor = (double)clip_norm / (sqrt(sum) + 1e-6);
    state->clip = factor > 1 ? 1.0f : (float)factor;
}

size_t kernel_clip_scratch(void) {
    return SLICES_MAX * sizeof(float);
}

void kernel_clip(cudaStream_t stream, const cuda_gradient *gradient, double clip_norm,
                 void *scratch, cuda_state *state) {
    const bool packs = wide(*gradient);
    const size_t wanted = divide_up(gradient->count, THREADS * PER_THREAD * (packs ? 4 : 1));
    const unsigned slices = wanted < SLICES_MAX ? (unsigned)wanted : (unsigned)SLICES_MAX;
    launch_shape spread = {dim3(slices), dim3(THREADS)}, last = {dim3(1), dim3(THREADS)};
    if (packs)
        LAUNCH((sum_squares<4>), spread, stream, *gradient, (float *)scratch,
               (const cuda_state *)state);
    else
        LAUNCH((sum_squares<1>), spread, stream, *gradient, (float *)scratch,
               (const cuda_state *)state);
    LAUNCH(set_clip, last, stream, (int)slices, (float)clip_norm, (const float *)scratch, state);
}

/* The update --------------------------------------------------------------------------------------
 */

/* A rule has its constants, rounded once, and a step of one element: `g` is clipped, both g and w
 * are decayed; it moves w and what the optimiser keeps of it, in the order of its line in
 * cairn/optimizers.def. */
struct adam_rule {
    float take1, keep2, take2, epsilon;

    explicit adam_rule(const cairn_optimizer &by)
        : take1((float)(1 - by.beta1)), keep2((float)by.beta2), take2((float)(1 - by.beta2)),
          epsilon((float)by.epsilon) {
    }

    __device__ __forceinline__ void step(const cuda_group &now, float g,
                                         float (&state)[CAIRN_STATES], float &w) const {
        float &m = state[0], &v = state[1];
        m += take1 * (g - m);
        v = keep2 * v + take2 * g * g;
        w -= now.rate * m / (sqrtf(v) / now.correction + epsilon);
    }
};

struct sgd_rule {
    float momentum;
    bool nesterov;

    explicit sgd_rule(const cairn_optimizer &by)
        : momentum((float)by.momentum), nesterov(by.nesterov) {
    }

    __device__ __forceinline__ void step(const cuda_group &now, float g,
                                         float (&state)[CAIRN_STATES], float &w) const {
        float &m = state[0], direction = g;
        if (momentum > 0) {
            m = momentum * m + g;
            direction = nesterov ? g + momentum * m : m;
        }
        w -= now.rate * direction;
    }
};

struct lion_rule {
    float keep1, take1, keep2, take2;

    explicit lion_rule(const cairn_optimizer &by)
        : keep1((float)by.beta1), take1((float)(1 - by.beta1)), keep2((float)by.beta2),
          take2((float)(1 - by.beta2)) {
    }

    __device__ __forceinline__ void step(const cuda_group &now, float g,
                                         float (&state)[CAIRN_STATES], float &w) const {
        float &m = state[0];
        const float c = keep1 * m + take1 * g;
        w -= now.rate * (c > 0 ? 1.0f : c < 0 ? -1.0f : c); /* NaN stays one */
        m = keep2 * m + take2 * g;
    }
};

template <int V, typename RULE>
static __device__ __forceinline__ void update_weights(const cuda_update &update, const RULE &rule,
                                                      const cuda_group &now, float clip, size_t at,
                                                      pack<float, V> &w) {
    const pack<float, V> gradient = load_gradient<V>(update.gradient, at);
    pack<float, V> state[CAIRN_STATES] = {};
    pack<bf16, V> shadow;
    UNROLL
    for (int s = 0; s < CAIRN_STATES; s++)
        if (update.state[s])
            state[s] = load<V>(update.state[s] + at);
    UNROLL
    for (int l = 0; l < V; l++) {
        float g = gradient.at[l], mine[CAIRN_STATES];
        UNROLL
        for (int s = 0; s < CAIRN_STATES; s++)
            mine[s] = state[s].at[l];
        if (update.rule.clip_norm > 0)
            g *= clip;
        if (now.shrink != 1)
            w.at[l] = __fmul_rn(w.at[l], now.shrink); /* not fused with the step's subtraction */
        else if (now.decay != 0)
            g += now.decay * w.at[l];
        rule.step(now, g, mine, w.at[l]);
        UNROLL
        for (int s = 0; s < CAIRN_STATES; s++)
            state[s].at[l] = mine[s];
        shadow.at[l] = from_float<bf16>(w.at[l]);
    }
    UNROLL
    for (int s = 0; s < CAIRN_STATES; s++)
        if (update.state[s])
            store(update.state[s] + at, state[s]);
    store(update.parameter + at, w);
    if (update.shadow)
        store((bf16 *)update.shadow + at, shadow);
}

template <int V>
static __device__ __forceinline__ void update_average(float *average, float take,
                                                      const pack<float, V> &w) {
    pack<float, V> a = load<V>(average);
    UNROLL
    for (int l = 0; l < V; l++)
        a.at[l] = take == 1 ? w.at[l] : a.at[l] + take * (w.at[l] - a.at[l]);
    store(average, a);
}

template <int V, typename RULE>
static __global__ void __launch_bounds__(THREADS, 4)
    update_step(cuda_update update, RULE rule, const cuda_state *__restrict__ state) {
    if (!state->last)
        return;
    const uint32_t trained = state->trained;
    const float clip = state->clip, take = state->take;
    each_pack<V>(update.gradient.count, [&](size_t at, auto width) {
        constexpr int W = decltype(width)::value;
        const unsigned group = group_of(update.gradient, at);
        const bool trains = trained >> group & 1;
        if (!(update.groups >> group & 1))
            return;
        pack<float, W> w = load<W>(update.parameter + at);
        if (trains)
            update_weights<W>(update, rule, state->group[group], clip, at, w);
        if (update.average)
            update_average<W>(update.average + at, trains ? take : 1.0f, w);
    });
}

template <typename RULE>
static void launch_update(cudaStream_t stream, const cuda_update &update, const RULE &rule,
                          const cuda_state *state) {
    const size_t count = update.gradient.count;
    bool packs = wide(update.gradient) && aligned(update.parameter, 16) &&
                 aligned(update.average, 16) && aligned(update.shadow, 8);
    for (int s = 0; s < CAIRN_STATES; s++)
        packs = packs && aligned(update.state[s], 16);
    if (packs)
        LAUNCH((update_step<4, RULE>), spread_flat(divide_up(count, 4)), stream, update, rule,
               state);
    else
        LAUNCH((update_step<1, RULE>), spread_flat(count), stream, update, rule, state);
}

void kernel_update(cudaStream_t stream, const cuda_update *update, const cuda_state *state) {
    const cairn_optimizer &by = update->rule;
    switch (by.name) {
    case CAIRN_ADAM:
    case CAIRN_ADAMW:
        return launch_update(stream, *update, adam_rule(by), state);
    case CAIRN_SGD:
        return launch_update(stream, *update, sgd_rule(by), state);
    case CAIRN_LION:
        return launch_update(stream, *update, lion_rule(by), state);
    case CAIRN_OPTIMIZERS:
        break;
    }
}

/* Exchange ----------------------------------------------------------------------------------------
 */
static __global__ void __launch_bounds__(THREADS)
    exchange(size_t count, float *__restrict__ parameter, float *__restrict__ average,
             bf16 *__restrict__ shadow) {
    const size_t at = flat_index();
    if (at >= count)
        return;
    const float w = average[at];
    average[at] = parameter[at];
    parameter[at] = w;
    if (shadow)
        shadow[at] = from_float<bf16>(w);
}

void kernel_exchange(cudaStream_t stream, size_t count, float *parameter, float *average,
                     void *shadow) {
    LAUNCH(exchange, spread_flat(count), stream, count, parameter, average, (bf16 *)shadow);
}
