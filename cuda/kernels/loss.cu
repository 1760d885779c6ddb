/* Softmax cross-entropy, forward and backward, with the running sums, in one block. */
#include "common.cuh"

enum { LOSS_THREADS = 1024 };

/* The value that `lane` ^ distance of every lane's group holds, combined over the group. Addition
 * is commutative, so all lanes of a group get the same bits. */
template <int G> static __device__ __forceinline__ float group_sum(float value) {
    UNROLL
    for (int distance = G / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync((unsigned)ALL_LANES, value, distance);
    return value;
}

struct candidate {
    float value;
    int index;
};

/* The first of the largest. */
template <int G> static __device__ __forceinline__ candidate group_largest(candidate mine) {
    UNROLL
    for (int distance = G / 2; distance > 0; distance /= 2) {
        candidate other = {__shfl_xor_sync((unsigned)ALL_LANES, mine.value, distance),
                           __shfl_xor_sync((unsigned)ALL_LANES, mine.index, distance)};
        if (other.value > mine.value || (other.value == mine.value && other.index < mine.index))
            mine = other;
    }
    return mine;
}

/* The first largest of a sample's logits, by its group; whether one of them is no number. */
template <int G>
static __device__ __forceinline__ candidate group_guess(const float *z, int classes, int lane,
                                                        bool *invalid) {
    const unsigned first_lane = threadIdx.x % WARP - (unsigned)lane;
    const unsigned group = (G == WARP ? ~0u : (1u << G % WARP) - 1) << first_lane;
    candidate guess = {-INFINITY, classes};
    bool found = false;
    for (int c = lane; c < classes; c += G) {
        found |= z[c] != z[c];
        if (c == lane || z[c] > guess.value)
            guess = {z[c], c};
    }
    *invalid = __ballot_sync((unsigned)ALL_LANES, found) & group;
    return group_largest<G>(guess);
}

/* Adds the block's sums to the state, in a fixed order: lanes, then warps. */
static __device__ void add_to_state(double loss, unsigned correct, int count, cuda_state *state) {
    SHARED(double, losses, [LOSS_THREADS / WARP]);
    SHARED(unsigned, corrects, [LOSS_THREADS / WARP]);
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    UNROLL
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        loss += __shfl_xor_sync((unsigned)ALL_LANES, loss, distance);
        correct += __shfl_xor_sync((unsigned)ALL_LANES, correct, distance);
    }
    if (lane == 0) {
        losses[warp] = loss;
        corrects[warp] = correct;
    }
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    for (int w = 1; w < LOSS_THREADS / WARP; w++) {
        loss += losses[w];
        correct += corrects[w];
    }
    state->loss += loss;
    state->correct += correct;
    state->seen += (unsigned long long)count;
    state->cursor++;
}

/* G lanes share a sample. With e_c = exp(z_c - max z) and S the sum of all e,
 *     loss = log(S) + max z - z_label,   gradient_c = (e_c / S - [c = label]) / count.
 * Neither is computed so, since a good guess would cancel all digits of float32: S is 1 plus the
 * others' e, so log(S) = log1p(sum of e but the guess's), and e_label / S - 1 = -(sum of e but the
 * label's) / S. */
template <typename T, int G>
static __global__ void __launch_bounds__(LOSS_THREADS)
    cross_entropy(int count, int classes, int pitch, const float *__restrict__ logits,
                  const uint8_t *__restrict__ labels, T *__restrict__ gradient, cuda_state *state) {
    const int groups = LOSS_THREADS / G, lane = (int)threadIdx.x % G;
    double loss = 0;
    unsigned correct = 0;
    /* A warp's lanes go round together, past the last sample too: the shuffles need them all. */
    for (int base = 0; base < count; base += groups) {
        const int n = base + (int)threadIdx.x / G;
        const int sample = n < count ? n : count - 1;
        const float *z = logits + (size_t)sample * pitch;
        const int label = labels[sample];

        bool invalid;
        const candidate guess = group_guess<G>(z, classes, lane, &invalid);

        float besides_guess = 0, besides_label = 0, at_label = 0;
        for (int c = lane; c < classes; c += G) {
            const float e = expf(z[c] - guess.value);
            besides_guess += c == guess.index ? e - 1 : e; /* 0, or NaN where it is infinite */
            besides_label += c == label ? 0 : e;
            at_label += c == label ? e : 0;
        }
        besides_guess = group_sum<G>(besides_guess);
        besides_label = group_sum<G>(besides_label);
        at_label = group_sum<G>(at_label);

        if (n >= count)
            continue;
        if (lane == 0) {
            loss += (double)(log1pf(besides_guess) + (guess.value - z[label]));
            correct += !invalid && guess.index == label;
        }
        if (!gradient)
            continue;
        const float scale = 1.0f / ((besides_label + at_label) * (float)count);
        for (int c = lane; c < pitch; c += G) {
            float value = 0;
            if (c < classes)
                value = (c == label ? -besides_label : expf(z[c] - guess.value)) * scale;
            gradient[(size_t)n * pitch + c] = from_float<T>(value);
        }
    }
    add_to_state(loss, correct, count, state);
}

