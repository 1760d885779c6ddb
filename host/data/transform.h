/* How the transform of a sample is drawn from (seed, epoch, index): cairn_transform_draw and its
 * parts. What it makes of the pixels is in transform_pixels.h. Plain C11 and CUDA C++: each backend
 * compiles it. */
#ifndef CAIRN_TRANSFORM_H
#define CAIRN_TRANSFORM_H

#include "cairn/augment.h"

/* For what is long and has many callers: compiled once, not into each of them. */
#ifdef __CUDACC__
#define CAIRN_CALLED_FN static __host__ __device__ __attribute__((noinline, unused))
#else
#define CAIRN_CALLED_FN static __attribute__((noinline, unused))
#endif

/* Streams of CAIRN_RNG_AUGMENT, never renumbered. Words, in order: */
typedef enum {
    CAIRN_AUGMENT_FLIP = 0,     /* flips (lowest bit); alternating: of epoch 0, for all epochs */
    CAIRN_AUGMENT_CUTOUT = 1,   /* centre's row, column */
    CAIRN_AUGMENT_ERASE = 2,    /* whether, area, aspect ratio, lying or standing (lowest bit) */
    CAIRN_AUGMENT_ERASE_AT = 3, /* top, left */
    CAIRN_AUGMENT_COLOUR = 4,   /* brightness, contrast, saturation */
    CAIRN_AUGMENT_AFFINE = 5,   /* angle, rows down, columns right */
    CAIRN_AUGMENT_MIX = 6,      /* whether, partner, proportion, cutmix rather than mixup */
    CAIRN_AUGMENT_PATCH = 7,    /* cutmix: centre's row, column */
    CAIRN_AUGMENT_OPERATION = 8 /* and on, one a place: RandAugment's operation, sign */
} cairn_augment_stream;

/* RandAugment's operations (Cubuk et al. 2019), those of torchvision. Each as likely; at magnitude
 * 30 the most: */
typedef enum {
    CAIRN_OPERATION_IDENTITY,
    CAIRN_OPERATION_SHEAR_X, /* 0.3 */
    CAIRN_OPERATION_SHEAR_Y,
    CAIRN_OPERATION_TRANSLATE_X, /* 150/331 of the side, in whole pixels */
    CAIRN_OPERATION_TRANSLATE_Y,
    CAIRN_OPERATION_ROTATE,     /* 30 degrees */
    CAIRN_OPERATION_BRIGHTNESS, /* by 1.9 or 0.1; so the next two */
    CAIRN_OPERATION_SATURATION,
    CAIRN_OPERATION_CONTRAST,
    CAIRN_OPERATION_POSTERIZE,    /* to 4 bits */
    CAIRN_OPERATION_SOLARIZE,     /* all levels inverted */
    CAIRN_OPERATION_SHARPNESS,    /* by 1.9 or 0.1; the last one drawn counts */
    CAIRN_OPERATION_AUTOCONTRAST, /* whatever the magnitude; so the next */
    CAIRN_OPERATION_EQUALIZE,
    CAIRN_OPERATIONS
} cairn_operation;

/* Integer arithmetic ------------------------------------------------------------------------------
 */

/* a * b, rounded. */
CAIRN_RNG_FN int32_t cairn_fixed_product(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + CAIRN_ONE / 2) >> 16);
}

/* The sine of an angle in turns. Its series, in 1/2^30: within 1/65536. */
CAIRN_RNG_FN int32_t cairn_fixed_sine(int32_t turns) {
    int32_t quadrant = (int32_t)((uint32_t)turns >> 14 & 3), rest = turns & (CAIRN_ONE / 4 - 1);
    int64_t x = (int64_t)(quadrant & 1 ? CAIRN_ONE / 4 - rest : rest) << 16; /* of a quarter */
    int64_t square = x * x >> 30;
    int64_t sum = 172272; /* (pi/2)^9 / 9!, then those of 7, 5, 3 and 1 */
    sum = 5026995 - (sum * square >> 30);
    sum = 85569306 - (sum * square >> 30);
    sum = 693598668 - (sum * square >> 30);
    sum = 1686629713 - (sum * square >> 30);
    int32_t sine = (int32_t)(((sum * x >> 30) + (1 << 13)) >> 14);
    return quadrant & 2 ? -sine : sine;
}

