/* A bias's gradient: the gradient's sum over samples and places, one a channel. */
#include "channel_sums.cuh"

namespace {

template <typename T> struct gradients {
    typedef T element;
    enum { SUMS = 1 };
    const T *dy;
    const uint8_t *chosen; /* NULL: all count */

    template <int V, bool NHWC> struct walker {
        gradients terms;
        __device__ walker(const gradients &given, int) : terms(given) {
        }
        __device__ void add(size_t at, float (&sum)[SUMS][V]) const {
            const pack<T, V> values = load<V>(terms.dy + at);
            if (terms.chosen) {
                const pack<uint8_t, V> winners = load<V>(terms.chosen + at);
                UNROLL
                for (int l = 0; l < V; l++)
                    sum[0][l] += winners.at[l] == 255 ? 0.0f : to_float(values.at[l]);
            } else {
                UNROLL
                for (int l = 0; l < V; l++)
                    sum[0][l] += to_float(values.at[l]);
            }
        }
    };
};

struct keep_sum {
    float *sums;
    __device__ void operator()(int channel, const float (&sum)[1]) const {
        sums[channel] = sum[0];
    }
};

template <typename T>
void launch_bias_gradient(cudaStream_t stream, const cuda_tensor &shape, const T *dy,
                          const uint8_t *chosen, void *scratch, float *sums) {
    const bool wide = aligned(dy, 16) && aligned(chosen, 16 / sizeof(T));
    launch_channel_sums(stream, shape, wide, gradients<T>{dy, chosen}, scratch, keep_sum{sums});
}

} // namespace

size_t kernel_bias_gradient_scratch(cuda_tensor shape) {
    return channel_sums_scratch(shape, 1);
}

void kernel_bias_gradient(cudaStream_t stream, cuda_tensor shape, const void *dy,
                          const uint8_t *chosen, void *scratch, float *sums) {
    if (shape.type == CUDA_BF16)
        launch_bias_gradient(stream, shape, (const bf16 *)dy, chosen, scratch, sums);
    else
        launch_bias_gradient(stream, shape, (const float *)dy, chosen, scratch, sums);
}
