/* RandAugment's operations that look at more than one pixel: their levels are torchvision's, by
 * fixtures/randaugment.txt (make_randaugment.py); and they come before all others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "host/data/transform_pixels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIGH = 26, WIDE = 21, PIXELS = HIGH * WIDE };

/* What make_randaugment.py takes. */
static void make_picture(uint8_t picture[3 * PIXELS]) {
    for (int p = 0; p < PIXELS; p++) {
        picture[p] = (uint8_t)(40 + (p * p + 7 * p) % 101);
        picture[PIXELS + p] = 90;
        picture[2 * PIXELS + p] = (uint8_t)((p * 37 % 256) * (p * 37 % 256) >> 8);
    }
}

/* No augmentation, of images of that size. */
static cairn_augmenter of_picture(void) {
    return (cairn_augmenter){.channels = 3, .height = HIGH, .width = WIDE, .count = 1};
}

static cairn_view view_of(const cairn_augmenter *a, const uint32_t *operations, int count,
                          bool negative, const uint8_t *picture) {
    cairn_view view;
    cairn_view_begin(a, &view);
    for (int k = 0; k < count; k++)
        cairn_view_operate(a, &view, operations[k], negative);
    cairn_view_end(a, &view, 0, 0, false);
    cairn_view_build_luts(a, &view, picture);
    return view;
}

/* Element p of what the view makes of the picture. */
static uint8_t level_at(const cairn_augmenter *a, const cairn_view *view, const uint8_t *picture,
                        int p) {
    return (uint8_t)cairn_view_level(a, view, picture, p / PIXELS, p % PIXELS / WIDE,
                                     p % PIXELS % WIDE);
}

/* Equalize counts in whole numbers; the others of torchvision's round every result down. */
static void compare_levels(const char *name, int magnitude, const char *digits) {
    uint8_t picture[3 * PIXELS];
    cairn_augmenter a = of_picture();
    const bool equalizes = strcmp(name, "Equalize") == 0;
    const uint32_t operation = equalizes                           ? CAIRN_OPERATION_EQUALIZE
                               : strcmp(name, "AutoContrast") == 0 ? CAIRN_OPERATION_AUTOCONTRAST
                                                                   : CAIRN_OPERATION_SHARPNESS;
    make_picture(picture);
    a.how.magnitude = abs(magnitude);
    cairn_view view = view_of(&a, &operation, 1, magnitude < 0, picture);
    assert_int_equal(strlen(digits), 2 * 3 * PIXELS);
    for (int p = 0; p < 3 * PIXELS; p++) {
        unsigned want;
        assert_int_equal(sscanf(digits + 2 * p, "%2x", &want), 1);
        unsigned level = level_at(&a, &view, picture, p);
        if (level != want && (equalizes || level != want + 1))
            fail_msg("%s %d: element %d: %u, torchvision has %u", name, magnitude, p, level, want);
    }
}

static void test_levels_are_torchvisions(void **state) {
    (void)state;
    char path[1024], name[16], digits[2 * 3 * PIXELS + 1];
    int magnitude, cases = 0;
    snprintf(path, sizeof path, "%s/unit/fixtures/randaugment.txt", CAIRN_TESTS_DIR);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (; fscanf(file, "%15s %d %3276s", name, &magnitude, digits) == 3; cases++)
        compare_levels(name, magnitude, digits);
    fclose(file);
    assert_int_equal(cases, 4);
}

/* Sharpness of what equalize leaves, which does the same with autocontrast and without; before a
 * turn and a brighter colour. In grey there is no table. */
static void test_levels_come_first(void **state) {
    (void)state;
    static const uint32_t equalize = CAIRN_OPERATION_EQUALIZE;
    static const uint32_t sharpness = CAIRN_OPERATION_SHARPNESS;
    static const uint32_t rest[] = {CAIRN_OPERATION_BRIGHTNESS, CAIRN_OPERATION_ROTATE};
    static const uint32_t all[] = {CAIRN_OPERATION_SHARPNESS, CAIRN_OPERATION_BRIGHTNESS,
                                   CAIRN_OPERATION_AUTOCONTRAST, CAIRN_OPERATION_ROTATE,
                                   CAIRN_OPERATION_EQUALIZE};
    uint8_t picture[3 * PIXELS], equal[3 * PIXELS], sharp[3 * PIXELS];
    cairn_augmenter a = of_picture();
    make_picture(picture);
    a.how.magnitude = 9;
    cairn_view first = view_of(&a, &equalize, 1, true, picture);
    for (int p = 0; p < 3 * PIXELS; p++)
        equal[p] = level_at(&a, &first, picture, p);
    cairn_view second = view_of(&a, &sharpness, 1, true, equal);
    for (int p = 0; p < 3 * PIXELS; p++)
        sharp[p] = level_at(&a, &second, equal, p);
    cairn_view third = view_of(&a, rest, 2, true, sharp),
               whole = view_of(&a, all, 5, true, picture);
    assert_memory_not_equal(equal, picture, sizeof equal);
    assert_memory_not_equal(sharp, equal, sizeof sharp);
    for (int p = 0; p < 3 * PIXELS; p++)
        assert_int_equal(level_at(&a, &whole, picture, p), level_at(&a, &third, sharp, p));
    a.channels = 1;
    assert_false(view_of(&a, all, 5, true, picture).uses_lut);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_are_torchvisions),
        cmocka_unit_test(test_levels_come_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
