/* Batch normalisation (Ioffe and Szegedy, ICML 2015), with the sum with another tensor and the
 * activation that may follow. Forward reads x twice, for the statistics and to normalise; backward
 * reads x and dy twice. What lies behind the activation is not kept but computed again from x. */
#include "activations.cuh"
#include "channel_sums.cuh"

namespace {

/* What a thread knows of the channels that it takes: V of them under CUDA_NHWC, else one. */
template <int V, bool NHWC> struct channels {
    enum { COUNT = NHWC ? V : 1 };
    float mean[COUNT], scale[COUNT], bias[COUNT];

    __device__ channels(const cuda_norm &norm, int c) {
        UNROLL
        for (int l = 0; l < COUNT; l++) {
            mean[l] = norm.mean[c + l];
            scale[l] = norm.weight[c + l] / sqrtf(norm.variance[c + l] + norm.epsilon);
            bias[l] = norm.bias[c + l];
        }
    }
    __device__ float centred(float x, int l) const {
        return x - mean[NHWC ? l : 0];
    }
    /* The same bits in both passes, so that both see the same sign. */
    __device__ float normalised(float centre, int l) const {
        return fmaf(centre, scale[NHWC ? l : 0], bias[NHWC ? l : 0]);
    }
};

/* Statistics --------------------------------------------------------------------------------------
 * Sums of x - K and of its square, where K is one of the channel's values: from a constant that is
 * near the mean the variance does not cancel, however far from zero the values lie. */
template <typename T> struct moments {
    typedef T element;
    enum { SUMS = 2 };
    const T *x;
    int plane;

    template <int V, bool NHWC> struct walker {
        enum { COUNT = NHWC ? V : 1 };
        const T *x;
        float shift[COUNT];
        __device__ walker(const moments &terms, int c) : x(terms.x) {
            UNROLL
            for (int l = 0; l < COUNT; l++)
                shift[l] = to_float(x[NHWC ? c + l : c * terms.plane]);
        }
        __device__ void add(size_t at, float (&sum)[SUMS][V]) const {
            const pack<T, V> values = load<V>(x + at);
            UNROLL
            for (int l = 0; l < V; l++) {
                const float value = to_float(values.at[l]) - shift[NHWC ? l : 0];
                sum[0][l] += value;
                sum[1][l] += value * value;
            }
        }
    };
};

template <typename T> struct keep_moments {
    const T *x;
    int step; /* from one channel's first value to the next one's */
    float count, momentum;
    float *mean, *variance, *running_mean, *running_variance;

    __device__ void operator()(int channel, const float (&sum)[2]) const {
        const float away = sum[0] / count, squares = sum[1] - sum[0] * away;
        const float spread = squares < 0 ? 0 : squares; /* by rounding; NaN stays */
        const float centre = to_float(x[(size_t)channel * step]) + away;
        mean[channel] = centre;
        variance[channel] = spread / count;
        const float unbiased = spread / (count > 1 ? count - 1 : 1);
        running_mean[channel] += momentum * (centre - running_mean[channel]);
        running_variance[channel] += momentum * (unbiased - running_variance[channel]);
    }
};

template <typename T>
void launch_statistics(cudaStream_t stream, const cuda_tensor &shape, const cuda_norm &norm,
                       const T *x, void *scratch, float *mean, float *variance, float *running_mean,
                       float *running_variance) {
    const int plane = shape.h * shape.w, step = shape.layout == CUDA_NHWC ? 1 : plane;
    const keep_moments<T> end = {x,
                                 step,
                                 (float)((double)shape.count * plane),
                                 norm.momentum,
                                 mean,
                                 variance,
                                 running_mean,
                                 running_variance};
    launch_channel_sums(stream, shape, aligned(x, 16), moments<T>{x, plane}, scratch, end);
}

/* Forward ---------------------------------------------------------------------------------------*/
template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(THREADS)
    normalise(cuda_norm norm, cuda_tensor shape, const T *__restrict__ x,
              const T *__restrict__ other, T *__restrict__ y) {
    if (place_here() >= sample_size(shape) / V)
        return;
    const channels<V, NHWC> channel(norm, locate<V, NHWC>(shape, place_here()).c);
    for (int n = first_sample(); n < shape.count; n += sample_stride()) {
        const size_t at = (size_t)n * sample_size(shape) + (size_t)place_here() * V;
        pack<T, V> values = load<V>(x + at), others = values;
        if (other)
            others = load<V>(other + at);
        UNROLL
        for (int l = 0; l < V; l++) {
            float value = channel.normalised(channel.centred(to_float(values.at[l]), l), l);
            if (other)
                value += to_float(others.at[l]);
            values.at[l] = from_float<T>(activate(norm.activation, value));
        }
        store(y + at, values);
    }
}

/* Backward ----------------------------------------------------------------------------------------
 * With g the gradient before the activation, m values a channel and X = x - mean:
 *   dbias = sum g;  dweight = sum g X / sd;  dx = weight/sd (g - dbias/m - X dweight / (m sd)).
 * Where another tensor was added, g is its gradient as well, and needs y to be told; it is written
 * (over dy, where that is allowed), and the second pass finds the activation already undone. */
template <typename T> struct gradient_terms {
    typedef T element;
    enum { SUMS = 2 };
    cuda_norm norm;
    const T *x, *dy, *y; /* y: NULL where nothing was added */
    T *undone;           /* g, where y is not NULL */

    template <int V, bool NHWC> struct walker {
        gradient_terms terms;
        channels<V, NHWC> channel;
        __device__ walker(const gradient_terms &given, int c)
            : terms(given), channel(given.norm, c) {
        }
        __device__ void add(size_t at, float (&sum)[SUMS][V]) const {
            const pack<T, V> values = load<V>(terms.x + at);
            pack<T, V> gradients = load<V>(terms.dy + at);
            if (terms.y) {
                const pack<T, V> outputs = load<V>(terms.y + at);
                UNROLL
                for (int l = 0; l < V; l++)
                    if (to_float(outputs.at[l]) <= 0)
                        gradients.at[l] = from_float<T>(0);
                store(terms.undone + at, gradients);
            }
            UNROLL
            for (int l = 0; l < V; l++) {
                const float centre = channel.centred(to_float(values.at[l]), l);
                float g = to_float(gradients.at[l]);
                if (!terms.y)
                    g = gradient_through(terms.norm.activation, channel.normalised(centre, l), g);
                sum[0][l] += g;
                sum[1][l] += g * centre;
            }
        }
    };
};

struct keep_gradient_sums {
    cuda_norm norm;
    int channels;
    float *sums, *dweight, *dbias; /* sums [2][channels]; a gradient that is NULL is not wanted */

