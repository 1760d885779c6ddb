/* The CPU executor's own loops. They are written so that the compiler vectorises them; the parallel
 * ones only divide work whose parts do not meet, so the bytes are the same for any thread count. */
#include "cpu_kernels.h"

#include "host/data/transform_pixels.h"
#include "cairn/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Below this many elements a parallel region costs more than it saves. */
enum { PARALLEL_MIN = 1 << 14 };

/* What a byte becomes, by channel: (x / 255 - mean) / std, rounded once. */
typedef struct {
    float f32[CAIRN_CHANNELS_MAX][256];
    bfloat16 b16[CAIRN_CHANNELS_MAX][256];
} normal_table;

static void make_table(const cairn_executor_options *options, normal_table *table) {
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++)
        for (int x = 0; x < 256; x++) {
            double scaled = x / 255.0 - (double)options->mean[c];
            table->f32[c][x] = (float)(scaled / (double)options->std[c]);
            table->b16[c][x] = to_bf16(table->f32[c][x]);
        }
}

/* One row of one channel: `left` padded pixels, then `valid` source pixels, then padded ones. A
 * padded pixel is 0 before normalising. */
static void normalise_row(const uint8_t *source, int left, int valid, int width, const float *table,
                          float *row) {
    for (int x = 0; x < left; x++)
        row[x] = table[0];
    for (int x = 0; x < valid; x++)
        row[left + x] = table[source[x]];
    for (int x = left + valid; x < width; x++)
        row[x] = table[0];
}

/* The same in bf16. */
static void normalise_row_bf16(const uint8_t *source, int left, int valid, int width,
                               const bfloat16 *table, bfloat16 *row) {
    for (int x = 0; x < left; x++)
        row[x] = table[0];
    for (int x = 0; x < valid; x++)
        row[left + x] = table[source[x]];
    for (int x = left + valid; x < width; x++)
        row[x] = table[0];
}

/* A sample's place in the padded image: offsets dy, dx of the crop less the padding. */
static void crop_shift(const cairn_executor_options *options, const batch_source *source,
                       int32_t index, int *shift_y, int *shift_x) {
    *shift_y = *shift_x = 0;
    if (!source->training || options->crop_padding == 0)
        return;
    uint32_t places = 2 * (uint32_t)options->crop_padding + 1;
    cairn_rng_block random =
        cairn_rng(options->seed, CAIRN_RNG_CROP, source->epoch, 0, (uint64_t)index);
    *shift_y = (int)cairn_rng_below(random.word[0], places) - options->crop_padding;
    *shift_x = (int)cairn_rng_below(random.word[1], places) - options->crop_padding;
}

static int clamp(int value, int low, int high) {
    return value < low ? low : value > high ? high : value;
}

static void assemble_sample(const normal_table *table, cairn_shape shape, const uint8_t *image,
                            int shift_y, int shift_x, void *x, bool bf16) {
    size_t width = (size_t)shape.w, row = 0;
    int left = clamp(-shift_x, 0, shape.w), first = clamp(shift_x, 0, shape.w);
    int columns = shape.w - left - first;
    for (int c = 0; c < shape.c; c++) {
        const float *f32 = table->f32[c % CAIRN_CHANNELS_MAX];
        const bfloat16 *b16 = table->b16[c % CAIRN_CHANNELS_MAX];
        for (int y = 0; y < shape.h; y++, row++) {
            bool inside = y + shift_y >= 0 && y + shift_y < shape.h;
            const uint8_t *source =
                inside ? image + ((ptrdiff_t)row + shift_y) * (ptrdiff_t)width + first : image;
            int valid = inside ? columns : 0;
            if (bf16)
                normalise_row_bf16(source, left, valid, shape.w, b16, (bfloat16 *)x + row * width);
            else
                normalise_row(source, left, valid, shape.w, f32, (float *)x + row * width);
        }
    }
}

/* By the sample's transform: its bytes, then their normalised values. */
static void assemble_augmented(const normal_table *table, cairn_shape shape,
                               const batch_source *source, uint32_t index, uint8_t *bytes, void *x,
                               bool bf16, loss_target *target) {
    cairn_transform transform;
    if (source->training)
        cairn_transform_make(&source->augmenter, &transform, source->images, source->epoch, index);
    else
        cairn_transform_evaluation(&source->augmenter, &transform, source->view, index);
    cairn_transform_apply(&source->augmenter, &transform, source->images, index, bytes);
    assemble_sample(table, shape, bytes, 0, 0, x, bf16);
    *target = target_of(&transform, source->labels, index);
}

