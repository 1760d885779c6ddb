/* Batch normalisation's loops. By oneDNN's primitive a layer took 31 to 68 ms beside other
 * programs, in steps of the scheduler's slice, as if its threads waited for one another by
 * spinning.
 *
 * A plane is one block of channels of one sample, [area][block]; it is in the cache when it is read
 * again. Each plane gives its own sums, and these are put together in double in the order of the
 * samples, so bytes do not depend on the number of threads. */
#include "norm_kernels.h"

#include "elements.h"
#include "gelu.h"

#include <math.h>

/* Of all planes: two sums [block] each; of all channels: factors. */
typedef struct {
    float *sums;
    float *factor[4];
} workings;

static size_t blocks_of(const norm_shape *shape) {
    return (size_t)(shape->channels + shape->block - 1) / (size_t)shape->block;
}

static workings divide(const norm_shape *shape, void *scratch) {
    size_t padded = blocks_of(shape) * (size_t)shape->block;
    workings made = {.sums = scratch};
    float *next = made.sums + 2 * padded * (size_t)shape->count;
    for (int i = 0; i < 4; i++, next += padded)
        made.factor[i] = next;
    return made;
}

size_t norm_scratch(const norm_shape *shape) {
    size_t padded = blocks_of(shape) * (size_t)shape->block;
    return (2 * (size_t)shape->count + 4) * padded * sizeof(float);
}

/* Planes: compiled for each block and type, so that the loops over a block are vectors ----------*/

typedef struct {
    const void *x, *dy;
    void *out;
    size_t first, area; /* of the plane: its first element, its pixels */
    float *sums;        /* [2][block] */
    const float *factor[4];
} plane;

/* sums: the mean, and the sum of squares around it. */
ALWAYS_INLINE void measure_plane(const plane *p, size_t block, bool bf16) {
    float *mean = p->sums, *squares = p->sums + block;
    for (size_t k = 0; k < 2 * block; k++)
        p->sums[k] = 0;
    for (size_t i = 0; i < p->area; i++)
        for (size_t k = 0; k < block; k++)
            mean[k] += load(p->x, p->first + i * block + k, bf16);
    for (size_t k = 0; k < block; k++)
        mean[k] /= (float)p->area;
    for (size_t i = 0; i < p->area; i++)
        for (size_t k = 0; k < block; k++) {
            float distance = load(p->x, p->first + i * block + k, bf16) - mean[k];
            squares[k] += distance * distance;
        }
}

/* NaN passes. */
ALWAYS_INLINE float activate(float x, activation how) {
    return how == GELU ? gelu_of(x) : how == RELU && x <= 0 ? 0 : x;
}

/* out = activation(f0 * x + f1). */
ALWAYS_INLINE void apply_plane(const plane *p, size_t block, bool bf16, activation how) {
    const float *scale = p->factor[0], *shift = p->factor[1];
    for (size_t i = 0; i < p->area; i++)
        for (size_t k = 0; k < block; k++) {
            size_t at = p->first + i * block + k;
            float y = load(p->x, at, bf16) * scale[k] + shift[k];
            store(p->out, at, activate(y, how), bf16);
        }
}

/* dy as the activation lets it pass. */
ALWAYS_INLINE float passed(const plane *p, size_t at, size_t k, float x, bool bf16,
                           activation how) {
    float dy = load(p->dy, at, bf16), y = x * p->factor[0][k] + p->factor[1][k];
    return how == GELU ? dy * gelu_slope(y) : how == RELU && y <= 0 ? 0 : dy;
}

/* sums: of dy, and of dy * (x - f2). */
ALWAYS_INLINE void sum_plane(const plane *p, size_t block, bool bf16, activation how) {
    const float *mean = p->factor[2];
    float *sum = p->sums, *product = p->sums + block;
    for (size_t k = 0; k < 2 * block; k++)
        p->sums[k] = 0;
    for (size_t i = 0; i < p->area; i++)
        for (size_t k = 0; k < block; k++) {
            size_t at = p->first + i * block + k;
            float x = load(p->x, at, bf16), dy = passed(p, at, k, x, bf16, how);
            sum[k] += dy;
            product[k] += dy * (x - mean[k]);
        }
}

