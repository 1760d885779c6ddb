/* What each augmentation does to one image, against its definition in plain loops and
 * floating-point numbers. Mixing two is in test_mixing.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "augment_images.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void is_original(const cairn_augmenter *a, const cairn_transform *transform, uint32_t epoch,
                        uint32_t index, int c, int i, int j, int level) {
    (void)a, (void)transform, (void)epoch;
    assert_int_equal(level, original(index, c, i, j));
}

static void test_no_strength_is_identity(void **state) {
    (void)state;
    cairn_augmenter a = nothing();
    assert_true(cairn_augment_is_plain(&a.how));
    for_every_byte(&a, is_original);
    a.how.padding = CAIRN_PADDING_REFLECT;
    for_every_byte(&a, is_original);
    a.how.mixup = a.how.cutmix = 1;
    a.how.mix_share = 0;
    for_every_byte(&a, is_original);
}

/* Crop and flip ---------------------------------------------------------------------------------*/

static void is_cropped(const cairn_augmenter *a, const cairn_transform *transform, uint32_t epoch,
                       uint32_t index, int c, int i, int j, int level) {
    (void)transform;
    cairn_rng_block random = cairn_rng(a->seed, CAIRN_RNG_CROP, epoch, 0, index);
    uint32_t places = 2 * (uint32_t)a->crop_padding + 1;
    int row = i + (int)cairn_rng_below(random.word[0], places) - a->crop_padding;
    int column = j + (int)cairn_rng_below(random.word[1], places) - a->crop_padding;
    bool inside = row >= 0 && row < HEIGHT && column >= 0 && column < WIDTH;
    row = row < 0 ? -row : row >= HEIGHT ? 2 * (HEIGHT - 1) - row : row;
    column = column < 0 ? -column : column >= WIDTH ? 2 * (WIDTH - 1) - column : column;
    bool zero = !inside && a->how.padding == CAIRN_PADDING_ZERO;
    assert_int_equal(level, zero ? 0 : original(index, c, row, column));
}

static void test_crop(void **state) {
    (void)state;
    cairn_augmenter a = nothing();
    a.crop_padding = 4;
    for_every_byte(&a, is_cropped);
    a.how.padding = CAIRN_PADDING_REFLECT;
    for_every_byte(&a, is_cropped);
}

/* Reflection folds as often as it must, and a side of one pixel into that. */
static void test_reflection(void **state) {
    (void)state;
    static const int folded[] = {1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1}; /* of -5..5 and 3 pixels */
    for (int at = -5; at <= 5; at++)
        assert_int_equal(cairn_reflect(at, 3), folded[at + 5]);
    assert_int_equal(cairn_reflect(-7, 1), 0);
    assert_int_equal(cairn_reflect(3, 1), 0);
}

static void is_flipped(const cairn_augmenter *a, const cairn_transform *transform, uint32_t epoch,
                       uint32_t index, int c, int i, int j, int level) {
    (void)transform;
    bool flips = cairn_augment_flips(a, epoch, index);
    assert_int_equal(level, original(index, c, i, flips ? WIDTH - 1 - j : j));
}

static void test_flip(void **state) {
    (void)state;
    enum { MANY = 4000 };
    cairn_augmenter a = nothing();
    int flipped = 0, starts = 0;
    a.how.flip = CAIRN_FLIP_RANDOM;
    for_every_byte(&a, is_flipped);
    for (uint32_t index = 0; index < MANY; index++)
        flipped += cairn_augment_flips(&a, 3, index);
    assert_in_range(flipped, MANY / 2 - 200, MANY / 2 + 200);
    a.how.flip = CAIRN_FLIP_ALTERNATING;
    for_every_byte(&a, is_flipped);
    for (uint32_t index = 0; index < MANY; index++) {
        starts += cairn_augment_flips(&a, 0, index);
        for (uint32_t epoch = 0; epoch < 6; epoch++)
            assert_int_not_equal(cairn_augment_flips(&a, epoch, index),
                                 cairn_augment_flips(&a, epoch + 1, index));
    }
    assert_in_range(starts, MANY / 2 - 200, MANY / 2 + 200);
}

