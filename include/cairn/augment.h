/* Augmentation: what a training step sees of a sample, as a pure function of
 *
 *     (seed, epoch, sample's index)
 *
 * and of how strong each augmentation is. All arithmetic is on integers, so that all backends make
 * the same bytes, on every machine: from host/data/transform.h and transform_pixels.h, which each
 * compiles. The types are plain C11 and CUDA C++.
 *
 * In the order in which they happen to an image:
 *   1. levels     (images of 3 channels) RandAugment's autocontrast, equalize and sharpness, in
 *                 this order, whatever theirs among the drawn. They go by the levels and neighbours
 *                 of the image as it is stored, before anything has been done to it.
 *   2. geometry   rotation, shearing and translation about its centre; then the random crop; then
 *                 the flip. One affine map leads from each pixel of the result back to its source:
 *                 a source between pixels is interpolated linearly, one outside the image is 0 or
 *                 reflected (the border's pixels are not repeated), as `padding` says.
 *   3. colour     (images of 3 channels) brightness, contrast and saturation as in torchvision's
 *                 ColorJitter, in this order, but for what contrast pivots about: the grey of the
 *                 data set's mean, not each image's; then RandAugment's. One affine map of (r, g,
 *                 b), rounded and cut to 0..255 once; then solarize, then posterize.
 *   4. holes      cutout (DeVries and Taylor 2017) and random erasing (Zhong et al. 2017): the data
 *                 set's mean colour, which is 0 after normalising.
 *   5. mixing     with another sample of the split, augmented by itself: mixup (Zhang et al. 2017)
 *                 or cutmix (Yun et al. 2019). The labels mix in the same proportion.
 *
 * Fixed-point numbers are in 1/65536: CAIRN_ONE is one. */
#ifndef CAIRN_AUGMENT_H
#define CAIRN_AUGMENT_H

#include "cairn/config.h"
#include "cairn/rng.h"

enum { CAIRN_ONE = 1 << 16 };

enum { CAIRN_MAGNITUDE_MAX = 30, CAIRN_QUANTILES = 128 };

/* How strong each augmentation is; all zeros: none. cairn_augment_configure fills it. */
typedef struct {
    int32_t padding, flip;                    /* a cairn_padding, a cairn_flip */
    int32_t cutout;                           /* pixels a side */
    int32_t erasing;                          /* probability */
    int32_t erasing_area;                     /* share of the image, at most */
    int32_t brightness, contrast, saturation; /* factors are uniform in one +- this */
    int32_t rotation;                         /* in turns: uniform in +- this */
    int32_t translation;           /* of height and width: uniform in +- this, in whole pixels */
    int32_t operations, magnitude; /* RandAugment's */
    int32_t mixup, cutmix;         /* 1: on. With both, either is as likely */
    int32_t mix_share;             /* of the samples that are mixed */
    /* Quantiles of the Beta distribution, from 0 to 1/2 in steps of 1/256; it is symmetric. */
    uint16_t mixup_quantile[CAIRN_QUANTILES + 1], cutmix_quantile[CAIRN_QUANTILES + 1];
    uint8_t fill[4]; /* of holes, in channel c % 4 */
    uint8_t pivot;   /* of contrast */
} cairn_augment;

/* What a transform is drawn from, beside epoch and index. */
typedef struct {
    cairn_augment how;
    uint64_t seed;
    int32_t crop_padding; /* offsets by CAIRN_RNG_CROP */
    int32_t channels, height, width;
    uint32_t count; /* samples of the split */
} cairn_augmenter;

/* Rows top..bottom-1 and columns left..right-1; empty where top >= bottom. */
typedef struct {
    int32_t top, left, bottom, right;
} cairn_box;

/* How one image is seen. */
typedef struct {
    int32_t map[2][3];    /* pixel (i, j) shows (row, column) = map (i, j, 1) of the source */
    int32_t between;      /* 1: the source may lie between pixels */
    int32_t recolours;    /* 1: the next three change anything */
    int32_t colour[3][4]; /* (r, g, b) = colour (r, g, b, 1) */
    int32_t solarize;     /* levels from here on are inverted; 256: none */
    int32_t posterize;    /* the bits that levels keep; 255: all */
    cairn_box hole[2];
    int32_t autocontrast, equalize; /* 1: is done */
    int32_t sharpness;              /* CAIRN_ONE: neither sharpened nor smoothed */
    int32_t uses_lut;               /* 1: any of the three; only then is the next filled: */
    uint8_t lut[3][256];            /* a lookup table: the level that each becomes, by channel */
} cairn_view;

/* What becomes of one sample. */
typedef struct {
    cairn_view own, other;
    uint32_t partner; /* the other sample's index; where there is none, its own */
    int32_t weight;   /* of the sample's own label; the rest is its partner's */
    int32_t patched;  /* 1: cutmix, by `patch`; 0: mixup, by `weight` */
    cairn_box patch;
} cairn_transform;

/* An evaluation's view: shifted by whole pixels, then flipped. */
typedef struct {
    int32_t flip, dy, dx;
} cairn_evaluation_view;

/* Whether nothing but the crop with zeros happens, for which backends have a short way. */
CAIRN_RNG_FN bool cairn_augment_is_plain(const cairn_augment *how) {
    return !how->padding && !how->flip && !how->cutout && !how->erasing && !how->brightness &&
           !how->contrast && !how->saturation && !how->rotation && !how->translation &&
           !how->operations && !how->mixup && !how->cutmix;
}

CAIRN_RNG_FN bool cairn_augment_mixes(const cairn_augment *how) {
    return how->mixup || how->cutmix;
}

/* config->augment's strengths, for a data set of those channel means. */
cairn_augment cairn_augment_configure(const cairn_config *config, const float *mean);

/* Quantiles of Beta(alpha, alpha), in 1/65536, as cairn_augment has them. */
void cairn_beta_quantiles(double alpha, uint16_t quantile[CAIRN_QUANTILES + 1]);

/* The transform of a sample in that epoch; `images` [count, c, h, w] is the split. */
void cairn_transform_make(const cairn_augmenter *a, cairn_transform *transform,
                          const uint8_t *images, uint32_t epoch, uint32_t index);

/* What it makes of the sample: pixels [channels, height, width]. */
void cairn_transform_apply(const cairn_augmenter *a, const cairn_transform *transform,
                           const uint8_t *images, uint32_t index, uint8_t *pixels);

#endif
