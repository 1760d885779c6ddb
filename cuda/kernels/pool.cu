/* Max-pooling with bias and ReLU, and its backward pass. Both only move memory: the forward pass
 * reads x once and leaves a byte for each output, which is all that the backward pass needs. */
#include "windows.cuh"

/* A window whose ReLU lets nothing through. */
enum { NOTHING = 255 };

/* K: kernel and stride where both are the same and known at compile time, else 0. */
template <typename T, int V, bool NHWC, int K>
static __global__ void __launch_bounds__(THREADS)
    pool_forward(cuda_pool pool, cuda_tensor in, cuda_tensor out, const T *__restrict__ x,
                 const float *__restrict__ bias, T *__restrict__ y, uint8_t *__restrict__ chosen) {
    const int kernel = K ? K : pool.kernel, stride = K ? K : pool.stride;
    if (place_here() >= sample_size(out) / V)
        return;
    const spot at = locate<V, NHWC>(out, place_here());
    const unsigned from = offset<NHWC>(in, at.c, at.i * stride, at.j * stride);
    const unsigned to = offset<NHWC>(out, at.c, at.i, at.j);
    const unsigned column = NHWC ? (unsigned)in.pitch : 1, row = column * (unsigned)in.w;
    float shift[V];
    UNROLL
    for (int l = 0; l < V; l++)
        shift[l] = bias ? bias[at.c + l] : 0.0f;

    for (int n = first_sample(); n < out.count; n += sample_stride()) {
        const T *corner = x + (size_t)n * sample_size(in) + from;
        float best[V];
        int winner[V];
        UNROLL
        for (int l = 0; l < V; l++) {
            best[l] = -INFINITY;
            winner[l] = 0;
        }
        UNROLL
        for (int u = 0; u < kernel; u++)
            UNROLL
        for (int v = 0; v < kernel; v++) {
            const pack<T, V> values = load<V>(corner + (unsigned)u * row + (unsigned)v * column);
            UNROLL
            for (int l = 0; l < V; l++) {
                float value = to_float(values.at[l]) + shift[l];
                /* The first of equals, but the last NaN, as in PyTorch. */
                if (value > best[l] || value != value) {
                    best[l] = value;
                    winner[l] = u * kernel + v;
                }
            }
        }
        pack<T, V> result;
        pack<uint8_t, V> places;
        UNROLL
        for (int l = 0; l < V; l++) {
            bool blocked = pool.relu && best[l] <= 0;
            result.at[l] = from_float<T>(blocked ? 0.0f : best[l]);
            places.at[l] = (uint8_t)(blocked ? NOTHING : winner[l]);
        }
        const size_t result_at = (size_t)n * sample_size(out) + to;
        store(y + result_at, result);
        store(chosen + result_at, places);
    }
}

/* 2x2, stride 2: every input belongs to at most one window, so a thread takes a tile of 2x2 inputs.
 * Where h or w is odd the tiles reach past the last window; what no window covers gets 0. */
template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(THREADS)
    pool_backward_tiles(cuda_tensor in, cuda_tensor out, cuda_tensor tiles,
                        const T *__restrict__ dy, const uint8_t *__restrict__ chosen,
                        T *__restrict__ dx) {
    if (place_here() >= sample_size(tiles) / V)
        return;
    const spot at = locate<V, NHWC>(tiles, place_here());
    const bool covered = at.i < out.h && at.j < out.w;
    for (int n = first_sample(); n < in.count; n += sample_stride()) {
        pack<T, V> value;
        pack<uint8_t, V> winner;
        if (covered) {
            const size_t from = (size_t)n * sample_size(out) + offset<NHWC>(out, at.c, at.i, at.j);
            value = load<V>(dy + from);
            winner = load<V>(chosen + from);
        } else {
            UNROLL
            for (int l = 0; l < V; l++)
                winner.at[l] = NOTHING;
        }
        T *sample = dx + (size_t)n * sample_size(in);
        UNROLL
        for (int place = 0; place < 4; place++) {
            const int i = 2 * at.i + place / 2, j = 2 * at.j + place % 2;
            if (i >= in.h || j >= in.w)
                continue;
            pack<T, V> result;
            UNROLL
            for (int l = 0; l < V; l++)
                result.at[l] = winner.at[l] == place ? value.at[l] : from_float<T>(0);
            store(sample + offset<NHWC>(in, at.c, i, j), result);
        }
    }
}