    __device__ void operator()(int channel, const float (&sum)[2]) const {
        sums[channel] = sum[0];
        sums[channels + channel] = sum[1];
        if (dbias)
            dbias[channel] = sum[0];
        if (dweight)
            dweight[channel] = sum[1] / sqrtf(norm.variance[channel] + norm.epsilon);
    }
};

template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(THREADS)
    normalise_backward(cuda_norm norm, cuda_tensor shape, float count,
                       const float *__restrict__ sums, const T *__restrict__ x,
                       const T *__restrict__ g, const T *before, T *dx) {
    if (place_here() >= sample_size(shape) / V)
        return;
    enum { COUNT = NHWC ? V : 1 };
    const int c = locate<V, NHWC>(shape, place_here()).c;
    const channels<V, NHWC> channel(norm, c);
    float constant[COUNT], factor[COUNT]; /* dx = scale g - constant - factor X */
    UNROLL
    for (int l = 0; l < COUNT; l++) {
        const float share = channel.scale[l] / count;
        constant[l] = share * sums[c + l];
        factor[l] = share * sums[shape.pitch + c + l] / (norm.variance[c + l] + norm.epsilon);
    }
    for (int n = first_sample(); n < shape.count; n += sample_stride()) {
        const size_t at = (size_t)n * sample_size(shape) + (size_t)place_here() * V;
        const pack<T, V> values = load<V>(x + at), gradients = load<V>(g + at);
        pack<T, V> result = values;
        if (before)
            result = load<V>(before + at);
        UNROLL
        for (int l = 0; l < V; l++) {
            const int k = NHWC ? l : 0;
            const float centre = channel.centred(to_float(values.at[l]), l);
            const float up = gradient_through(norm.activation, channel.normalised(centre, l),
                                              to_float(gradients.at[l]));
            float value = channel.scale[k] * up - constant[k] - factor[k] * centre;
            if (before)
                value += to_float(result.at[l]);
            result.at[l] = from_float<T>(value);
        }
        store(dx + at, result);
    }
}

template <typename T>
void launch_backward_sums(cudaStream_t stream, const cuda_tensor &shape, const cuda_norm &norm,
                          const T *x, const T *dy, const T *y, T *undone, void *scratch,
                          const keep_gradient_sums &end) {
    bool wide = aligned(x, 16) && aligned(dy, 16) && aligned(y, 16) && aligned(undone, 16);
    launch_channel_sums(stream, shape, wide, gradient_terms<T>{norm, x, dy, y, undone}, scratch,
                        end);
}

} // namespace

