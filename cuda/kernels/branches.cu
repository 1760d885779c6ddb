/* Sums of two tensors, activations and average pooling: what nets with branches want besides
 * convolutions and normalisations. */
#include "activations.cuh"
#include "windows.cuh"

namespace {

/* Element by element -------------------------------------------------------------------------- */

/* `Rule` has float operator()(float, float) const. y may be a or b. */
template <typename Rule, typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    combine(Rule rule, size_t count, const T *a, const T *b, T *y) {
    const size_t at = flat_index() * V;
    if (at + V <= count) {
        pack<T, V> x = load<V>(a + at);
        const pack<T, V> others = load<V>(b + at);
        UNROLL
        for (int l = 0; l < V; l++)
            x.at[l] = from_float<T>(rule(to_float(x.at[l]), to_float(others.at[l])));
        store(y + at, x);
    } else {
        for (size_t i = at; i < count; i++)
            y[i] = from_float<T>(rule(to_float(a[i]), to_float(b[i])));
    }
}

template <typename Rule, typename T>
void launch_combine(cudaStream_t stream, Rule rule, size_t count, const T *a, const T *b, T *y) {
    constexpr int V = 16 / sizeof(T);
    if (aligned(a, 16) && aligned(b, 16) && aligned(y, 16))
        LAUNCH((combine<Rule, T, V>), spread_flat(divide_up(count, V)), stream, rule, count, a, b,
               y);
    else
        LAUNCH((combine<Rule, T, 1>), spread_flat(count), stream, rule, count, a, b, y);
}

template <typename Rule>
void combine_all(cudaStream_t stream, Rule rule, const cuda_tensor &shape, const void *a,
                 const void *b, void *y) {
    const size_t count = (size_t)shape.count * sample_size(shape);
    if (shape.type == CUDA_BF16)
        launch_combine(stream, rule, count, (const bf16 *)a, (const bf16 *)b, (bf16 *)y);
    else
        launch_combine(stream, rule, count, (const float *)a, (const float *)b, (float *)y);
}

struct activated_sum {
    cuda_activation activation;
    __device__ float operator()(float a, float b) const {
        return activate(activation, a + b);
    }
};

template <typename Op> struct activation {
    __device__ float operator()(float x, float) const {
        return Op::of(x);
    }
};

template <typename Op> struct activation_gradient {
    __device__ float operator()(float x, float dy) const {
        return dy * Op::slope(x);
    }
};

/* Average pooling ----------------------------------------------------------------------------- */

template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(THREADS)
    average(cuda_pool pool, cuda_tensor in, cuda_tensor out, const T *__restrict__ x,
            T *__restrict__ y) {
    if (place_here() >= sample_size(out) / V)
        return;
    const spot at = locate<V, NHWC>(out, place_here());
    const unsigned from = offset<NHWC>(in, at.c, at.i * pool.stride, at.j * pool.stride);
    const unsigned column = NHWC ? (unsigned)in.pitch : 1, row = column * (unsigned)in.w;
    const float share = 1.0f / (float)(pool.kernel * pool.kernel);
    for (int n = first_sample(); n < out.count; n += sample_stride()) {
        const T *line = x + (size_t)n * sample_size(in) + from;
        float sum[V] = {};
        for (int u = 0; u < pool.kernel; u++, line += row)
            for (int v = 0; v < pool.kernel; v++)
                add_pack(sum, load<V>(line + (unsigned)v * column));
        pack<T, V> mean; /* by round_pack() registers would be spilled */
        UNROLL
        for (int l = 0; l < V; l++)
            mean.at[l] = from_float<T>(share * sum[l]);
        store(y + (size_t)n * sample_size(out) + offset<NHWC>(out, at.c, at.i, at.j), mean);
    }
}

/* An input gathers from the windows over it. */
template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(THREADS)
    average_backward(cuda_pool pool, cuda_tensor in, cuda_tensor out, const T *__restrict__ dy,
                     T *__restrict__ dx) {
    if (place_here() >= sample_size(in) / V)
        return;
    const spot at = locate<V, NHWC>(in, place_here());
    const window_range over = windows_over(pool, out, at);
    const float share = 1.0f / (float)(pool.kernel * pool.kernel);
    for (int n = first_sample(); n < in.count; n += sample_stride()) {
        const T *sample = dy + (size_t)n * sample_size(out);
        float sum[V] = {};
        for (int i = over.first_i; i <= over.last_i; i++)
            for (int j = over.first_j; j <= over.last_j; j++)
                add_pack(sum, load<V>(sample + offset<NHWC>(out, at.c, i, j)));
        store(dx + (size_t)n * sample_size(in) + offset<NHWC>(in, at.c, at.i, at.j),
              round_pack<T>(sum, share));
    }
}

} // namespace

void kernel_add(cudaStream_t stream, cuda_tensor shape, cuda_activation activation, const void *a,
                const void *b, void *y) {
    combine_all(stream, activated_sum{activation}, shape, a, b, y);
}

void kernel_activate(cudaStream_t stream, cairn_op_kind kind, cuda_tensor shape, const void *x,
                     void *y) {
    with_activation(
        kind, [&](auto op) { combine_all(stream, activation<decltype(op)>{}, shape, x, x, y); });
}

void kernel_activate_backward(cudaStream_t stream, cairn_op_kind kind, cuda_tensor shape,
                              const void *x, const void *dy, void *dx) {
    with_activation(kind, [&](auto op) {
        combine_all(stream, activation_gradient<decltype(op)>{}, shape, x, dy, dx);
    });
}

void kernel_average(cudaStream_t stream, cuda_pool pool, cuda_tensor in, cuda_tensor out,
                    const void *x, void *y) {
    dispatch(in, aligned(x, 16) && aligned(y, 16), [&](auto zero, auto width, auto nhwc) {
        typedef decltype(zero) T;
        constexpr int V = decltype(width)::value;
        constexpr bool NHWC = decltype(nhwc)::value;
        launch_shape spread = spread_samples(out.count, sample_size(out) / V);
        LAUNCH((average<T, V, NHWC>), spread, stream, pool, in, out, (const T *)x, (T *)y);
    });
}

void kernel_average_backward(cudaStream_t stream, cuda_pool pool, cuda_tensor in, cuda_tensor out,
                             const void *dy, void *dx) {
    dispatch(in, aligned(dy, 16) && aligned(dx, 16), [&](auto zero, auto width, auto nhwc) {
        typedef decltype(zero) T;
        constexpr int V = decltype(width)::value;
        constexpr bool NHWC = decltype(nhwc)::value;
        launch_shape spread = spread_samples(in.count, sample_size(in) / V);
        LAUNCH((average_backward<T, V, NHWC>), spread, stream, pool, in, out, (const T *)dy,
               (T *)dx);
    });
}
