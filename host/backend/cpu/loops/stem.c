#include "stem.h"

#include "../bf16.h"
#include "vectors.h"

#include <immintrin.h>
#include <omp.h>
#include <string.h>

enum {
    BLOCK = CHANNEL_BLOCK,
    KERNEL = 3,
    TAPS = KERNEL * KERNEL,
    WINDOW = 2, /* of pooling */
    /* So many windows of a row go together, and blocks, whose sums are held in registers. */
    WINDOWS = CHANNEL_BLOCK == 16 ? 2 : 1,
    BLOCKS = 2,
    GRADIENT_BLOCKS = CHANNEL_BLOCK == 16 ? 2 : 1,
    RUN = CHANNEL_BLOCK / 2 /* floats, two of which fill a register */
};

/* The input of a sample ------------------------------------------------------------------------ */

/* With zeros around it: [in][pairs of rows][columns][2], so that the 4x4 inputs of a window of
 * outputs are two runs. */
typedef struct {
    int pairs;
    size_t run, plane; /* floats of a pair, of a channel */
} layout;

static layout lay_out(const conv_shape *shape) {
    int pairs = conv_pooled(shape->height, shape) + 1;
    int steps = (conv_pooled(shape->width, shape) + WINDOWS - 1) / WINDOWS;
    /* Beside the windows' own columns two more for the kernel, two that are read and not used. */
    size_t run = (size_t)(steps * WINDOWS * WINDOW + 4) * 2;
    return (layout){pairs, run, run * (size_t)pairs};
}

static void copy_row(const void *row, size_t width, bool bf16, float *to) {
    for (size_t i = 0; i < width; i++)
        to[2 * i] = bf16 ? from_bf16(((const bfloat16 *)row)[i]) : ((const float *)row)[i];
}

static void read_sample(const conv_shape *shape, const void *x, int sample, layout at, float *to) {
    size_t width = (size_t)shape->width, size = shape->bf16 ? sizeof(bfloat16) : sizeof(float);
    size_t inside = at.run / 2 - (size_t)shape->padding;
    const char *row =
        (const char *)x + (size_t)sample * (size_t)(shape->in * shape->height) * width * size;
    memset(to, 0, (size_t)shape->in * at.plane * sizeof *to);
    for (int c = 0; c < shape->in; c++, to += at.plane)
        for (int i = shape->padding; i < shape->height + shape->padding; i++, row += width * size)
            if (i < 2 * at.pairs)
                copy_row(row, width < inside ? width : inside, shape->bf16,
                         to + (size_t)(i / 2) * at.run + i % 2 + 2 * shape->padding);
}

static size_t weight_count(const conv_shape *shape) {
    return (size_t)(channel_blocks(shape->out) * shape->in * TAPS * BLOCK);
}

/* A thread's sums of gradients, [blocks of out][terms][block]: of the weights, the terms being
 * [in][TAPS], and last of the bias. */
static size_t sum_terms(const conv_shape *shape) {
    return (size_t)(shape->in * TAPS + 1);
}

static size_t sum_count(const conv_shape *shape) {
    return (size_t)(channel_blocks(shape->out) * BLOCK) * sum_terms(shape);
}

/* Each thread has a sample and its sums, up to a whole block. */
static size_t sample_floats(const conv_shape *shape) {
    return ((size_t)shape->in * lay_out(shape).plane + BLOCK - 1) / BLOCK * BLOCK;
}

static size_t scratch_floats(const conv_shape *shape, int threads) {
    return (size_t)threads * (sample_floats(shape) + sum_count(shape));
}

/* To [blocks of out][in][TAPS][block]. */
static void transform_weights(const conv_shape *shape, const float *weights, float *transformed) {
    size_t terms = (size_t)(shape->in * TAPS);
    memset(transformed, 0, weight_count(shape) * sizeof *transformed);
    for (size_t o = 0; o < (size_t)shape->out; o++)
        for (size_t t = 0; t < terms; t++)
            transformed[(o / BLOCK * terms + t) * BLOCK + o % BLOCK] = weights[o * terms + t];
}

/* Forward -------------------------------------------------------------------------------------- */