/* Any window and stride: an input gathers from the windows over it, in the order in which the
 * reference scatters. */
template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(THREADS)
    pool_backward_any(cuda_pool pool, cuda_tensor in, cuda_tensor out, const T *__restrict__ dy,
                      const uint8_t *__restrict__ chosen, T *__restrict__ dx) {
    if (place_here() >= sample_size(in) / V)
        return;
    const spot at = locate<V, NHWC>(in, place_here());
    const int kernel = pool.kernel, stride = pool.stride;
    const window_range over = windows_over(pool, out, at);
    for (int n = first_sample(); n < in.count; n += sample_stride()) {
        float sum[V] = {};
        for (int i = over.first_i; i <= over.last_i; i++)
            for (int j = over.first_j; j <= over.last_j; j++) {
                const size_t from = (size_t)n * sample_size(out) + offset<NHWC>(out, at.c, i, j);
                const int place = (at.i - i * stride) * kernel + at.j - j * stride;
                const pack<T, V> value = load<V>(dy + from);
                const pack<uint8_t, V> winner = load<V>(chosen + from);
                UNROLL
                for (int l = 0; l < V; l++)
                    sum[l] += winner.at[l] == place ? to_float(value.at[l]) : 0.0f;
            }
        store(dx + (size_t)n * sample_size(in) + offset<NHWC>(in, at.c, at.i, at.j),
              round_pack<T>(sum, 1.0f));
    }
}

void kernel_pool(cudaStream_t stream, cuda_pool pool, cuda_tensor in, cuda_tensor out,
                 const void *x, const float *bias, void *y, uint8_t *chosen) {
    bool wide = aligned(x, 16) && aligned(y, 16) && aligned(chosen, 8);
    dispatch(in, wide, [&](auto zero, auto width, auto nhwc) {
        typedef decltype(zero) T;
        constexpr int V = decltype(width)::value;
        constexpr bool NHWC = decltype(nhwc)::value;
        launch_shape shape = spread_samples(out.count, sample_size(out) / V);
        if (pool.kernel == 2 && pool.stride == 2)
            LAUNCH((pool_forward<T, V, NHWC, 2>), shape, stream, pool, in, out, (const T *)x, bias,
                   (T *)y, chosen);
        else
            LAUNCH((pool_forward<T, V, NHWC, 0>), shape, stream, pool, in, out, (const T *)x, bias,
                   (T *)y, chosen);
    });
}

void kernel_pool_backward(cudaStream_t stream, cuda_pool pool, cuda_tensor in, cuda_tensor out,
                          const void *dy, const uint8_t *chosen, void *dx) {
    bool wide = aligned(dy, 16) && aligned(dx, 16) && aligned(chosen, 8);
    dispatch(in, wide, [&](auto zero, auto width, auto nhwc) {
        typedef decltype(zero) T;
        constexpr int V = decltype(width)::value;
        constexpr bool NHWC = decltype(nhwc)::value;
        if (pool.kernel == 2 && pool.stride == 2) {
            cuda_tensor tiles = in;
            tiles.h = (in.h + 1) / 2;
            tiles.w = (in.w + 1) / 2;
            launch_shape shape = spread_samples(in.count, sample_size(tiles) / V);
            LAUNCH((pool_backward_tiles<T, V, NHWC>), shape, stream, in, out, tiles, (const T *)dy,
                   chosen, (T *)dx);
        } else {
            launch_shape shape = spread_samples(in.count, sample_size(in) / V);
            LAUNCH((pool_backward_any<T, V, NHWC>), shape, stream, pool, in, out, (const T *)dy,
                   chosen, (T *)dx);
        }
    });
}