/* The same against a target q that is mixed or smoothed. Of the label, the other label and the rest
 *     loss = sum of q_c (log(S) + max z - z_c),
 *     gradient_c = ((1 - q_c) e_c - q_c (S - e_c)) / S / count,
 * where S - e_c is summed without e_c for the two labels, whose q may be 1. `spread` is the part of
 * q that every class has. */
template <typename T, int G>
static __global__ void __launch_bounds__(LOSS_THREADS, 1)
    soft_cross_entropy(int count, int classes, int pitch, const float *__restrict__ logits,
                       cuda_targets targets, float kept, float spread, T *__restrict__ gradient,
                       cuda_state *state) {
    const int groups = LOSS_THREADS / G, lane = (int)threadIdx.x % G;
    double loss = 0;
    unsigned correct = 0;
    for (int base = 0; base < count; base += groups) {
        const int n = base + (int)threadIdx.x / G;
        const int sample = n < count ? n : count - 1;
        const float *z = logits + (size_t)sample * pitch;
        const int label = targets.label[sample];
        const int other = targets.other ? targets.other[sample] : label;
        const float share = targets.other ? targets.share[sample] : 1.0f;

        bool invalid;
        const candidate guess = group_guess<G>(z, classes, lane, &invalid);

        float besides_guess = 0, besides_label = 0, besides_other = 0, below = 0;
        for (int c = lane; c < classes; c += G) {
            const float e = expf(z[c] - guess.value);
            besides_guess += c == guess.index ? e - 1 : e; /* 0, or NaN where it is infinite */
            besides_label += c == label ? 0 : e;
            besides_other += c == other ? 0 : e;
            if (spread > 0)
                below += guess.value - z[c];
        }
        besides_guess = group_sum<G>(besides_guess);
        besides_label = group_sum<G>(besides_label);
        besides_other = group_sum<G>(besides_other);
        below = group_sum<G>(below);

        if (n >= count)
            continue;
        if (lane == 0) {
            /* A share of 0 of an infinite loss is nothing. */
            const float of_label = share > 0 ? share * (guess.value - z[label]) : 0;
            const float of_other = share < 1 ? (1 - share) * (guess.value - z[other]) : 0;
            loss += (double)(log1pf(besides_guess) + kept * (of_label + of_other) + spread * below);
            correct += !invalid && guess.index == (share >= 0.5f ? label : other);
        }
        if (!gradient)
            continue;
        const float sum = 1 + besides_guess;
        for (int c = lane; c < pitch; c += G) {
            float value = 0;
            if (c < classes) {
                const float e = expf(z[c] - guess.value);
                const float besides = c == label   ? besides_label
                                      : c == other ? besides_other
                                                   : sum - e;
                const float q =
                    kept * ((c == label ? share : 0) + (c == other ? 1 - share : 0)) + spread;
                value = ((1 - q) * e - q * besides) / (sum * (float)count);
            }
            gradient[(size_t)n * pitch + c] = from_float<T>(value);
        }
    }
    add_to_state(loss, correct, count, state);
}

template <typename T>
static void launch_soft_cross_entropy(cudaStream_t stream, int count, int classes, int pitch,
                                      const float *logits, cuda_targets targets, double smoothing,
                                      T *gradient, cuda_state *state) {
    launch_shape shape = {dim3(1), dim3(LOSS_THREADS)};
    const float kept = (float)(1 - smoothing), spread = (float)(smoothing / classes);
    if (classes <= 32)
        LAUNCH((soft_cross_entropy<T, 8>), shape, stream, count, classes, pitch, logits, targets,
               kept, spread, gradient, state);
    else
        LAUNCH((soft_cross_entropy<T, 32>), shape, stream, count, classes, pitch, logits, targets,
               kept, spread, gradient, state);
}

template <typename T>
static void launch_cross_entropy(cudaStream_t stream, int count, int classes, int pitch,
                                 const float *logits, cuda_targets targets, double smoothing,
                                 T *gradient, cuda_state *state) {
    if (targets.other || smoothing > 0) {
        launch_soft_cross_entropy(stream, count, classes, pitch, logits, targets, smoothing,
                                  gradient, state);
        return;
    }
    const uint8_t *labels = targets.label;
    launch_shape shape = {dim3(1), dim3(LOSS_THREADS)};
    if (classes <= 32)
        LAUNCH((cross_entropy<T, 8>), shape, stream, count, classes, pitch, logits, labels,
               gradient, state);
    else
        LAUNCH((cross_entropy<T, 32>), shape, stream, count, classes, pitch, logits, labels,
               gradient, state);
}

void kernel_cross_entropy(cudaStream_t stream, int count, int classes, int pitch,
                          const float *logits, cuda_targets targets, double smoothing,
                          cuda_type gradient_type, void *gradient, cuda_state *state) {
    if (gradient_type == CUDA_BF16)
        launch_cross_entropy(stream, count, classes, pitch, logits, targets, smoothing,
                             (bf16 *)gradient, state);
    else
        launch_cross_entropy(stream, count, classes, pitch, logits, targets, smoothing,
                             (float *)gradient, state);
}