size_t kernel_batchnorm_scratch(cuda_tensor shape) {
    return channel_sums_scratch(shape, 2);
}

void kernel_batchnorm_statistics(cudaStream_t stream, const cuda_norm *norm, cuda_tensor shape,
                                 const void *x, void *scratch, float *mean, float *variance,
                                 float *running_mean, float *running_variance) {
    if (shape.type == CUDA_BF16)
        launch_statistics(stream, shape, *norm, (const bf16 *)x, scratch, mean, variance,
                          running_mean, running_variance);
    else
        launch_statistics(stream, shape, *norm, (const float *)x, scratch, mean, variance,
                          running_mean, running_variance);
}

void kernel_batchnorm(cudaStream_t stream, const cuda_norm *norm, cuda_tensor shape, const void *x,
                      const void *other, void *y) {
    bool wide = aligned(x, 16) && aligned(other, 16) && aligned(y, 16);
    dispatch(as_nhwc_when_flat(shape), wide, [&](auto zero, auto width, auto nhwc) {
        typedef decltype(zero) T;
        constexpr int V = decltype(width)::value;
        constexpr bool NHWC = decltype(nhwc)::value;
        launch_shape spread = spread_samples(shape.count, sample_size(shape) / V);
        LAUNCH((normalise<T, V, NHWC>), spread, stream, *norm, shape, (const T *)x,
               (const T *)other, (T *)y);
    });
}

void kernel_batchnorm_backward_sums(cudaStream_t stream, const cuda_norm *norm, cuda_tensor shape,
                                    const void *x, const void *dy, const void *y, void *undone,
                                    void *scratch, float *sums, float *dweight, float *dbias) {
    const keep_gradient_sums end = {*norm, shape.pitch, sums, dweight, dbias};
    if (shape.type == CUDA_BF16)
        launch_backward_sums(stream, shape, *norm, (const bf16 *)x, (const bf16 *)dy,
                             (const bf16 *)y, (bf16 *)undone, scratch, end);
    else
        launch_backward_sums(stream, shape, *norm, (const float *)x, (const float *)dy,
                             (const float *)y, (float *)undone, scratch, end);
}

void kernel_batchnorm_backward(cudaStream_t stream, const cuda_norm *norm, cuda_tensor shape,
                               const float *sums, const void *x, const void *g, const void *before,
                               void *dx) {
    bool wide = aligned(x, 16) && aligned(g, 16) && aligned(before, 16) && aligned(dx, 16);
    const float count = (float)((double)shape.count * shape.h * shape.w);
    dispatch(as_nhwc_when_flat(shape), wide, [&](auto zero, auto width, auto nhwc) {
        typedef decltype(zero) T;
        constexpr int V = decltype(width)::value;
        constexpr bool NHWC = decltype(nhwc)::value;
        launch_shape spread = spread_samples(shape.count, sample_size(shape) / V);
        LAUNCH((normalise_backward<T, V, NHWC>), spread, stream, *norm, shape, count, sums,
               (const T *)x, (const T *)g, (const T *)before, (T *)dx);
    });
}