/* The largest whole number whose square is at most n. */
CAIRN_RNG_FN int32_t cairn_whole_root(int64_t n) {
    int64_t root = 0;
    for (int64_t bit = (int64_t)1 << 30; bit > 0; bit >>= 1)
        if ((root + bit) * (root + bit) <= n)
            root += bit;
    return (int32_t)root;
}

/* A word as a whole number in [-most, most]. */
CAIRN_RNG_FN int32_t cairn_rng_within(uint32_t word, int32_t most) {
    return (int32_t)cairn_rng_below(word, 2 * (uint32_t)most + 1) - most;
}

/* Whether an event of that probability happens. */
CAIRN_RNG_FN bool cairn_rng_happens(uint32_t word, int32_t probability) {
    return (int32_t)(word >> 16) < probability;
}

CAIRN_RNG_FN int32_t cairn_clamp(int32_t value, int32_t low, int32_t high) {
    return value < low ? low : value > high ? high : value;
}

/* The Beta variate of a word, by its quantiles. */
CAIRN_RNG_FN int32_t cairn_rng_beta(uint32_t word, const uint16_t *quantile) {
    uint32_t step = word >> 24 & (CAIRN_QUANTILES - 1), rest = word >> 8 & 0xFFFFu;
    uint32_t low = quantile[step], high = quantile[step + 1];
    int32_t value = (int32_t)(low + ((high - low) * rest >> 16));
    return word >> 31 ? CAIRN_ONE - value : value;
}

/* Views -------------------------------------------------------------------------------------------
 */

CAIRN_RNG_FN cairn_rng_block cairn_augment_draw(const cairn_augmenter *a, uint32_t stream,
                                                uint32_t epoch, uint32_t index) {
    return cairn_rng(a->seed, CAIRN_RNG_AUGMENT, epoch, stream, index);
}

/* The view's map becomes: first (yy yx y; xy xx x), then what it was. */
CAIRN_RNG_FN void cairn_view_map(cairn_view *v, int32_t yy, int32_t yx, int32_t y, int32_t xy,
                                 int32_t xx, int32_t x) {
    for (int r = 0; r < 2; r++) {
        int32_t a = v->map[r][0], b = v->map[r][1];
        v->map[r][0] = cairn_fixed_product(a, yy) + cairn_fixed_product(b, xy);
        v->map[r][1] = cairn_fixed_product(a, yx) + cairn_fixed_product(b, xx);
        v->map[r][2] += cairn_fixed_product(a, y) + cairn_fixed_product(b, x);
    }
}

CAIRN_RNG_FN void cairn_view_shift(cairn_view *v, int32_t y, int32_t x) {
    cairn_view_map(v, CAIRN_ONE, 0, y, 0, CAIRN_ONE, x);
}

CAIRN_RNG_FN void cairn_view_rotate(cairn_view *v, int32_t turns) {
    int32_t sine = cairn_fixed_sine(turns), cosine = cairn_fixed_sine(turns + CAIRN_ONE / 4);
    cairn_view_map(v, cosine, -sine, 0, sine, cosine, 0);
}

/* Colours become factor * colour + (1 - factor) * (grey, where `greys`, or else `level`). */
CAIRN_RNG_FN void cairn_view_blend(cairn_view *v, int32_t factor, int32_t greys, int32_t level) {
    const int32_t luma[3] = {19595, 38470, 7471}; /* ITU-R BT.601 */
    for (int k = 0; k < 4; k++) {
        int32_t grey = greys ? cairn_fixed_product(luma[0], v->colour[0][k]) +
                                   cairn_fixed_product(luma[1], v->colour[1][k]) +
                                   cairn_fixed_product(luma[2], v->colour[2][k])
                       : k == 3 ? level * CAIRN_ONE
                                : 0;
        for (int r = 0; r < 3; r++)
            v->colour[r][k] = cairn_fixed_product(factor, v->colour[r][k]) +
                              cairn_fixed_product(CAIRN_ONE - factor, grey);
    }
    v->recolours = 1;
}