void assemble_batch(const cairn_executor_options *options, const batch_source *source, int count,
                    void *x, bool bf16, loss_target *targets) {
    const cairn_augmenter *augmenter = &source->augmenter;
    cairn_shape shape = {augmenter->channels, augmenter->height, augmenter->width};
    size_t size = cairn_shape_count(shape);
    normal_table table;
    make_table(options, &table);
#pragma omp parallel for schedule(static)
    for (int n = 0; n < count; n++) {
        int32_t index = source->indices ? source->indices[n] : source->first + n;
        char *to = (char *)x + (bf16 ? sizeof(bfloat16) : sizeof(float)) * size * (size_t)n;
        if (source->bytes) {
            assemble_augmented(&table, shape, source, (uint32_t)index,
                               source->bytes + (size_t)n * size, to, bf16, &targets[n]);
            continue;
        }
        int shift_y, shift_x;
        crop_shift(options, source, index, &shift_y, &shift_x);
        assemble_sample(&table, shape, source->images + (size_t)index * size, shift_y, shift_x, to,
                        bf16);
        targets[n] = (loss_target){source->labels[index], source->labels[index], 1};
    }
}

void cross_entropy(const float *logits, const loss_target *targets, double smoothing, int count,
                   int classes, float *gradient, cairn_stats *stats) {
    for (int n = 0; n < count; n++) {
        const float *row = logits + (size_t)n * (size_t)classes;
        int label = target_label(&targets[n]);
        float peak = row[0];
        bool correct = true; /* the first of the largest; a NaN anywhere makes it wrong */
        for (int j = 0; j < classes; j++) {
            peak = row[j] > peak ? row[j] : peak;
            correct &= j < label ? row[label] > row[j] : row[label] >= row[j];
        }
        double sum = 0, at_target = 0;
        for (int j = 0; j < classes; j++) {
            double q = target_probability(&targets[n], smoothing, classes, j);
            sum += exp((double)row[j] - (double)peak);
            if (q > 0) /* 0 times an infinite logit would be no number */
                at_target += q * ((double)row[j] - (double)peak);
        }
        /* cppcheck-suppress invalidFunctionArg ; the largest term is exp(0) */
        stats->loss += log(sum) - at_target;
        stats->correct += correct;
        if (!gradient)
            continue;
        float *out = gradient + (size_t)n * (size_t)classes;
        for (int j = 0; j < classes; j++) {
            double probability = exp((double)row[j] - (double)peak) / sum;
            double wanted = target_probability(&targets[n], smoothing, classes, j);
            out[j] = (float)((probability - wanted) / count);
        }
    }
    stats->seen += count;
}

void relu_forward(const float *x, float *y, size_t count) {
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

static void mask_f32(const float *y, const float *dy, float *out, size_t count) {
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++)
        out[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}

static void mask_bf16(const bfloat16 *y, const bfloat16 *dy, bfloat16 *out, size_t count) {
    /* A bf16 is positive when its bits, as a signed integer, are. */
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++)
        out[i] = (int16_t)y[i] > 0 ? dy[i] : 0;
}

void mask_positive(const void *y, const void *dy, void *out, size_t count, bool bf16) {
    if (bf16)
        mask_bf16(y, dy, out, count);
    else
        mask_f32(y, dy, out, count);
}

static void add_f32(const float *a, const float *b, float *y, size_t count, float least) {
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++) {
        float sum = a[i] + b[i];
        y[i] = sum < least ? least : sum;
    }
}

static void add_bf16(const bfloat16 *a, const bfloat16 *b, bfloat16 *y, size_t count, float least) {
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t i = 0; i < count; i++) {
        float sum = from_bf16(a[i]) + from_bf16(b[i]);
        y[i] = to_bf16(sum < least ? least : sum);
    }
}

void add_tensors(const void *a, const void *b, void *y, size_t count, bool relu, bool bf16) {
    float least = relu ? 0.0f : -INFINITY;
    if (bf16)
        add_bf16(a, b, y, count, least);
    else
        add_f32(a, b, y, count, least);
}

void dropout(const float *x, float *y, size_t count, float p, uint64_t seed, uint32_t step,
             uint32_t micro_batch, uint32_t op) {
    uint32_t threshold = cairn_rng_dropout_threshold(p);
    float scale = 1.0f / (1.0f - p);
    size_t whole = count / 4;
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_MIN)
    for (size_t block = 0; block < whole; block++) {
        uint64_t index = cairn_rng_dropout_index(micro_batch, block);
        cairn_rng_block random = cairn_rng(seed, CAIRN_RNG_DROPOUT, step, op, index);
        for (size_t k = 0; k < 4; k++)
            y[4 * block + k] = random.word[k] < threshold ? 0.0f : x[4 * block + k] * scale;
    }
    uint64_t last = cairn_rng_dropout_index(micro_batch, whole);
    cairn_rng_block random = cairn_rng(seed, CAIRN_RNG_DROPOUT, step, op, last);
    for (size_t i = 4 * whole; i < count; i++)
        y[i] = random.word[i % 4] < threshold ? 0.0f : x[i] * scale;
}