/* out = f0 * dy + f2 * x + f3. */
ALWAYS_INLINE void differentiate_plane(const plane *p, size_t block, bool bf16, activation how) {
    const float *scale = p->factor[0], *slope = p->factor[2], *offset = p->factor[3];
    for (size_t i = 0; i < p->area; i++)
        for (size_t k = 0; k < block; k++) {
            size_t at = p->first + i * block + k;
            float x = load(p->x, at, bf16), dy = passed(p, at, k, x, bf16, how);
            store(p->out, at, scale[k] * dy + slope[k] * x + offset[k], bf16);
        }
}

typedef enum { MEASURE, APPLY, SUM, DIFFERENTIATE } pass;

ALWAYS_INLINE void run_pass(pass kind, const plane *p, size_t block, bool bf16, activation how) {
    switch (kind) {
    case MEASURE:
        measure_plane(p, block, bf16);
        break;
    case APPLY:
        apply_plane(p, block, bf16, how);
        break;
    case SUM:
        sum_plane(p, block, bf16, how);
        break;
    case DIFFERENTIATE:
        differentiate_plane(p, block, bf16, how);
        break;
    }
}

/* The sums and factors in locals of that size, which are registers. */
ALWAYS_INLINE void run_block(pass kind, const plane *p, size_t block, bool bf16, activation how) {
    float sums[32], factors[4][16];
    plane local = *p;
    local.sums = sums;
    for (int f = 0; f < 4; f++) {
        for (size_t k = 0; k < block && kind != MEASURE; k++)
            factors[f][k] = p->factor[f][k];
        local.factor[f] = factors[f];
    }
    run_pass(kind, &local, block, bf16, how);
    if (kind == MEASURE || kind == SUM)
        for (size_t k = 0; k < 2 * block; k++)
            p->sums[k] = sums[k];
}

ALWAYS_INLINE void run_typed(pass kind, const plane *p, size_t block, bool bf16, activation how) {
    if (block == 16)
        run_block(kind, p, 16, bf16, how);
    else if (block == 8)
        run_block(kind, p, 8, bf16, how);
    else
        run_pass(kind, p, block, bf16, how);
}

ALWAYS_INLINE void run_activated(pass kind, const plane *p, size_t block, bool bf16,
                                 activation how) {
    if (how == GELU)
        run_typed(kind, p, block, bf16, GELU);
    else if (how == RELU)
        run_typed(kind, p, block, bf16, RELU);
    else
        run_typed(kind, p, block, bf16, LINEAR);
}

static void run_plane(pass kind, const plane *p, size_t block, bool bf16, activation how) {
    if (bf16)
        run_activated(kind, p, block, true, how);
    else
        run_activated(kind, p, block, false, how);
}

static void run_planes(pass kind, const norm_shape *shape, const workings *work, const void *x,
                       const void *dy, void *out) {
    size_t blocks = blocks_of(shape), block = (size_t)shape->block;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < (size_t)shape->count * blocks; i++) {
        plane p = {.x = x,
                   .dy = dy,
                   .out = out,
                   .first = i * shape->area * block,
                   .area = shape->area,
                   .sums = work->sums + 2 * i * block};
        for (int f = 0; f < 4; f++)
            p.factor[f] = work->factor[f] + i % blocks * block;
        run_plane(kind, &p, block, shape->bf16, shape->activation);
    }
}

/* Channels --------------------------------------------------------------------------------------*/

/* A plane's two sums for a channel: sums[0] and sums[block]. */
static const float *sums_of(const norm_shape *shape, const workings *work, int sample,
                            int channel) {
    size_t block = (size_t)shape->block, c = (size_t)channel;
    size_t i = (size_t)sample * blocks_of(shape) + c / block;
    return work->sums + 2 * i * block + c % block;
}

void norm_measure(const norm_shape *shape, const void *x, void *scratch, float *mean,
                  float *variance) {
    workings work = divide(shape, scratch);
    run_planes(MEASURE, shape, &work, x, NULL, NULL);
    double area = (double)shape->area;
#pragma omp parallel for schedule(static)
    for (int c = 0; c < shape->channels; c++) {
        double sum = 0, squares = 0;
        for (int n = 0; n < shape->count; n++)
            sum += (double)sums_of(shape, &work, n, c)[0];
        double middle = sum / shape->count;
        for (int n = 0; n < shape->count; n++) {
            const float *sums = sums_of(shape, &work, n, c);
            double distance = (double)sums[0] - middle;
            squares += (double)sums[shape->block] + area * distance * distance;
        }
        mean[c] = (float)middle;
        variance[c] = (float)(squares / (area * shape->count));
    }
}

