/* Mixup and cutmix against their definition; and all augmentations together: a sample at a time is
 * its bytes one by one, and depends on seed, epoch and index alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "augment_images.h"

#include <math.h>
#include <string.h>

/* Beta(1/2, 1/2) is the arcsine distribution, Beta(1, 1) the uniform one. */
static void test_beta_quantiles(void **state) {
    (void)state;
    uint16_t half[CAIRN_QUANTILES + 1], one[CAIRN_QUANTILES + 1], two[CAIRN_QUANTILES + 1];
    cairn_beta_quantiles(0.5, half);
    cairn_beta_quantiles(1, one);
    cairn_beta_quantiles(2, two);
    for (int k = 0; k <= CAIRN_QUANTILES; k++) {
        double p = 0.5 * k / CAIRN_QUANTILES, sine = sin(3.14159265358979323846 / 2 * p);
        assert_true(fabs(half[k] - CAIRN_ONE * sine * sine) <= 2);
        assert_true(fabs(one[k] - CAIRN_ONE * p) <= 1);
    }
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < 4096; i++) {
        double x = cairn_rng_beta(i << 20 | 1u << 19, two) / 65536.0 - 0.5;
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / 4096) < 1e-4);
    /* The variance is 1 / (4 (2 alpha + 1)); straight lines between quantiles add a little. */
    assert_true(fabs(squares / 4096 * 4 * 5 - 1) < 0.002);
}

static void is_mixed(const cairn_augmenter *a, const cairn_transform *transform, uint32_t epoch,
                     uint32_t index, int c, int i, int j, int level) {
    (void)epoch;
    double share = transform->weight / 65536.0;
    int own = cairn_view_level(a, &transform->own, images + index * SIZE, c, i, j);
    int other = cairn_view_level(a, &transform->other, images + transform->partner * SIZE, c, i, j);
    assert_true(share >= 0 && share <= 1 && transform->partner < SAMPLES);
    if (transform->patched)
        assert_int_equal(level, cairn_box_holds(&transform->patch, i, j) ? other : own);
    else
        assert_true(fabs(level - (share * own + (1 - share) * other)) <= 0.51);
}

static cairn_augmenter mixing(int mixup, int cutmix) {
    cairn_augmenter a = nothing();
    a.how.flip = CAIRN_FLIP_RANDOM;
    a.how.mixup = mixup;
    a.how.cutmix = cutmix;
    cairn_beta_quantiles(1, a.how.mixup_quantile);
    cairn_beta_quantiles(1, a.how.cutmix_quantile);
    return a;
}

static void test_mixing(void **state) {
    (void)state;
    enum { MANY = 4000 };
    int patched = 0, mixed = 0;
    for (int kind = 1; kind <= 3; kind++) {
        cairn_augmenter a = mixing(kind & 1, kind >> 1);
        for_every_byte(&a, is_mixed);
    }
    cairn_augmenter a = mixing(1, 1);
    a.how.mix_share = CAIRN_ONE / 2;
    for (uint32_t index = 0; index < MANY; index++) {
        cairn_transform transform = find(&a, 0, index);
        mixed += transform.weight < CAIRN_ONE;
        patched += transform.patched;
        if (!transform.patched)
            continue;
        double share = (double)(transform.patch.bottom - transform.patch.top) *
                       (transform.patch.right - transform.patch.left) / PLANE;
        assert_true(fabs(transform.weight / 65536.0 - (1 - share)) <= 1.0 / 65536);
    }
    assert_in_range(mixed, MANY / 2 - 200, MANY / 2 + 200);
    assert_in_range(patched, MANY / 4 - 150, MANY / 4 + 150);
    /* The partner is seen as it is seen when its own turn comes. */
    cairn_transform transform = find(&a, 2, 3), partner = find(&a, 2, transform.partner);
    assert_memory_equal(&transform.other, &partner.own, offsetof(cairn_view, lut));
}

/* All of it -------------------------------------------------------------------------------------*/

