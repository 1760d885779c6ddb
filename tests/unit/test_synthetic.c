/* The built-in data set: the same everywhere, balanced and normalised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "datasets.h"

#include <string.h>

enum { PIXELS = 3 * 32 * 32 };

static cairn_config configure(int64_t train_limit, int64_t test_limit) {
    cairn_config config = {.seed = 42};
    strcpy(config.data.name, "synthetic");
    config.data.train_limit = train_limit;
    config.data.test_limit = test_limit;
    return config;
}

static void synthetic_is_the_same_everywhere(void **state) {
    (void)state;
    cairn_config config = configure(501, 203);
    cairn_dataset *one, *three;
    config.train.threads = 1;
    one = open_dataset(&config);
    config.train.threads = 3;
    three = open_dataset(&config);
    assert_string_equal(digest_of(one), digest_of(three));
    assert_string_equal(digest_of(one),
                        "f79d60059ad32306a0003748fffa5d71353fe843a9804445539ec612cf6a9728");
    assert_string_equal(one->name, "synthetic");
    cairn_dataset_destroy(three);

    config.data.validation = 49600; /* 203 of them, and 400 to train on */
    cairn_dataset *held = open_dataset(&config);
    assert_int_equal(held->train.count, 400);
    assert_int_equal(held->test.count, 203);
    assert_memory_not_equal(held->train.images, one->train.images, (size_t)100 * PIXELS);
    cairn_dataset_destroy(held);
    config.data.validation = 0;

    /* A smaller cut is a prefix; another seed is another data set; the splits differ. */
    config.data.train_limit = 100;
    cairn_dataset *cut = open_dataset(&config);
    assert_memory_equal(cut->train.images, one->train.images, (size_t)100 * PIXELS);
    assert_memory_not_equal(cut->test.images, one->train.images, (size_t)100 * PIXELS);
    config.seed = 43;
    cairn_dataset *other = open_dataset(&config);
    assert_memory_not_equal(cut->train.images, other->train.images, (size_t)100 * PIXELS);
    cairn_dataset_destroy(other);
    cairn_dataset_destroy(cut);
    cairn_dataset_destroy(one);
}

static void synthetic_is_balanced_and_normalised(void **state) {
    (void)state;
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    int seen[2][10] = {{0}};
    for (int i = 0; i < dataset->train.count; i++)
        seen[0][dataset->train.labels[i]]++;
    for (int i = 0; i < dataset->test.count; i++)
        seen[1][dataset->test.labels[i]]++;
    for (int label = 0; label < 10; label++) {
        assert_int_equal(seen[0][label], 5000);
        assert_int_equal(seen[1][label], 1000);
    }
    for (int c = 0; c < 3; c++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < 5000; i++)
            for (int p = 0; p < 1024; p++) {
                double pixel = dataset->train.images[(i * 3 + c) * 1024 + p] / 255.0;
                double x = (pixel - (double)dataset->mean[c]) / (double)dataset->std[c];
                sum += x;
                squares += x * x;
            }
        assert_true(sum / 5000 / 1024 > -0.02 && sum / 5000 / 1024 < 0.02);
        assert_true(squares / 5000 / 1024 > 0.9 && squares / 5000 / 1024 < 1.1);
    }
    cairn_dataset_destroy(dataset);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synthetic_is_the_same_everywhere),
        cmocka_unit_test(synthetic_is_balanced_and_normalised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