/* The convolution at WINDOWS windows, of `blocks` blocks: sum [block][row][column]. */
INLINE void convolve(const conv_shape *shape, layout at, const float *from, const vector *weights,
                     int blocks, vector sum[BLOCKS][WINDOW][WINDOWS * WINDOW]) {
    size_t terms = (size_t)(shape->in * TAPS);
    for (int b = 0; b < blocks; b++)
        for (int i = 0; i < WINDOW; i++)
            for (int j = 0; j < WINDOWS * WINDOW; j++)
                sum[b][i][j] = (vector){0};
    for (int c = 0; c < shape->in; c++, from += at.plane)
        for (int u = 0; u < KERNEL; u++) {
            const float *row[WINDOW];
            for (int i = 0; i < WINDOW; i++)
                row[i] = from + (size_t)((i + u) / 2) * at.run + (i + u) % 2;
            for (int v = 0; v < KERNEL; v++, weights++)
                for (int i = 0; i < WINDOW; i++)
                    for (int j = 0; j < WINDOWS * WINDOW; j++)
                        for (int b = 0; b < blocks; b++)
                            sum[b][i][j] += row[i][2 * (j + v)] * weights[(size_t)b * terms];
        }
}

INLINE void forward_blocks(const conv_shape *shape, layout at, const float *sample,
                           const vector *weights, const vector *bias, int blocks, char *y,
                           int16_t *chosen) {
    int height = conv_pooled(shape->height, shape), width = conv_pooled(shape->width, shape);
    vector sum[BLOCKS][WINDOW][WINDOWS * WINDOW];
    for (int i = 0; i < height; i++)
        for (int j = 0; j < width; j += WINDOWS) {
            convolve(shape, at, sample + (size_t)i * at.run + (size_t)(2 * WINDOW * j), weights,
                     blocks, sum);
            for (int b = 0; b < blocks; b++)
                for (int w = 0; w < WINDOWS && j + w < width; w++) {
                    size_t place = (size_t)((b * height + i) * width + j + w);
                    const vector window[] = {sum[b][0][WINDOW * w], sum[b][0][WINDOW * w + 1],
                                             sum[b][1][WINDOW * w], sum[b][1][WINDOW * w + 1]};
                    pool_window(window, bias[b], true, shape->bf16,
                                y + place * block_bytes(shape->bf16), chosen + place * BLOCK);
                }
        }
}

static void forward(const conv_shape *shape, const void *x, const float *transformed,
                    const float *bias, int threads, float *scratch, void *y, int16_t *chosen) {
    layout at = lay_out(shape);
    size_t each = scratch_floats(shape, 1), terms = (size_t)(shape->in * TAPS);
    int blocks = channel_blocks(shape->out);
    size_t pixels = (size_t)(conv_pooled(shape->height, shape) * conv_pooled(shape->width, shape));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int n = 0; n < shape->count; n++) {
        float *sample = scratch + (size_t)omp_get_thread_num() * each;
        read_sample(shape, x, n, at, sample);
        for (int block = 0; block < blocks; block += BLOCKS) {
            size_t first = (size_t)(n * blocks + block) * pixels;
            char *to = (char *)y + first * block_bytes(shape->bf16);
            const vector *weights = (const vector *)transformed + (size_t)block * terms;
            vector offset[BLOCKS] = {{0}};
            for (int o = 0; bias && o < BLOCKS * BLOCK && block * BLOCK + o < shape->out; o++)
                offset[o / BLOCK][o % BLOCK] = bias[block * BLOCK + o];
            if (blocks - block >= BLOCKS)
                forward_blocks(shape, at, sample, weights, offset, BLOCKS, to,
                               chosen + first * BLOCK);
            else
                forward_blocks(shape, at, sample, weights, offset, 1, to, chosen + first * BLOCK);
        }
    }
}

/* Weight gradient ------------------------------------------------------------------------------ */

/* Two runs, one behind the other. */
INLINE vector join(const float *low, const float *high) {
#if CHANNEL_BLOCK == 16
    __m512d lower = _mm512_castpd256_pd512(_mm256_castps_pd(_mm256_loadu_ps(low)));
    return (vector)_mm512_insertf64x4(lower, _mm256_castps_pd(_mm256_loadu_ps(high)), 1);
#else
    return (vector)_mm256_set_m128(_mm_loadu_ps(high), _mm_loadu_ps(low));
#endif
}

/* Lane l becomes from[lane[l]]. */
INLINE vector permute(vector from, bits lane) {
#if CHANNEL_BLOCK == 16
    return (vector)_mm512_permutexvar_ps((__m512i)lane, (__m512)from);
#else
    return (vector)_mm256_permutevar8x32_ps((__m256)from, (__m256i)lane);
#endif
}

