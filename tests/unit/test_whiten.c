/* Whitening: what the filters make of the patches that they come from has the second moments that
 * it should, for images of any channels; and constant, tiny and large data sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cairn/rng.h"
#include "cairn/whiten.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KERNEL = 2, SIZE_MAX_HERE = 4 * KERNEL * KERNEL };

static const float mean[CAIRN_CHANNELS_MAX] = {0.5f, 0.45f, 0.4f, 0.6f};
static const float std[CAIRN_CHANNELS_MAX] = {0.25f, 0.2f, 0.3f, 0.1f};

/* Smooth images with some noise, as photographs are: neighbours are alike, channels too. */
static cairn_split make_images(int count, int channels, int height, int width) {
    size_t area = (size_t)(height * width), bytes = area * (size_t)channels;
    cairn_split made = {count, channels, height, width, malloc(bytes * (size_t)count), NULL};
    assert_non_null(made.images);
    for (size_t i = 0; i < bytes * (size_t)count; i++) {
        size_t n = i / bytes, place = i % area;
        uint32_t base = cairn_rng(1, CAIRN_RNG_TEST, 0, 0, n).word[place / area % 4] >> 24;
        uint32_t row = cairn_rng(1, CAIRN_RNG_TEST, 0, 1, n).word[place / (size_t)width % 4] >> 27;
        uint32_t noise = cairn_rng(1, CAIRN_RNG_TEST, 0, 2, i / 2).word[i % 2] >> 28;
        made.images[i] = (uint8_t)((base + row + noise) * 4 / 5);
    }
    return made;
}

/* moment[p][q]: the mean over all patches of outputs p and q of the first `size` filters. */
static void measure_outputs(const cairn_split *images, int size, const float *filters,
                            double moment[SIZE_MAX_HERE][SIZE_MAX_HERE]) {
    const size_t area = (size_t)(images->height * images->width);
    double patches = 0;
    memset(moment, 0, sizeof(double[SIZE_MAX_HERE][SIZE_MAX_HERE]));
    for (int n = 0; n < images->count; n++)
        for (int y = 0; y + KERNEL <= images->height; y++)
            for (int x = 0; x + KERNEL <= images->width; x++, patches++) {
                double out[SIZE_MAX_HERE] = {0};
                for (int k = 0; k < size; k++) {
                    int c = k / 4, row = y + k / 2 % 2, column = x + k % 2;
                    uint8_t byte = images->images[(size_t)(n * images->channels + c) * area +
                                                  (size_t)(row * images->width + column)];
                    double value = (byte / 255.0 - (double)mean[c]) / (double)std[c];
                    for (int f = 0; f < size; f++)
                        out[f] += (double)filters[f * size + k] * value;
                }
                for (int p = 0; p < size; p++)
                    for (int q = 0; q < size; q++)
                        moment[p][q] += out[p] * out[q];
            }
    for (int p = 0; p < size; p++)
        for (int q = 0; q < size; q++)
            moment[p][q] /= patches;
}

/* An output along an eigenvector of eigenvalue v has the moment v / (v + epsilon), and its filter
 * the squared length 1 / (v + epsilon); different ones have none. */
static void check_whitened(int channels) {
    const double epsilon = 5e-4;
    const int size = channels * KERNEL * KERNEL;
    cairn_split images = make_images(40, channels, 9, 11);
    float filters[2 * SIZE_MAX_HERE * SIZE_MAX_HERE];
    double moment[SIZE_MAX_HERE][SIZE_MAX_HERE], before = INFINITY;
    cairn_whiten_filters(&images, mean, std, KERNEL, filters);
    measure_outputs(&images, size, filters, moment);
    for (int p = 0; p < size; p++) {
        double length = 0;
        float largest = 0;
        for (int k = 0; k < size; k++) {
            float value = filters[p * size + k];
            length += (double)value * (double)value;
            largest = fabsf(value) > fabsf(largest) ? value : largest;
            assert_true(filters[(size + p) * size + k] == -value);
        }
        double eigenvalue = 1 / length - epsilon;
        assert_true(largest > 0);
        assert_true(eigenvalue < before * (1 + 1e-5));
        before = eigenvalue;
        for (int q = 0; q < size; q++) {
            double want = p == q ? eigenvalue / (eigenvalue + epsilon) : 0;
            if (!(fabs(moment[p][q] - want) < 1e-4))
                fail_msg("%d channels: moment %d, %d is %g, not %g", channels, p, q, moment[p][q],
                         want);
        }
    }
    free(images.images);
}

static void outputs_are_uncorrelated_and_of_like_size(void **state) {
    (void)state;
    check_whitened(1);
    check_whitened(3);
    check_whitened(4);
}

/* One image, all of one value: the only direction is that of equal pixels. */
static void constant_images_divide_by_no_zero(void **state) {
    (void)state;
    static const uint8_t values[] = {0, 128, 255};
    for (int i = 0; i < 3; i++) {
        uint8_t pixels[3 * 4] = {0};
        float filters[24 * 12];
        const cairn_split images = {1, 3, 2, 2, pixels, NULL};
        memset(pixels, values[i], sizeof pixels);
        cairn_whiten_filters(&images, mean, std, KERNEL, filters);
        for (int k = 0; k < 24 * 12; k++)
            assert_true(fabsf(filters[k]) <= 1 / sqrtf(5e-4f) * 1.0001f);
    }
}

/* The first images alone count. */
static void later_images_change_nothing(void **state) {
    (void)state;
    enum { EXTRA = 3 };
    float first[8 * 4], second[8 * 4];
    cairn_split images = make_images(CAIRN_WHITEN_IMAGES + EXTRA, 1, 3, 3);
    cairn_whiten_filters(&images, mean, std, KERNEL, first);
    memset(images.images + (size_t)CAIRN_WHITEN_IMAGES * 9, 77, EXTRA * 9);
    cairn_whiten_filters(&images, mean, std, KERNEL, second);
    assert_memory_equal(first, second, sizeof first);
    images.images[(size_t)CAIRN_WHITEN_IMAGES * 9 - 1] ^= 255;
    cairn_whiten_filters(&images, mean, std, KERNEL, second);
    assert_memory_not_equal(first, second, sizeof first);
    free(images.images);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_are_uncorrelated_and_of_like_size),
        cmocka_unit_test(constant_images_divide_by_no_zero),
        cmocka_unit_test(later_images_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