/* Flipping what was flipped gives the image back. */
static void test_flip_twice(void **state) {
    (void)state;
    const cairn_augmenter a = nothing();
    const cairn_evaluation_view mirror = {1, 0, 0};
    uint8_t once[SIZE], twice[SIZE];
    cairn_transform transform;
    cairn_transform_evaluation(&a, &transform, mirror, 0);
    cairn_transform_apply(&a, &transform, images, 0, once);
    cairn_transform_apply(&a, &transform, once, 0, twice);
    assert_memory_not_equal(once, images, SIZE);
    assert_memory_equal(twice, images, SIZE);
}

/* Holes -----------------------------------------------------------------------------------------*/

static void has_holes(const cairn_augmenter *a, const cairn_transform *transform, uint32_t epoch,
                      uint32_t index, int c, int i, int j, int level) {
    (void)epoch;
    bool hole = cairn_view_is_hole(&transform->own, i, j);
    assert_int_equal(level, hole ? a->how.fill[c] : original(index, c, i, j));
}

static void test_cutout(void **state) {
    (void)state;
    cairn_augmenter a = nothing();
    a.how.cutout = 4;
    for_every_byte(&a, has_holes);
    bool whole = false, cut = false;
    for (uint32_t index = 0; index < 500; index++) {
        cairn_box box = find(&a, 0, index).own.hole[0];
        assert_true(box.top >= 0 && box.left >= 0 && box.bottom <= HEIGHT && box.right <= WIDTH);
        assert_true(box.bottom - box.top >= 2 && box.right - box.left >= 2);
        whole = whole || (box.bottom - box.top == 4 && box.right - box.left == 4);
        cut = cut || box.right - box.left < 4;
    }
    assert_true(whole && cut);
}

static void test_erasing(void **state) {
    (void)state;
    enum { MANY = 4000 };
    cairn_augmenter a = nothing();
    a.how.erasing = CAIRN_ONE / 4;
    a.how.erasing_area = CAIRN_ONE / 3;
    for_every_byte(&a, has_holes);
    int count = 0;
    double largest = 0, smallest = 1;
    for (uint32_t index = 0; index < MANY; index++) {
        cairn_box box = find(&a, 1, index).own.hole[1];
        if (box.bottom == box.top)
            continue;
        double share = (double)(box.bottom - box.top) * (box.right - box.left) / PLANE;
        assert_true(box.top >= 0 && box.left >= 0 && box.bottom <= HEIGHT && box.right <= WIDTH);
        assert_true(box.bottom > box.top && box.right > box.left);
        largest = fmax(largest, share);
        smallest = fmin(smallest, share);
        count++;
    }
    assert_in_range(count, MANY / 4 - 150, MANY / 4 + 150);
    assert_true(largest <= 1.0 / 3 && largest > 0.28);
    assert_true(smallest < 0.03); /* sides are rounded down */
}

/* Geometry --------------------------------------------------------------------------------------*/

static void test_arithmetic(void **state) {
    (void)state;
    for (int turns = -2 * CAIRN_ONE; turns <= 2 * CAIRN_ONE; turns += 7) {
        double sine = CAIRN_ONE * sin(2 * 3.14159265358979323846 * turns / CAIRN_ONE);
        assert_true(fabs(cairn_fixed_sine(turns) - sine) <= 1);
    }
    assert_int_equal(cairn_fixed_sine(CAIRN_ONE / 4), CAIRN_ONE);
    assert_int_equal(cairn_fixed_sine(-CAIRN_ONE / 4), -CAIRN_ONE);
    assert_int_equal(cairn_fixed_sine(CAIRN_ONE / 2), 0);
    for (int64_t n = 0; n < 5000; n++) {
        int64_t root = cairn_whole_root(n);
        assert_true(root * root <= n && (root + 1) * (root + 1) > n);
    }
    assert_int_equal(cairn_whole_root((int64_t)1 << 60), 1 << 30);
}

