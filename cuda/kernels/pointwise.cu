/* Element by element: bias and ReLU forward and backward, dropout, conversion, change of layout. */
#include "common.cuh"

#include "cairn/rng.h"

/* Bias and ReLU. y may be x and dx may be dy, so these pointers are not __restrict__ --------------
 */
template <typename T, int V, bool NHWC>
static __global__ void __launch_bounds__(THREADS)
    bias_relu(cuda_tensor shape, const T *x, const float *__restrict__ bias, int relu, T *y) {
    if (place_here() >= sample_size(shape) / V)
        return;
    const int c = locate<V, NHWC>(shape, place_here()).c;
    float shift[V];
    UNROLL
    for (int l = 0; l < V; l++)
        shift[l] = bias ? bias[c + l] : 0.0f;
    for (int n = first_sample(); n < shape.count; n += sample_stride()) {
        const size_t at = (size_t)n * sample_size(shape) + (size_t)place_here() * V;
        pack<T, V> values = load<V>(x + at);
        UNROLL
        for (int l = 0; l < V; l++) {
            float value = to_float(values.at[l]) + shift[l];
            values.at[l] = from_float<T>(relu ? relu_of(value) : value);
        }
        store(y + at, values);
    }
}

void kernel_bias_relu(cudaStream_t stream, cuda_tensor shape, const void *x, const float *bias,
                      int relu, void *y) {
    dispatch(as_nhwc_when_flat(shape), aligned(x, 16) && aligned(y, 16),
             [&](auto zero, auto width, auto nhwc) {
                 typedef decltype(zero) T;
                 constexpr int V = decltype(width)::value;
                 constexpr bool NHWC = decltype(nhwc)::value;
                 launch_shape spread = spread_samples(shape.count, sample_size(shape) / V);
                 LAUNCH((bias_relu<T, V, NHWC>), spread, stream, shape, (const T *)x, bias, relu,
                        (T *)y);
             });
}

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    relu_backward(size_t count, const T *__restrict__ y, const T *dy, T *dx) {
    const size_t at = flat_index() * V;
    if (at + V <= count) {
        const pack<T, V> outputs = load<V>(y + at);
        pack<T, V> values = load<V>(dy + at);
        UNROLL
        for (int l = 0; l < V; l++)
            values.at[l] = to_float(outputs.at[l]) <= 0 ? from_float<T>(0) : values.at[l];
        store(dx + at, values);
    } else {
        for (size_t i = at; i < count; i++)
            dx[i] = to_float(y[i]) <= 0 ? from_float<T>(0) : dy[i];
    }
}

template <typename T>
static void launch_relu_backward(cudaStream_t stream, size_t count, const T *y, const T *dy,
                                 T *dx) {
    constexpr int V = 16 / sizeof(T);
    if (aligned(y, 16) && aligned(dy, 16) && aligned(dx, 16))
        LAUNCH((relu_backward<T, V>), spread_flat(divide_up(count, V)), stream, count, y, dy, dx);
    else
        LAUNCH((relu_backward<T, 1>), spread_flat(count), stream, count, y, dy, dx);
}

void kernel_relu_backward(cudaStream_t stream, cuda_tensor shape, const void *y, const void *dy,
                          void *dx) {
    size_t count = (size_t)shape.count * sample_size(shape);
    if (shape.type == CUDA_BF16)
        launch_relu_backward(stream, count, (const bf16 *)y, (const bf16 *)dy, (bf16 *)dx);
    else
        launch_relu_backward(stream, count, (const float *)y, (const float *)dy, (float *)dx);
}

/* Dropout -----------------------------------------------------------------------------------------
 * Four elements of [n][c][h][w] share a block of random words. Where memory has that order too, a
 * thread takes four elements; elsewhere each element computes its block again. */
struct dropout_rule {
    uint64_t seed;
    uint32_t ordinal, threshold;
    float scale;
};

static __device__ __forceinline__ cairn_rng_block dropout_words(const dropout_rule &rule,
                                                                const cuda_state *state,
                                                                uint64_t block) {
    return cairn_rng(rule.seed, CAIRN_RNG_DROPOUT, state->step, rule.ordinal,
                     cairn_rng_dropout_index(state->micro_batch, block));
}

