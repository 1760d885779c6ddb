/* The built-in data set: ten classes of moving, mixed, noisy textures, drawn from the seed.
 *
 * A class is a texture, a few low-frequency waves for each channel. A sample shows its class's
 * texture at a random shift and contrast, blended with another class's at another shift, under
 * noise. So a pixel alone says nothing, and a network has to learn the waves: accuracy climbs over
 * several epochs, and the strongest blends keep it below one.
 *
 * All arithmetic is on integers: the same seed gives the same bytes on every machine, at any number
 * of threads. Sample i has label i % 10, so that every cut of a split is balanced. */
#include "cairn/rng.h"
#include "cairn/threads.h"
#include "data.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CLASSES = 10 };

enum { WAVES = 4, FREQUENCY = 4 }; /* waves for a channel; highest frequency, in cycles per side */

/* How hard it is. In 256ths: contrast, blend and noise. */
enum { CONTRAST_LOW = 32, CONTRAST_SPAN = 40, BLEND_MAX = 128, NOISE = 96 };

/* Of the pixels scaled to [0,1], measured; the same for every seed and channel. */
static const float MEAN = 128 / 255.0f, STD = 0.191f;

/* Streams of CAIRN_RNG_SYNTHETIC. */
enum { DRAW_WAVE, DRAW_SAMPLE, DRAW_NOISE };

/* A texture has period SIDE in both directions; columns are stored twice, so that a shifted row is
 * one run of memory. */
typedef int16_t texture[CHANNELS][SIDE][2 * SIDE];

/* Whole frequencies other than zero, so that every texture has mean zero exactly. */
static void draw_texture(texture out, uint64_t seed, uint32_t label) {
    int wave[SIDE]; /* one period of a cosine */
    for (int i = 0; i < SIDE; i++)
        wave[i] = (int)lrint(127 * cos(2 * 3.14159265358979323846 * i / SIDE));
    memset(out, 0, sizeof(texture));
    for (int c = 0; c < CHANNELS; c++)
        for (int w = 0; w < WAVES; w++) {
            cairn_rng_block draw =
                cairn_rng(seed, CAIRN_RNG_SYNTHETIC, label, DRAW_WAVE, (uint64_t)(c * WAVES + w));
            /* fy in 0..F and fx in -F..F, but not both zero */
            int code =
                1 + (int)cairn_rng_below(draw.word[0], (FREQUENCY + 1) * (2 * FREQUENCY + 1) - 1);
            int fy = code / (2 * FREQUENCY + 1), fx = code % (2 * FREQUENCY + 1);
            if (fx > FREQUENCY)
                fx -= 2 * FREQUENCY + 1;
            int phase = (int)cairn_rng_below(draw.word[1], SIDE);
            for (int y = 0; y < SIDE; y++)
                for (int x = 0; x < 2 * SIDE; x++)
                    out[c][y][x] += (int16_t)wave[(fy * y + fx * x + phase + SIDE * SIDE) % SIDE];
        }
}

/* What a sample shows: two textures, each shifted and weighted. */
typedef struct {
    texture *own, *other;
    int x, y, other_x, other_y; /* shifts */
    int weight, other_weight;   /* 256ths, contrast applied */
} mixture;

static mixture draw_mixture(texture *textures, uint64_t seed, uint32_t sample) {
    cairn_rng_block a = cairn_rng(seed, CAIRN_RNG_SYNTHETIC, sample, DRAW_SAMPLE, 0);
    cairn_rng_block b = cairn_rng(seed, CAIRN_RNG_SYNTHETIC, sample, DRAW_SAMPLE, 1);
    uint32_t label = sample % CLASSES;
    uint32_t other = (label + 1 + cairn_rng_below(a.word[0], CLASSES - 1)) % CLASSES;
    int contrast = CONTRAST_LOW + (int)cairn_rng_below(a.word[1], CONTRAST_SPAN);
    int blend = (int)cairn_rng_below(a.word[2], BLEND_MAX);
    return (mixture){
        .own = &textures[label],
        .other = &textures[other],
        .x = (int)cairn_rng_below(b.word[0], SIDE),
        .y = (int)cairn_rng_below(b.word[1], SIDE),
        .other_x = (int)cairn_rng_below(b.word[2], SIDE),
        .other_y = (int)cairn_rng_below(b.word[3], SIDE),
        .weight = contrast * (256 - blend) / 256,
        .other_weight = contrast * blend / 256,
    };
}

/* pixel = 128 + blend of the textures + noise; the noise is the sum of two bytes, so triangular. */
static void draw_sample(texture *textures, uint64_t seed, uint32_t sample, uint8_t *image) {
    mixture m = draw_mixture(textures, seed, sample);
    enum { NOISES = sizeof(cairn_rng_block) / 2 }; /* pixels that one block of words serves */
    for (int c = 0; c < CHANNELS; c++)
        for (int y = 0; y < SIDE; y++) {
            const int16_t *own = (*m.own)[c][(y + m.y) % SIDE] + m.x;
            const int16_t *other = (*m.other)[c][(y + m.other_y) % SIDE] + m.other_x;
            uint8_t *row = image + (c * SIDE + y) * SIDE;
            for (int x = 0; x < SIDE; x += NOISES) {
                cairn_rng_block noise = cairn_rng(seed, CAIRN_RNG_SYNTHETIC, sample, DRAW_NOISE,
                                                  (uint64_t)(row - image + x) / NOISES);
                for (int i = 0; i < NOISES; i++) {
                    uint32_t word = noise.word[i / 2] >> (16 * (i % 2));
                    int triangle = (int)(word & 255) + (int)(word >> 8 & 255) - 255;
                    int level = 128 + (own[x + i] * m.weight + other[x + i] * m.other_weight +
                                       triangle * NOISE) /
                                          256;
                    row[x + i] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
                }
            }
        }
}

static void draw_split(cairn_split *split, texture *textures, uint64_t seed, uint32_t first,
                       int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < split->count; i++) {
        draw_sample(textures, seed, first + (uint32_t)i, split->images + (size_t)i * PIXELS);
        split->labels[i] = (uint8_t)((first + (uint32_t)i) % CLASSES);
    }
}

void cairn_synthetic_describe(cairn_dataset *dataset) {
    dataset->classes = CLASSES;
    for (int label = 0; label < CLASSES; label++)
        snprintf(dataset->class_names[label], sizeof dataset->class_names[label], "texture %d",
                 label);
    for (int c = 0; c < CHANNELS; c++) {
        dataset->mean[c] = MEAN;
        dataset->std[c] = STD;
    }
}

cairn_status cairn_synthetic_load(cairn_dataset *dataset, const cairn_config *config) {
    texture textures[CLASSES];
    const uint64_t seed = config->seed;
    int threads = 1;
    for (uint32_t label = 0; label < CLASSES; label++)
        draw_texture(textures[label], seed, label);
    cairn_status status = cairn_threads_resolve((int)config->train.threads, &threads);
    if (status)
        return status;
    draw_split(&dataset->train, textures, seed, 0, threads);
    draw_split(&dataset->test, textures, seed, TRAIN_COUNT, threads);
    return CAIRN_OK;
}