static cairn_augmenter everything(void) {
    cairn_augmenter a = mixing(1, 1);
    a.crop_padding = 2;
    a.how.padding = CAIRN_PADDING_REFLECT;
    a.how.flip = CAIRN_FLIP_ALTERNATING;
    a.how.cutout = 3;
    a.how.erasing = CAIRN_ONE / 2;
    a.how.erasing_area = CAIRN_ONE / 3;
    a.how.brightness = a.how.contrast = a.how.saturation = CAIRN_ONE / 2;
    a.how.rotation = CAIRN_ONE / 12;
    a.how.translation = CAIRN_ONE / 8;
    a.how.operations = 2;
    a.how.magnitude = 9;
    return a;
}

/* A whole sample is its bytes one by one, with everything and with each alone. */
static void test_whole_samples(void **state) {
    (void)state;
    for (int k = 0; k < 11; k++) {
        const cairn_augmenter all = everything();
        cairn_augmenter a = k ? nothing() : all;
        cairn_augment *how = &a.how;
        how->flip = k == 1 ? all.how.flip : how->flip;
        how->cutout = k == 2 ? all.how.cutout : how->cutout;
        how->erasing_area = all.how.erasing_area;
        how->erasing = k == 3 ? all.how.erasing : how->erasing;
        how->saturation = k == 4 ? all.how.saturation : how->saturation;
        how->rotation = k == 5 ? all.how.rotation : how->rotation;
        how->translation = k == 6 ? all.how.translation : how->translation;
        how->operations = k == 7 ? 2 : how->operations;
        how->magnitude = all.how.magnitude;
        how->mixup = k == 8 || how->mixup;
        how->cutmix = k == 9 || how->cutmix;
        memcpy(how->mixup_quantile, all.how.mixup_quantile, sizeof how->mixup_quantile);
        memcpy(how->cutmix_quantile, all.how.cutmix_quantile, sizeof how->cutmix_quantile);
        a.crop_padding = k == 10 || !k ? 5 : 0;
        for (uint32_t index = 0; index < SAMPLES; index++) {
            uint8_t pixels[SIZE];
            cairn_transform transform = find(&a, 1, index);
            cairn_transform_apply(&a, &transform, images, index, pixels);
            for (int p = 0; p < SIZE; p++)
                assert_int_equal(pixels[p],
                                 cairn_transform_level(&a, &transform, images, index, p / PLANE,
                                                       p % PLANE / WIDTH, p % WIDTH));
        }
    }
}

/* The same bytes again, others in another epoch, of another seed, of another sample. */
static void test_draws(void **state) {
    (void)state;
    cairn_augmenter a = everything(), b = everything();
    b.seed++;
    uint8_t first[SIZE], again[SIZE];
    cairn_transform transform = find(&a, 3, 5);
    cairn_transform_apply(&a, &transform, images, 5, first);
    const cairn_transform others[] = {find(&a, 3, 5), find(&a, 4, 5), find(&b, 3, 5),
                                      find(&a, 3, 6)};
    for (int k = 0; k < 4; k++) {
        cairn_transform_apply(&a, &others[k], images, 5, again);
        assert_int_equal(memcmp(first, again, SIZE) == 0, k == 0);
    }
}

/* Pinned: recorded runs depend on it. */
static void test_pinned_sample(void **state) {
    (void)state;
    cairn_augmenter a = everything();
    uint8_t pixels[SIZE];
    uint32_t sum = 0;
    for (uint32_t index = 0; index < SAMPLES; index++) {
        cairn_transform transform = find(&a, 2, index);
        cairn_transform_apply(&a, &transform, images, index, pixels);
        for (int p = 0; p < SIZE; p++)
            sum = sum * 31 + pixels[p];
    }
    assert_int_equal(sum, 0x57B230CDu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beta_quantiles), cmocka_unit_test(test_mixing),
        cmocka_unit_test(test_whole_samples),  cmocka_unit_test(test_draws),
        cmocka_unit_test(test_pinned_sample),
    };
    return cmocka_run_group_tests(tests, make_images, NULL);
}