/* Of channel c of the input and `blocks` blocks of the output, added to their sums. Each lane takes
 * the input that its own place of the window met: lane r / 2 * RUN + 2 * k + r % 2 of a 4x4 patch
 * has row r and column k. */
INLINE void accumulate(const conv_shape *shape, layout at, const float *planes, int c,
                       const char *dy, const int16_t *chosen, int blocks, vector *sums) {
    const float *plane = planes + (size_t)c * at.plane;
    int height = conv_pooled(shape->height, shape), width = conv_pooled(shape->width, shape);
    vector sum[GRADIENT_BLOCKS][KERNEL][KERNEL] = {{{{0}}}}, total[GRADIENT_BLOCKS] = {{0}};
    for (int i = 0; i < height; i++)
        for (int j = 0; j < width; j++) {
            const float *from = plane + (size_t)i * at.run + (size_t)(2 * WINDOW * j);
            vector patch[KERNEL]; /* from column v on */
            for (int v = 0; v < KERNEL; v++)
                patch[v] = join(from + 2 * v, from + at.run + 2 * v);
            for (int b = 0; b < blocks; b++) {
                size_t pixel = (size_t)((b * height + i) * width + j);
                bits place =
                    __builtin_convertvector(*(const shorts *)(chosen + pixel * BLOCK), bits);
                bits lane[KERNEL] = {place & 3, (place & 3) + (place & 1) * (RUN - 2) + 1,
                                     (place & 3) + RUN};
                vector gradient = load(dy + pixel * block_bytes(shape->bf16), shape->bf16);
                gradient = (vector)((bits)gradient & (place >= 0));
                total[b] += gradient;
                for (int u = 0; u < KERNEL; u++)
                    for (int v = 0; v < KERNEL; v++)
                        sum[b][u][v] += permute(patch[v], lane[u]) * gradient;
            }
        }
    for (int b = 0; b < blocks; b++, sums += sum_terms(shape)) {
        for (int k = 0; k < TAPS; k++)
            sums[c * TAPS + k] += sum[b][k / KERNEL][k % KERNEL];
        if (c == 0)
            sums[shape->in * TAPS] += total[b];
    }
}

static void accumulate_sample(const conv_shape *shape, layout at, int sample, const float *planes,
                              const char *dy, const int16_t *chosen, vector *sums) {
    int blocks = channel_blocks(shape->out);
    size_t pixels = (size_t)(conv_pooled(shape->height, shape) * conv_pooled(shape->width, shape));
    for (int block = 0; block < blocks; block += GRADIENT_BLOCKS) {
        size_t first = (size_t)(sample * blocks + block) * pixels;
        const char *from = dy + first * block_bytes(shape->bf16);
        vector *to = sums + (size_t)block * sum_terms(shape);
        for (int c = 0; c < shape->in; c++)
            if (blocks - block >= GRADIENT_BLOCKS)
                accumulate(shape, at, planes, c, from, chosen + first * BLOCK, GRADIENT_BLOCKS, to);
            else
                accumulate(shape, at, planes, c, from, chosen + first * BLOCK, 1, to);
    }
}

static void weight_gradient(const conv_shape *shape, const void *x, const void *dy,
                            const int16_t *chosen, int threads, float *scratch, float *dweights,
                            float *dbias) {
    layout at = lay_out(shape);
    size_t each = scratch_floats(shape, 1), sample = sample_floats(shape);
    size_t terms = sum_terms(shape);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; t++) {
        float *planes = scratch + (size_t)t * each, *sums = planes + sample;
        memset(sums, 0, sum_count(shape) * sizeof *sums);
        for (int n = shape->count * t / threads; n < shape->count * (t + 1) / threads; n++) {
            read_sample(shape, x, n, at, planes);
            accumulate_sample(shape, at, n, planes, dy, chosen, (vector *)sums);
        }
    }
    for (size_t o = 0; o < (size_t)shape->out; o++)
        for (size_t k = 0; k < terms; k++) {
            double sum = 0;
            for (size_t t = 0; t < (size_t)threads; t++)
                sum += (double)
                    scratch[t * each + sample + (o / BLOCK * terms + k) * BLOCK + o % BLOCK];
            if (k < terms - 1)
                dweights[o * (terms - 1) + k] = (float)sum;
            else if (dbias)
                dbias[o] = (float)sum;
        }
}

const stem_loops OF_ISA(stem) = {weight_count, scratch_floats, transform_weights, forward,
                                 weight_gradient};