/* y = f0 x + f1; the channels of padding give 0. */
static void set_factors(const norm_shape *shape, const norm_parameters *norm,
                        const workings *work) {
    size_t padded = blocks_of(shape) * (size_t)shape->block;
    for (size_t c = 0; c < padded; c++) {
        bool real = c < (size_t)shape->channels;
        double inverse = real ? 1 / sqrt((double)norm->variance[c] + (double)shape->epsilon) : 0;
        double scale = real ? (double)norm->weight[c] * inverse : 0;
        work->factor[0][c] = (float)scale;
        work->factor[1][c] =
            real ? (float)((double)norm->shift[c] - scale * (double)norm->mean[c]) : 0;
        work->factor[2][c] = real ? norm->mean[c] : 0;
        work->factor[3][c] = (float)inverse;
    }
}

void norm_apply(const norm_shape *shape, const norm_parameters *norm, const void *x, void *scratch,
                void *y) {
    workings work = divide(shape, scratch);
    set_factors(shape, norm, &work);
    run_planes(APPLY, shape, &work, x, NULL, y);
}

/* With xh = (x - mean) * inverse, over the m values of a channel:
 * dx = weight * inverse * (dy - sum(dy) / m - xh * sum(dy * xh) / m). */
void norm_backward(const norm_shape *shape, const norm_parameters *norm, const void *x,
                   const void *dy, void *scratch, float *dweight, float *dshift, void *dx) {
    workings work = divide(shape, scratch);
    set_factors(shape, norm, &work);
    run_planes(SUM, shape, &work, x, dy, NULL);
    double m = (double)shape->area * shape->count;
#pragma omp parallel for schedule(static)
    for (int c = 0; c < shape->channels; c++) {
        double sum = 0, product = 0, inverse = (double)work.factor[3][c];
        for (int n = 0; n < shape->count; n++) {
            const float *sums = sums_of(shape, &work, n, c);
            sum += (double)sums[0];
            product += (double)sums[shape->block];
        }
        double scale = (double)norm->weight[c] * inverse;
        double slope = -scale * inverse * inverse * product / m;
        dshift[c] = (float)sum;
        dweight[c] = (float)(product * inverse);
        work.factor[2][c] = (float)slope;
        work.factor[3][c] = (float)(-scale * sum / m - slope * (double)norm->mean[c]);
    }
    run_planes(DIFFERENTIATE, shape, &work, x, dy, dx);
}

void bias_gradient(const norm_shape *shape, const void *x, const void *dy, void *scratch,
                   float *sums) {
    workings work = divide(shape, scratch);
    size_t padded = blocks_of(shape) * (size_t)shape->block;
    for (size_t c = 0; c < padded; c++) {
        work.factor[0][c] = 1;
        work.factor[1][c] = work.factor[2][c] = work.factor[3][c] = 0;
    }
    run_planes(SUM, shape, &work, x, dy, NULL);
    for (int c = 0; c < shape->channels; c++) {
        double sum = 0;
        for (int n = 0; n < shape->count; n++)
            sum += (double)sums_of(shape, &work, n, c)[0];
        sums[c] = (float)sum;
    }
}

void norm_move(const float *mean, const float *variance, float *running_mean,
               float *running_variance, int channels, float momentum, double m) {
    double move = (double)momentum, unbias = m > 1 ? m / (m - 1) : 1;
    for (int c = 0; c < channels; c++) {
        running_mean[c] = (float)((1 - move) * (double)running_mean[c] + move * (double)mean[c]);
        running_variance[c] =
            (float)((1 - move) * (double)running_variance[c] + move * unbias * (double)variance[c]);
    }
}

void norm_fold(const norm_parameters *norm, float epsilon, const float *weights, const float *bias,
               int channels, size_t size, float *folded_weights, float *folded_bias) {
    for (int c = 0; c < channels; c++) {
        float scale =
            (float)((double)norm->weight[c] / sqrt((double)norm->variance[c] + (double)epsilon));
        for (size_t i = (size_t)c * size; i < (size_t)(c + 1) * size; i++)
            folded_weights[i] = scale * weights[i];
        folded_bias[c] = norm->shift[c] + scale * ((bias ? bias[c] : 0.0f) - norm->mean[c]);
    }
}