/* The level between pixels, in floating point; beyond the border 0. */
static double between(uint32_t index, int c, double row, double column) {
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        int i = (int)floor(row) + k / 2, j = (int)floor(column) + k % 2;
        double weight = (1 - fabs(row - i)) * (1 - fabs(column - j));
        if (i >= 0 && i < HEIGHT && j >= 0 && j < WIDTH)
            sum += weight * original(index, c, i, j);
    }
    return sum;
}

/* The rotation's draw, by the inverse map about the centre. */
static void is_turned(const cairn_augmenter *a, const cairn_transform *transform, uint32_t epoch,
                      uint32_t index, int c, int i, int j, int level) {
    (void)transform;
    cairn_rng_block random = cairn_augment_draw(a, CAIRN_AUGMENT_AFFINE, epoch, index);
    double angle =
        2 * 3.14159265358979323846 * cairn_rng_within(random.word[0], a->how.rotation) / CAIRN_ONE;
    int down = cairn_rng_within(random.word[1], a->how.translation * HEIGHT >> 16);
    int right = cairn_rng_within(random.word[2], a->how.translation * WIDTH >> 16);
    double y = i + down - (HEIGHT - 1) / 2.0, x = j + right - (WIDTH - 1) / 2.0;
    double row = cos(angle) * y - sin(angle) * x + (HEIGHT - 1) / 2.0;
    double column = sin(angle) * y + cos(angle) * x + (WIDTH - 1) / 2.0;
    assert_true(fabs(level - between(index, c, row, column)) <= 2.5);
}

static void test_rotation_and_translation(void **state) {
    (void)state;
    cairn_augmenter a = nothing();
    a.how.translation = CAIRN_ONE / 3;
    for_every_byte(&a, is_turned);
    a.how.rotation = CAIRN_ONE / 2;
    for_every_byte(&a, is_turned);
}

static void test_quarter_turn_is_exact(void **state) {
    (void)state;
    cairn_augmenter a = nothing();
    a.width = a.height; /* of the same bytes */
    cairn_transform transform = find(&a, 0, 0);
    cairn_view_begin(&a, &transform.own);
    cairn_view_rotate(&transform.own, CAIRN_ONE / 4);
    cairn_view_end(&a, &transform.own, 0, 0, false);
    assert_false(transform.own.between);
    for (int i = 0; i < HEIGHT; i++)
        for (int j = 0; j < HEIGHT; j++)
            assert_int_equal(cairn_transform_level(&a, &transform, images, 0, 0, i, j),
                             images[(HEIGHT - 1 - j) * HEIGHT + i]);
}

/* Colour ----------------------------------------------------------------------------------------*/

static void is_recoloured(const cairn_augmenter *a, const cairn_transform *transform,
                          uint32_t epoch, uint32_t index, int c, int i, int j, int level) {
    (void)transform;
    const cairn_augment *how = &a->how;
    cairn_rng_block random = cairn_augment_draw(a, CAIRN_AUGMENT_COLOUR, epoch, index);
    double brightness = 1 + cairn_rng_within(random.word[0], how->brightness) / 65536.0;
    double contrast = 1 + cairn_rng_within(random.word[1], how->contrast) / 65536.0;
    double saturation = 1 + cairn_rng_within(random.word[2], how->saturation) / 65536.0;
    double colour[3];
    for (int k = 0; k < 3; k++)
        colour[k] = contrast * brightness * original(index, k, i, j) + (1 - contrast) * how->pivot;
    double grey = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2];
    double wanted = fmin(fmax(saturation * colour[c] + (1 - saturation) * grey, 0), 255);
    assert_true(fabs(level - wanted) <= 0.55);
}

static void test_colour(void **state) {
    (void)state;
    cairn_augmenter a = nothing();
    a.how.brightness = CAIRN_ONE / 2;
    for_every_byte(&a, is_recoloured);
    a.how.contrast = CAIRN_ONE / 3;
    for_every_byte(&a, is_recoloured);
    a.how.saturation = CAIRN_ONE;
    for_every_byte(&a, is_recoloured);
    /* Images of one channel keep their levels. */
    a.channels = 1;
    cairn_transform transform = find(&a, 0, 0);
    assert_int_equal(cairn_transform_level(&a, &transform, images, 0, 0, 5, 5),
                     images[5 * WIDTH + 5]);
}