/* The image as it is, its coordinates from the centre: cairn_view_end puts them back. */
CAIRN_RNG_FN void cairn_view_begin(const cairn_augmenter *a, cairn_view *v) {
    for (int r = 0; r < 2; r++)
        for (int k = 0; k < 2; k++)
            v->map[r][k] = r == k ? CAIRN_ONE : 0;
    v->map[0][2] = (a->height - 1) * (CAIRN_ONE / 2);
    v->map[1][2] = (a->width - 1) * (CAIRN_ONE / 2);
    for (int r = 0; r < 3; r++)
        for (int k = 0; k < 4; k++)
            v->colour[r][k] = r == k ? CAIRN_ONE : 0;
    v->recolours = 0;
    v->solarize = 256;
    v->posterize = 255;
    v->autocontrast = v->equalize = v->uses_lut = 0;
    v->sharpness = CAIRN_ONE;
    for (int k = 0; k < 2; k++) {
        v->hole[k].top = v->hole[k].bottom = 0;
        v->hole[k].left = v->hole[k].right = 0;
    }
}

/* The crop's offset and the flip come last. */
CAIRN_RNG_FN void cairn_view_end(const cairn_augmenter *a, cairn_view *v, int32_t dy, int32_t dx,
                                 bool flip) {
    int32_t fraction = 0;
    cairn_view_shift(v, dy * CAIRN_ONE, dx * CAIRN_ONE);
    if (flip)
        cairn_view_map(v, CAIRN_ONE, 0, 0, 0, -CAIRN_ONE, 0);
    cairn_view_shift(v, (1 - a->height) * (CAIRN_ONE / 2), (1 - a->width) * (CAIRN_ONE / 2));
    for (int r = 0; r < 2; r++)
        for (int k = 0; k < 3; k++)
            fraction |= v->map[r][k] & (CAIRN_ONE - 1);
    v->between = fraction != 0;
    v->recolours = v->recolours && a->channels == 3;
    v->uses_lut = (v->autocontrast || v->equalize || v->sharpness != CAIRN_ONE) && a->channels == 3;
}

CAIRN_RNG_FN void cairn_view_operate(const cairn_augmenter *a, cairn_view *v, uint32_t which,
                                     bool negative) {
    const int32_t m = a->how.magnitude, most = CAIRN_MAGNITUDE_MAX, sign = negative ? -1 : 1;
    const int32_t shear = sign * (19661 * m / most), factor = CAIRN_ONE + sign * (58982 * m / most);
    const int32_t down = sign * (a->height * m * 150 / (331 * most)) * CAIRN_ONE;
    const int32_t right = sign * (a->width * m * 150 / (331 * most)) * CAIRN_ONE;
    const int32_t from = 256 - (256 * m + most / 2) / most, bits = (4 * m + most / 2) / most;
    const int32_t kept = 255 & ~((1 << bits) - 1);
    if (which == CAIRN_OPERATION_SHEAR_X)
        cairn_view_map(v, CAIRN_ONE, 0, 0, shear, CAIRN_ONE, 0);
    else if (which == CAIRN_OPERATION_SHEAR_Y)
        cairn_view_map(v, CAIRN_ONE, shear, 0, 0, CAIRN_ONE, 0);
    else if (which == CAIRN_OPERATION_TRANSLATE_X)
        cairn_view_shift(v, 0, right);
    else if (which == CAIRN_OPERATION_TRANSLATE_Y)
        cairn_view_shift(v, down, 0);
    else if (which == CAIRN_OPERATION_ROTATE)
        cairn_view_rotate(v, sign * (CAIRN_ONE / 12 * m / most));
    else if (which == CAIRN_OPERATION_BRIGHTNESS)
        cairn_view_blend(v, factor, 0, 0);
    else if (which == CAIRN_OPERATION_SATURATION)
        cairn_view_blend(v, factor, 1, 0);
    else if (which == CAIRN_OPERATION_CONTRAST)
        cairn_view_blend(v, factor, 0, a->how.pivot);
    else if (which == CAIRN_OPERATION_POSTERIZE)
        v->posterize &= kept;
    else if (which == CAIRN_OPERATION_SOLARIZE)
        v->solarize = from < v->solarize ? from : v->solarize;
    else if (which == CAIRN_OPERATION_SHARPNESS)
        v->sharpness = factor;
    else if (which == CAIRN_OPERATION_AUTOCONTRAST)
        v->autocontrast = 1;
    else if (which == CAIRN_OPERATION_EQUALIZE)
        v->equalize = 1;
    if (v->posterize != 255 || v->solarize != 256)
        v->recolours = 1;
}

