/* The bytes that a transform makes of the split's. A backend calls cairn_transform_level for each
 * byte of a sample, or goes a shorter way to the same bytes, once the lookup tables of its views
 * have been built. Plain C11 and CUDA C++. */
#ifndef CAIRN_TRANSFORM_PIXELS_H
#define CAIRN_TRANSFORM_PIXELS_H

#include "transform.h"

/* Levels ------------------------------------------------------------------------------------------
 */

/* A channel's lookup table, from how often it has each level. Autocontrast stretches the levels to
 * 0..255, rounded down. Equalize shares them out by how many pixels are darker, in steps of as many
 * as it takes for the brightest to reach 255; where there are too few pixels for that it does
 * nothing. As it goes by the levels' order alone, which autocontrast keeps, it leaves nothing of
 * the latter. */
CAIRN_CALLED_FN void cairn_lut_build(const cairn_view *v, const int32_t *count, uint8_t *lut) {
    int32_t low = 256, high = 0, all = 0, darker = 0;
    for (int level = 0; level < 256; level++)
        if (count[level]) {
            low = level < low ? level : low;
            high = level;
            all += count[level];
        }
    const int32_t step = v->equalize ? (all - count[high]) / 255 : 0;
    const bool stretches = v->autocontrast && high > low;
    for (int32_t level = 0; level < 256; level++) {
        int32_t becomes = step        ? (darker + step / 2) / step
                          : stretches ? (level - low) * 255 / (high - low)
                                      : level;
        lut[level] = (uint8_t)cairn_clamp(becomes, 0, 255);
        darker += count[level];
    }
}

/* The view's lookup tables, of its image [c, h, w]. */
CAIRN_RNG_FN void cairn_view_build_luts(const cairn_augmenter *a, cairn_view *v,
                                        const uint8_t *image) {
    const int plane = a->height * a->width;
    for (int c = 0; c < 3 && v->uses_lut; c++) {
        int32_t count[256] = {0};
        for (int p = 0; p < plane; p++)
            count[image[c * plane + p]]++;
        cairn_lut_build(v, count, v->lut[c]);
    }
}

/* The level at a place of channel c, by its table; inside the image also moved away from the mean
 * of its neighbourhood, in which it counts five times, or towards that. */
CAIRN_CALLED_FN int cairn_lut_level(const cairn_augmenter *a, const cairn_view *v, int c,
                                    const uint8_t *plane, int row, int column) {
    const uint8_t *at = plane + row * a->width + column, *lut = v->lut[c];
    const int level = lut[*at];
    if (v->sharpness == CAIRN_ONE || row == 0 || row == a->height - 1 || column == 0 ||
        column == a->width - 1)
        return level;
    int sum = 4 * level;
    for (int down = -1; down <= 1; down++)
        for (int right = -1; right <= 1; right++)
            sum += lut[at[down * a->width + right]];
    const int smooth = (sum + 6) / 13;
    return cairn_clamp(
        (level * v->sharpness + smooth * (CAIRN_ONE - v->sharpness) + CAIRN_ONE / 2) >> 16, 0, 255);
}

/* Geometry ----------------------------------------------------------------------------------------
 */

/* The place among 0..size-1 that reflection leads to. */
CAIRN_RNG_FN int cairn_reflect(int at, int size) {
    int period = size > 1 ? 2 * (size - 1) : 1;
    at %= period;
    at = at < 0 ? at + period : at;
    return at < size ? at : period - at;
}

/* The level at a whole place of channel c, whose plane is given. */
CAIRN_RNG_FN int cairn_plane_level(const cairn_augmenter *a, const cairn_view *v, int c,
                                   const uint8_t *plane, int row, int column) {
    bool inside = row >= 0 && row < a->height && column >= 0 && column < a->width;
    if (!inside && a->how.padding == CAIRN_PADDING_ZERO)
        return 0;
    if (!inside) {
        row = cairn_reflect(row, a->height);
        column = cairn_reflect(column, a->width);
    }
    return v->uses_lut ? cairn_lut_level(a, v, c, plane, row, column)
                       : plane[row * a->width + column];
}