template <typename T>
static __device__ __forceinline__ T dropout_of(const dropout_rule &rule, uint32_t word, T x,
                                               bool blocked) {
    return from_float<T>(word < rule.threshold || blocked ? 0.0f : rule.scale * to_float(x));
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    dropout_fours(dropout_rule rule, const cuda_state *__restrict__ state, size_t count, const T *x,
                  const T *positive, T *y) {
    const size_t at = flat_index() * 4;
    if (at >= count)
        return;
    const cairn_rng_block random = dropout_words(rule, state, at / 4);
    if (at + 4 <= count) {
        pack<T, 4> values = load<4>(x + at), outputs = values;
        if (positive)
            outputs = load<4>(positive + at);
        UNROLL
        for (int l = 0; l < 4; l++)
            values.at[l] = dropout_of(rule, random.word[l], values.at[l],
                                      positive && to_float(outputs.at[l]) <= 0);
        store(y + at, values);
    } else {
        UNROLL
        for (int l = 0; l < 3; l++)
            if (at + l < count)
                y[at + l] = dropout_of(rule, random.word[l], x[at + l],
                                       positive && to_float(positive[at + l]) <= 0);
    }
}

template <typename T, bool NHWC>
static __global__ void __launch_bounds__(THREADS)
    dropout_each(dropout_rule rule, const cuda_state *__restrict__ state, cuda_tensor shape,
                 const T *x, const T *positive, T *y) {
    if (place_here() >= sample_size(shape))
        return;
    const spot at = locate<1, NHWC>(shape, place_here());
    const size_t plane = (size_t)shape.h * shape.w;
    for (int n = first_sample(); n < shape.count; n += sample_stride()) {
        const size_t memory = (size_t)n * sample_size(shape) + place_here();
        const size_t element = ((size_t)n * shape.c + at.c) * plane + (size_t)at.i * shape.w + at.j;
        const cairn_rng_block random = dropout_words(rule, state, element / 4);
        uint32_t word = random.word[0]; /* no dynamic index: the block stays in registers */
        UNROLL
        for (unsigned l = 1; l < 4; l++)
            word = element % 4 == l ? random.word[l] : word;
        y[memory] = dropout_of(rule, word, x[memory], positive && to_float(positive[memory]) <= 0);
    }
}

template <typename T>
static void launch_dropout(cudaStream_t stream, const dropout_rule &rule, const cuda_state *state,
                           const cuda_tensor &shape, const T *x, const T *positive, T *y) {
    bool ordered = shape.layout == CUDA_NCHW || (shape.h * shape.w == 1 && shape.pitch == shape.c);
    size_t count = (size_t)shape.count * sample_size(shape), bytes = 4 * sizeof(T);
    if (ordered && aligned(x, bytes) && aligned(positive, bytes) && aligned(y, bytes)) {
        LAUNCH((dropout_fours<T>), spread_flat(divide_up(count, 4)), stream, rule, state, count, x,
               positive, y);
        return;
    }
    launch_shape spread = spread_samples(shape.count, sample_size(shape));
    if (shape.layout == CUDA_NCHW)
        LAUNCH((dropout_each<T, false>), spread, stream, rule, state, shape, x, positive, y);
    else
        LAUNCH((dropout_each<T, true>), spread, stream, rule, state, shape, x, positive, y);
}

void kernel_dropout(cudaStream_t stream, cuda_dropout dropout, const cuda_state *state,
                    cuda_tensor shape, const void *x, const void *positive, void *y) {
    dropout_rule rule = {dropout.seed, dropout.ordinal, cairn_rng_dropout_threshold(dropout.p),
                         (float)(1.0 / (1.0 - (double)dropout.p))};
    if (shape.type == CUDA_BF16)
        launch_dropout(stream, rule, state, shape, (const bf16 *)x, (const bf16 *)positive,
                       (bf16 *)y);
    else
        launch_dropout(stream, rule, state, shape, (const float *)x, (const float *)positive,
                       (float *)y);
}

/* Between float32 and bf16 ----------------------------------------------------------------------*/
template <int V>
static __global__ void __launch_bounds__(THREADS)
    to_bf16(size_t count, const float *__restrict__ x, bf16 *__restrict__ y) {
    const size_t at = flat_index() * V;
    if (at + V <= count) {
        const pack<float, V> values = load<V>(x + at);
        pack<bf16, V> rounded;
        UNROLL
        for (int l = 0; l < V; l++)
            rounded.at[l] = from_float<bf16>(values.at[l]);
        store(y + at, rounded);
    } else {
        for (size_t i = at; i < count; i++)
            y[i] = from_float<bf16>(x[i]);
    }
}

void kernel_to_bf16(cudaStream_t stream, size_t count, const float *x, void *y) {
    if (aligned(x, 16) && aligned(y, 8))
        LAUNCH((to_bf16<4>), spread_flat(divide_up(count, 4)), stream, count, x, (bf16 *)y);
    else
        LAUNCH((to_bf16<1>), spread_flat(count), stream, count, x, (bf16 *)y);
}

/* Only for nets whose last layer is not a linear one, so simple serves. */
static __global__ void __launch_bounds__(THREADS)
    to_float32(size_t count, const bf16 *__restrict__ x, float *__restrict__ y) {
    if (flat_index() < count)
        y[flat_index()] = to_float(x[flat_index()]);
}

void kernel_to_float32(cudaStream_t stream, size_t count, const void *x, float *y) {
    LAUNCH(to_float32, spread_flat(count), stream, count, (const bf16 *)x, y);
}

/* Layout: a sample is the matrix [h*w][pitch] or [c][h*w]; tiles of it turn over in shared memory,
 * so that both sides are read and written along their rows ----------------------------------------
 */
enum { TILE = 32, TILE_ROWS = THREADS / TILE };

/* Matrix [rows][row_pitch] to [columns][column_pitch]. Columns past `filled` become 0; rows past
 * the input's `rows` likewise, up to column_pitch. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    transpose(int count, int rows, int columns, int row_pitch, int column_pitch,
              const T *__restrict__ x, T *__restrict__ y) {
    SHARED(T, tile, [TILE][TILE + 1]); /* one column more: no bank conflicts either way */
    const int across = (int)threadIdx.x, down = (int)threadIdx.y;
    const int row = (int)blockIdx.x * TILE, column = (int)blockIdx.y * TILE;
    for (int n = (int)blockIdx.z; n < count; n += (int)gridDim.z) {
        const T *from = x + (size_t)n * rows * row_pitch;
        T *to = y + (size_t)n * columns * column_pitch;
        for (int r = down; r < TILE; r += TILE_ROWS)
            tile[r][across] = row + r < rows && column + across < columns
                                  ? from[(size_t)(row + r) * row_pitch + column + across]
                                  : from_float<T>(0);
        __syncthreads();
        for (int c = down; c < TILE; c += TILE_ROWS)
            if (column + c < columns && row + across < column_pitch)
                to[(size_t)(column + c) * column_pitch + row + across] = tile[across][c];
        __syncthreads();
    }
}

template <typename T>
static void launch_transpose(cudaStream_t stream, const cuda_tensor &from, const cuda_tensor &to,
                             const T *x, T *y) {
    int places = from.h * from.w;
    bool to_nchw = to.layout == CUDA_NCHW;
    int rows = to_nchw ? places : from.c, columns = to_nchw ? from.c : places;
    int row_pitch = to_nchw ? from.pitch : places, column_pitch = to_nchw ? places : to.pitch;
    launch_shape shape = {dim3((unsigned)divide_up((size_t)column_pitch, TILE),
                               (unsigned)divide_up((size_t)columns, TILE),
                               (unsigned)(from.count < 65535 ? from.count : 65535)),
                          dim3(TILE, TILE_ROWS)};
    LAUNCH((transpose<T>), shape, stream, from.count, rows, columns, row_pitch, column_pitch, x, y);
}

void kernel_transpose(cudaStream_t stream, cuda_tensor from, cuda_tensor to, const void *x,
                      void *y) {
    if (from.type == CUDA_BF16)
        launch_transpose(stream, from, to, (const bf16 *)x, (bf16 *)y);
    else
        launch_transpose(stream, from, to, (const float *)x, (float *)y);
}
