/* Augmentation: strengths from the configuration, and a whole sample at a time. */
#include "cairn/augment.h"
#include "cairn/dataset.h"
#include "transform_pixels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Strengths --------------------------------------------------------------------------------------
 */

/* With t = s^(1/alpha), the density t^(alpha-1) (1-t)^(alpha-1) dt is (1 - s^(1/alpha))^(alpha-1)
 * ds, up to a factor: without the pole at 0. Its sums over equal steps of s up to t = 1/2 are half
 * of the distribution; the other half mirrors it. */
void cairn_beta_quantiles(double alpha, uint16_t quantile[CAIRN_QUANTILES + 1]) {
    enum { STEPS = 1 << 14 };
    double sums[STEPS + 1], step = pow(0.5, alpha) / STEPS;
    sums[0] = 0;
    for (int i = 0; i < STEPS; i++)
        sums[i + 1] = sums[i] + pow(1 - pow((i + 0.5) * step, 1 / alpha), alpha - 1);
    for (int k = 0, i = 0; k <= CAIRN_QUANTILES; k++) {
        double wanted = sums[STEPS] * k / CAIRN_QUANTILES;
        while (i < STEPS - 1 && sums[i + 1] < wanted)
            i++;
        double s = (i + (wanted - sums[i]) / (sums[i + 1] - sums[i])) * step;
        quantile[k] = (uint16_t)lround(fmin(pow(s, 1 / alpha), 0.5) * CAIRN_ONE);
    }
}

static int32_t fixed(double value) {
    return (int32_t)lround(value * CAIRN_ONE);
}

cairn_augment cairn_augment_configure(const cairn_config *config, const float *mean) {
    const float luma[3] = {0.299f, 0.587f, 0.114f};
    float grey = 0;
    cairn_augment how = {
        .padding = (int32_t)config->augment.padding,
        .flip = (int32_t)config->augment.flip,
        .cutout = (int32_t)config->augment.cutout,
        .erasing = fixed(config->augment.erasing),
        .erasing_area = fixed(config->augment.erasing_area),
        .brightness = fixed(config->augment.brightness),
        .contrast = fixed(config->augment.contrast),
        .saturation = fixed(config->augment.saturation),
        .rotation = fixed(config->augment.rotation / 360),
        .translation = fixed(config->augment.translation),
        .operations = (int32_t)config->augment.randaugment,
        .magnitude = (int32_t)config->augment.magnitude,
        .mixup = config->augment.mixup > 0,
        .cutmix = config->augment.cutmix > 0,
        .mix_share = fixed(config->augment.mix_share),
    };
    if (how.mixup)
        cairn_beta_quantiles(config->augment.mixup, how.mixup_quantile);
    if (how.cutmix)
        cairn_beta_quantiles(config->augment.cutmix, how.cutmix_quantile);
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++)
        how.fill[c] = (uint8_t)lround(255 * (double)mean[c]);
    for (int c = 0; c < 3; c++)
        grey += luma[c] * mean[c];
    how.pivot = (uint8_t)lround(255 * (double)grey);
    return how;
}

/* Samples ----------------------------------------------------------------------------------------
 */

void cairn_transform_make(const cairn_augmenter *a, cairn_transform *transform,
                          const uint8_t *images, uint32_t epoch, uint32_t index) {
    const int64_t size = (int64_t)a->channels * a->height * a->width;
    cairn_transform_draw(a, transform, epoch, index);
    cairn_view_build_luts(a, &transform->own, images + index * size);
    cairn_view_build_luts(a, &transform->other, images + transform->partner * size);
}

/* A view with lookup tables, as cairn_view_source has it. */
static void take_by_lut(const cairn_augmenter *a, const cairn_view *v, const uint8_t *image,
                        uint8_t *pixels) {
    for (int c = 0; c < a->channels; c++)
        for (int i = 0; i < a->height; i++)
            for (int j = 0; j < a->width; j++)
                *pixels++ = (uint8_t)cairn_view_source(a, v, c, image, i, j);
}