/* Between four levels: `low` down and `right` right of the first, in 1/256. */
CAIRN_RNG_FN int cairn_level_between(int upper_left, int upper_right, int lower_left,
                                     int lower_right, int low, int right) {
    int upper = upper_left * (256 - right) + upper_right * right;
    int lower = lower_left * (256 - right) + lower_right * right;
    return (upper * (256 - low) + lower * low + CAIRN_ONE / 2) >> 16;
}

/* Levels and geometry alone. */
CAIRN_CALLED_FN int cairn_view_source(const cairn_augmenter *a, const cairn_view *v, int c,
                                      const uint8_t *image, int i, int j) {
    const uint8_t *plane = image + c * a->height * a->width;
    int y = v->map[0][0] * i + v->map[0][1] * j + v->map[0][2], row = y >> 16;
    int x = v->map[1][0] * i + v->map[1][1] * j + v->map[1][2], column = x >> 16;
    if (!v->between)
        return cairn_plane_level(a, v, c, plane, row, column);
    return cairn_level_between(cairn_plane_level(a, v, c, plane, row, column),
                               cairn_plane_level(a, v, c, plane, row, column + 1),
                               cairn_plane_level(a, v, c, plane, row + 1, column),
                               cairn_plane_level(a, v, c, plane, row + 1, column + 1), y >> 8 & 255,
                               x >> 8 & 255);
}

/* Colour and the rest -----------------------------------------------------------------------------
 */

/* Channel c of a colour. */
CAIRN_RNG_FN int cairn_view_recolour(const cairn_view *v, int c, int r, int g, int b) {
    const int32_t *by = v->colour[c];
    int64_t sum = (int64_t)by[0] * r + (int64_t)by[1] * g + (int64_t)by[2] * b + by[3];
    sum = (sum + CAIRN_ONE / 2) >> 16;
    int level = sum < 0 ? 0 : sum > 255 ? 255 : (int)sum;
    level = level >= v->solarize ? 255 - level : level;
    return level & v->posterize;
}

CAIRN_RNG_FN bool cairn_view_is_hole(const cairn_view *v, int i, int j) {
    return cairn_box_holds(&v->hole[0], i, j) || cairn_box_holds(&v->hole[1], i, j);
}

CAIRN_RNG_FN int cairn_view_level(const cairn_augmenter *a, const cairn_view *v,
                                  const uint8_t *image, int c, int i, int j) {
    if (cairn_view_is_hole(v, i, j))
        return a->how.fill[c % 4];
    if (!v->recolours)
        return cairn_view_source(a, v, c, image, i, j);
    return cairn_view_recolour(v, c, cairn_view_source(a, v, 0, image, i, j),
                               cairn_view_source(a, v, 1, image, i, j),
                               cairn_view_source(a, v, 2, image, i, j));
}

/* Mixup of two levels. */
CAIRN_RNG_FN int cairn_transform_blend(const cairn_transform *transform, int own, int other) {
    return (own * transform->weight + other * (CAIRN_ONE - transform->weight) + CAIRN_ONE / 2) >>
           16;
}

/* The byte of channel c at (i, j); `images` [count, c, h, w] is the split. */
CAIRN_RNG_FN int cairn_transform_level(const cairn_augmenter *a, const cairn_transform *transform,
                                       const uint8_t *images, uint32_t index, int c, int i, int j) {
    const int64_t size = (int64_t)a->channels * a->height * a->width;
    const uint8_t *image = images + index * size, *other = images + transform->partner * size;
    bool mixed = transform->weight != CAIRN_ONE;
    bool patch = mixed && transform->patched && cairn_box_holds(&transform->patch, i, j);
    int level = cairn_view_level(a, patch ? &transform->other : &transform->own,
                                 patch ? other : image, c, i, j);
    if (mixed && !transform->patched)
        level = cairn_transform_blend(transform, level,
                                      cairn_view_level(a, &transform->other, other, c, i, j));
    return level;
}

#endif