/* Each operation alone, at a known magnitude. */
static cairn_transform operate(const cairn_augmenter *a, uint32_t which, bool negative) {
    cairn_transform transform = find(a, 0, 0);
    cairn_view_begin(a, &transform.own);
    cairn_view_operate(a, &transform.own, which, negative);
    cairn_view_end(a, &transform.own, 0, 0, false);
    cairn_view_build_luts(a, &transform.own, images);
    return transform;
}

static void test_operations(void **state) {
    (void)state;
    cairn_augmenter a = nothing();
    int seen[CAIRN_OPERATIONS] = {0};
    for (uint32_t which = 0; which < CAIRN_OPERATION_AUTOCONTRAST; which++) { /* of magnitude 0 */
        cairn_transform transform = operate(&a, which, false);
        for (int p = 0; p < PLANE; p++)
            is_original(&a, &transform, 0, 0, 0, p / WIDTH, p % WIDTH,
                        cairn_transform_level(&a, &transform, images, 0, 0, p / WIDTH, p % WIDTH));
    }
    a.how.magnitude = 15;
    for (int p = 0; p < PLANE; p++) {
        int i = p / WIDTH, j = p % WIDTH, level = original(0, 0, i, j);
        cairn_transform transform = operate(&a, CAIRN_OPERATION_SOLARIZE, false); /* from 128 on */
        assert_int_equal(cairn_transform_level(&a, &transform, images, 0, 0, i, j),
                         level >= 128 ? 255 - level : level);
        transform = operate(&a, CAIRN_OPERATION_POSTERIZE, true); /* to 6 bits */
        assert_int_equal(cairn_transform_level(&a, &transform, images, 0, 0, i, j), level & 0xFC);
        transform = operate(&a, CAIRN_OPERATION_TRANSLATE_X, false); /* 10 * 15/30 * 150/331 */
        assert_int_equal(cairn_transform_level(&a, &transform, images, 0, 0, i, j),
                         j + 2 < WIDTH ? original(0, 0, i, j + 2) : 0);
        transform = operate(&a, CAIRN_OPERATION_TRANSLATE_Y, true);
        assert_int_equal(cairn_transform_level(&a, &transform, images, 0, 0, i, j),
                         i >= 2 ? original(0, 0, i - 2, j) : 0);
        transform = operate(&a, CAIRN_OPERATION_BRIGHTNESS, true); /* by 0.55 */
        int darker = cairn_transform_level(&a, &transform, images, 0, 0, i, j);
        assert_true(fabs(darker - 0.55 * level) <= 0.51);
        transform = operate(&a, CAIRN_OPERATION_SHEAR_X, false); /* 0.15 a row from the middle */
        int sheared = cairn_transform_level(&a, &transform, images, 0, 0, i, j);
        assert_true(fabs(sheared - between(0, 0, i, j + 0.15 * (i - (HEIGHT - 1) / 2.0))) <= 2.5);
    }
    for (uint32_t index = 0; index < 1400; index++)
        seen[cairn_rng_below(cairn_augment_draw(&a, CAIRN_AUGMENT_OPERATION, 0, index).word[0],
                             CAIRN_OPERATIONS)]++;
    for (int k = 0; k < CAIRN_OPERATIONS; k++)
        assert_in_range(seen[k], 60, 140);
    a.how.operations = 2;
    assert_memory_not_equal(find(&a, 0, 0).own.map, find(&a, 7, 0).own.map,
                            offsetof(cairn_view, hole));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_strength_is_identity),
        cmocka_unit_test(test_crop),
        cmocka_unit_test(test_reflection),
        cmocka_unit_test(test_flip),
        cmocka_unit_test(test_flip_twice),
        cmocka_unit_test(test_cutout),
        cmocka_unit_test(test_erasing),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_rotation_and_translation),
        cmocka_unit_test(test_quarter_turn_is_exact),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_operations),
    };
    return cmocka_run_group_tests(tests, make_images, NULL);
}