/* A row of a view that neither turns nor shears: a run of a source row, forwards or backwards. */
static void take_row(const cairn_augmenter *a, const cairn_view *v, int c, const uint8_t *plane,
                     int i, uint8_t *out) {
    int row = (v->map[0][0] * i + v->map[0][2]) >> 16;
    int column = v->map[1][2] >> 16, step = v->map[1][1] >> 16;
    bool inside = row >= 0 && row < a->height;
    for (int j = 0; j < a->width; j++, column += step)
        out[j] = inside && column >= 0 && column < a->width
                     ? plane[row * a->width + column]
                     : (uint8_t)cairn_plane_level(a, v, c, plane, row, column);
}

/* A row of any other view, in all channels: cairn_view_source, with a short way where all four
 * neighbours lie inside. */
static void take_slanting_row(const cairn_augmenter *a, const cairn_view *v, const uint8_t *image,
                              int i, uint8_t *out) {
    const int width = a->width, plane = a->height * width;
    int y = v->map[0][0] * i + v->map[0][2], x = v->map[1][0] * i + v->map[1][2];
    for (int j = 0; j < width; j++, y += v->map[0][1], x += v->map[1][1]) {
        int row = y >> 16, column = x >> 16;
        bool inside = row >= 0 && row + 1 < a->height && column >= 0 && column + 1 < width;
        for (int c = 0; c < a->channels; c++) {
            const uint8_t *at = image + c * plane + (inside ? row * width + column : 0);
            out[c * plane + j] =
                (uint8_t)(inside ? cairn_level_between(at[0], at[1], at[width], at[width + 1],
                                                       y >> 8 & 255, x >> 8 & 255)
                                 : cairn_view_source(a, v, c, image, i, j));
        }
    }
}

static void take_view(const cairn_augmenter *a, const cairn_view *v, const uint8_t *image,
                      uint8_t *pixels) {
    if (v->uses_lut) {
        take_by_lut(a, v, image, pixels);
        return;
    }
    bool straight = !v->between && v->map[0][1] == 0 && v->map[1][0] == 0;
    for (int i = 0; i < a->height; i++) {
        uint8_t *out = pixels + i * a->width;
        if (!straight)
            take_slanting_row(a, v, image, i, out);
        for (int c = 0; c < a->channels && straight; c++) {
            int plane = c * a->height * a->width;
            take_row(a, v, c, image + plane, i, out + plane);
        }
    }
}

static void recolour(const cairn_view *v, int plane, uint8_t *pixels) {
    uint8_t *r = pixels, *g = r + plane, *b = g + plane;
    for (int p = 0; p < plane; p++) {
        int red = r[p], green = g[p], blue = b[p];
        r[p] = (uint8_t)cairn_view_recolour(v, 0, red, green, blue);
        g[p] = (uint8_t)cairn_view_recolour(v, 1, red, green, blue);
        b[p] = (uint8_t)cairn_view_recolour(v, 2, red, green, blue);
    }
}

static void fill_hole(const cairn_augmenter *a, const cairn_box *hole, uint8_t *pixels) {
    for (int c = 0; c < a->channels; c++)
        for (int i = hole->top; i < hole->bottom; i++)
            memset(pixels + (c * a->height + i) * a->width + hole->left, a->how.fill[c % 4],
                   (size_t)(hole->right - hole->left));
}

static void mix(const cairn_augmenter *a, const cairn_transform *transform, const uint8_t *other,
                uint8_t *pixels) {
    for (int c = 0; c < a->channels; c++)
        for (int i = 0; i < a->height; i++)
            for (int j = 0; j < a->width; j++, pixels++) {
                if (transform->patched && !cairn_box_holds(&transform->patch, i, j))
                    continue;
                int level = cairn_view_level(a, &transform->other, other, c, i, j);
                *pixels = (uint8_t)(transform->patched
                                        ? level
                                        : cairn_transform_blend(transform, *pixels, level));
            }
}

void cairn_transform_apply(const cairn_augmenter *a, const cairn_transform *transform,
                           const uint8_t *images, uint32_t index, uint8_t *pixels) {
    int plane = a->height * a->width;
    size_t size = (size_t)a->channels * (size_t)plane;
    take_view(a, &transform->own, images + index * size, pixels);
    if (transform->own.recolours)
        recolour(&transform->own, plane, pixels);
    for (int k = 0; k < 2; k++)
        fill_hole(a, &transform->own.hole[k], pixels);
    if (transform->weight < CAIRN_ONE)
        mix(a, transform, images + transform->partner * size, pixels);
}