/* Boxes -------------------------------------------------------------------------------------------
 */

/* Of that size about a place, as far as it lies in the image. */
CAIRN_RNG_FN cairn_box cairn_box_about(const cairn_augmenter *a, int32_t row, int32_t column,
                                       int32_t height, int32_t width) {
    cairn_box box;
    box.top = cairn_clamp(row - height / 2, 0, a->height);
    box.left = cairn_clamp(column - width / 2, 0, a->width);
    box.bottom = cairn_clamp(row - height / 2 + height, 0, a->height);
    box.right = cairn_clamp(column - width / 2 + width, 0, a->width);
    return box;
}

CAIRN_RNG_FN bool cairn_box_holds(const cairn_box *box, int i, int j) {
    return i >= box->top && i < box->bottom && j >= box->left && j < box->right;
}

/* The area is uniform in 0.02 (or less) .. erasing_area of the image, the ratio of the longer side
 * to the shorter in 1..3.3, the place among all inside the image. */
CAIRN_RNG_FN void cairn_view_erase(const cairn_augmenter *a, cairn_view *v, uint32_t epoch,
                                   uint32_t index) {
    const int32_t most = a->how.erasing_area, least = most < 1311 ? most : 1311;
    cairn_rng_block draw = cairn_augment_draw(a, CAIRN_AUGMENT_ERASE, epoch, index);
    if (!cairn_rng_happens(draw.word[0], a->how.erasing))
        return;
    int64_t share = least + (int64_t)cairn_rng_below(draw.word[1], (uint32_t)(most - least) + 1);
    int64_t ratio = CAIRN_ONE + (int64_t)cairn_rng_below(draw.word[2], 150733); /* 2.3 */
    int64_t area = share * a->height * a->width; /* in pixels of 1/65536 */
    int32_t longer = cairn_whole_root(area * ratio >> 32);
    int32_t shorter = cairn_whole_root(area / ratio);
    bool lying = draw.word[3] & 1;
    int32_t height = cairn_clamp(lying ? shorter : longer, 1, a->height);
    int32_t width = cairn_clamp(lying ? longer : shorter, 1, a->width);
    draw = cairn_augment_draw(a, CAIRN_AUGMENT_ERASE_AT, epoch, index);
    cairn_box *box = &v->hole[1];
    box->top = (int32_t)cairn_rng_below(draw.word[0], (uint32_t)(a->height - height) + 1);
    box->left = (int32_t)cairn_rng_below(draw.word[1], (uint32_t)(a->width - width) + 1);
    box->bottom = box->top + height;
    box->right = box->left + width;
}

/* Transforms
 * -----------------------------------------------------------------------------------------
 */

CAIRN_RNG_FN bool cairn_augment_flips(const cairn_augmenter *a, uint32_t epoch, uint32_t index) {
    bool alternates = a->how.flip == CAIRN_FLIP_ALTERNATING;
    if (a->how.flip == CAIRN_FLIP_NONE)
        return false;
    uint32_t word =
        cairn_augment_draw(a, CAIRN_AUGMENT_FLIP, alternates ? 0 : epoch, index).word[0];
    return (word + (alternates ? epoch : 0)) & 1;
}

CAIRN_CALLED_FN void cairn_view_draw(const cairn_augmenter *a, cairn_view *v, uint32_t epoch,
                                     uint32_t index) {
    const cairn_augment *how = &a->how;
    cairn_rng_block draw;
    cairn_view_begin(a, v);
    if (how->rotation || how->translation) {
        draw = cairn_augment_draw(a, CAIRN_AUGMENT_AFFINE, epoch, index);
        int32_t down = cairn_rng_within(draw.word[1], how->translation * a->height >> 16);
        int32_t right = cairn_rng_within(draw.word[2], how->translation * a->width >> 16);
        cairn_view_rotate(v, cairn_rng_within(draw.word[0], how->rotation));
        cairn_view_shift(v, down * CAIRN_ONE, right * CAIRN_ONE);
    }
    if (how->brightness || how->contrast || how->saturation) {
        draw = cairn_augment_draw(a, CAIRN_AUGMENT_COLOUR, epoch, index);
        cairn_view_blend(v, CAIRN_ONE + cairn_rng_within(draw.word[0], how->brightness), 0, 0);
        cairn_view_blend(v, CAIRN_ONE + cairn_rng_within(draw.word[1], how->contrast), 0,
                         how->pivot);
        cairn_view_blend(v, CAIRN_ONE + cairn_rng_within(draw.word[2], how->saturation), 1, 0);
    }
    for (uint32_t k = 0; k < (uint32_t)how->operations; k++) {
        draw = cairn_augment_draw(a, CAIRN_AUGMENT_OPERATION + k, epoch, index);
        cairn_view_operate(a, v, cairn_rng_below(draw.word[0], CAIRN_OPERATIONS), draw.word[1] & 1);
    }
    if (how->cutout) {
        draw = cairn_augment_draw(a, CAIRN_AUGMENT_CUTOUT, epoch, index);
        v->hole[0] = cairn_box_about(a, (int32_t)cairn_rng_below(draw.word[0], (uint32_t)a->height),
                                     (int32_t)cairn_rng_below(draw.word[1], (uint32_t)a->width),
                                     how->cutout, how->cutout);
    }
    if (how->erasing)
        cairn_view_erase(a, v, epoch, index);
    draw = cairn_rng(a->seed, CAIRN_RNG_CROP, epoch, 0, index);
    cairn_view_end(a, v, cairn_rng_within(draw.word[0], a->crop_padding),
                   cairn_rng_within(draw.word[1], a->crop_padding),
                   cairn_augment_flips(a, epoch, index));
}

/* Where the sample is mixed, sets partner, weight and, for cutmix, the patch. */
CAIRN_RNG_FN void cairn_transform_mix(const cairn_augmenter *a, cairn_transform *transform,
                                      uint32_t epoch, uint32_t index) {
    const cairn_augment *how = &a->how;
    cairn_rng_block draw = cairn_augment_draw(a, CAIRN_AUGMENT_MIX, epoch, index);
    if (!cairn_rng_happens(draw.word[0], how->mix_share))
        return;
    transform->partner = cairn_rng_below(draw.word[1], a->count);
    transform->patched = how->cutmix && (!how->mixup || draw.word[3] >> 31);
    if (!transform->patched) {
        transform->weight = cairn_rng_beta(draw.word[2], how->mixup_quantile);
        return;
    }
    int64_t rest = CAIRN_ONE - cairn_rng_beta(draw.word[2], how->cutmix_quantile);
    draw = cairn_augment_draw(a, CAIRN_AUGMENT_PATCH, epoch, index);
    transform->patch =
        cairn_box_about(a, (int32_t)cairn_rng_below(draw.word[0], (uint32_t)a->height),
                        (int32_t)cairn_rng_below(draw.word[1], (uint32_t)a->width),
                        cairn_whole_root(rest * a->height * a->height >> 16),
                        cairn_whole_root(rest * a->width * a->width >> 16));
    int64_t covered = (int64_t)(transform->patch.bottom - transform->patch.top) *
                      (transform->patch.right - transform->patch.left);
    transform->weight =
        CAIRN_ONE - (int32_t)(covered * CAIRN_ONE / ((int64_t)a->height * a->width));
}

CAIRN_RNG_FN void cairn_transform_draw(const cairn_augmenter *a, cairn_transform *transform,
                                       uint32_t epoch, uint32_t index) {
    cairn_view_draw(a, &transform->own, epoch, index);
    transform->other.uses_lut = 0;
    transform->partner = index;
    transform->weight = CAIRN_ONE;
    transform->patched = 0;
    if (!cairn_augment_mixes(&a->how))
        return;
    cairn_transform_mix(a, transform, epoch, index);
    cairn_view_draw(a, &transform->other, epoch, transform->partner);
}

/* An evaluation's: the sample alone. */
CAIRN_RNG_FN void cairn_transform_evaluation(const cairn_augmenter *a, cairn_transform *transform,
                                             cairn_evaluation_view view, uint32_t index) {
    cairn_view_begin(a, &transform->own);
    cairn_view_end(a, &transform->own, view.dy, view.dx, view.flip != 0);
    transform->other.uses_lut = 0;
    transform->partner = index;
    transform->weight = CAIRN_ONE;
    transform->patched = 0;
}

#endif
