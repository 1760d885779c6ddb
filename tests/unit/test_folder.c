/* Data sets in folders of image files, through cairn/dataset.h: which images, in which order, and
 * what is made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "image_folders.h"

#include <dirent.h>
#include <math.h>
#include <omp.h>
#include <sys/stat.h>

/* Classes and files in byte order of their names, grey as colour, and in turns from the classes. */
static void images_come_in_turns_from_sorted_classes(void **state) {
    (void)state;
    write_small();
    write_text("train/.hidden", "");
    write_text("train/a/.DS_Store", "");
    write_text("train/.git/config", "");
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    assert_string_equal(dataset->name, "folder");
    assert_int_equal(dataset->classes, 3);
    assert_string_equal(dataset->class_names[0], "a");
    assert_string_equal(dataset->class_names[1], "b");
    assert_string_equal(dataset->class_names[2], "c d");
    assert_int_equal(dataset->train.channels, 3);
    assert_int_equal(dataset->train.height, SIDE);
    assert_int_equal(dataset->train.width, SIDE);
    const uint8_t train[] = {20, 10, 30, 11, 31, 12}, train_labels[] = {0, 1, 2, 1, 2, 1};
    const uint8_t test[] = {41, 40}, test_labels[] = {0, 2};
    check_split(&dataset->train, 6, train, train_labels);
    check_split(&dataset->test, 2, test, test_labels);
    assert_int_equal(cairn_split_bytes(&dataset->train), 6 * (3 * SIDE * SIDE + 1));
    int count = 0;
    assert_int_equal(cairn_dataset_train_count(&config, &count), CAIRN_OK);
    assert_int_equal(count, 6);
    cairn_dataset_destroy(dataset);

    config = configure(4, 0);
    config.train.threads = 3;
    dataset = open_dataset(&config);
    check_split(&dataset->train, 4, train, train_labels);
    cairn_dataset_destroy(dataset);
    assert_int_equal(cairn_dataset_train_count(&config, &count), CAIRN_OK);
    assert_int_equal(count, 4);
}

/* Of every class its share, drawn by the seed, in place of the test split. */
static void training_images_may_be_held_out(void **state) {
    (void)state;
    write_small();
    cairn_config config = configure(0, 0);
    config.data.validation = 2; /* of b with 3 and c d with 2 images; a has but one */
    char text[64];
    cairn_dataset *dataset = open_dataset(&config);
    assert_true(dataset->held_out);
    assert_int_equal(dataset->train.count, 4);
    assert_int_equal(dataset->train.labels[0], 0);
    assert_int_equal(dataset->test.count, 2);
    assert_string_equal(cairn_held_out_describe(dataset, text, sizeof text), "0 a, 1 b, 1 c d");
    cairn_dataset_destroy(dataset);
    int count = 0;
    assert_int_equal(cairn_dataset_train_count(&config, &count), CAIRN_OK);
    assert_int_equal(count, 4);
    config.data.validation = 6;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "data.validation: found 6"));
    assert_int_equal(cairn_dataset_train_count(&config, &count), CAIRN_BAD_INPUT);
}

/* Unequal classes: whatever is held out, by every seed, has of each class its share to within one,
 * leaves one to train on, and together with the rest is all there is. */
static void every_class_gives_its_share(void **state) {
    (void)state;
    enum { CLASSES = 3, ALL = 78 };
    static const int members[CLASSES] = {60, 15, 3};
    char name[64];
    for (int k = 0, level = 0; k < CLASSES; k++)
        for (int i = 0; i < members[k]; i++) {
            snprintf(name, sizeof name, "train/%c/%03d.png", "abc"[k], i);
            write_image(name, SIDE, (uint8_t)++level, false);
        }
    cairn_config config = configure(0, 0);
    uint8_t first[ALL];
    for (int held = 1; held < ALL; held += held < 12 ? 1 : 13) {
        int changed = 0;
        config.data.validation = held;
        for (config.seed = 1; config.seed <= 4; config.seed++) {
            int seen[ALL + 1] = {0}, given[CLASSES] = {0};
            cairn_dataset *dataset = open_dataset(&config);
            assert_int_equal(dataset->test.count, held);
            assert_int_equal(dataset->train.count, ALL - held);
            for (int i = 0; i < held; i++) {
                const uint8_t level = dataset->test.images[(size_t)i * 3 * SIDE * SIDE];
                seen[level]++;
                given[dataset->test.labels[i]]++;
                changed += config.seed > 1 && first[i] != level;
                first[i] = level;
            }
            for (int i = 0; i < ALL - held; i++)
                seen[dataset->train.images[(size_t)i * 3 * SIDE * SIDE]]++;
            for (int level = 1; level <= ALL; level++)
                assert_int_equal(seen[level], 1);
            for (int k = 0; k < CLASSES; k++) {
                const double share = (double)held * members[k] / ALL;
                if (fabs(given[k] - share) >= 1 + (share > members[k] - 1) ||
                    (held <= ALL - CLASSES && given[k] == members[k]))
                    fail_msg("%d held out: %d of %d", held, given[k], members[k]);
            }
            cairn_dataset_destroy(dataset);
        }
        assert_true(changed > 0);
    }
}

/* val/ stands in for test/, where that is not there. */
static void val_may_be_the_name_of_test(void **state) {
    (void)state;
    write_small();
    char was[600];
    strcpy(was, path_of("test"));
    assert_int_equal(rename(was, path_of("val")), 0);
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    assert_false(dataset->held_out);
    assert_int_equal(dataset->test.count, 2);
    assert_string_equal(dataset->test_files[0], "val/a/t.png");
    cairn_dataset_destroy(dataset);
    write_image("test/a/t.png", SIDE, 41, false);
    dataset = open_dataset(&config);
    assert_int_equal(dataset->test.count, 1);
    cairn_dataset_destroy(dataset);
}

/* By its name no image: left out, wherever it lies, and counted. */
static void what_is_no_image_is_left_out(void **state) {
    (void)state;
    static const char *const others[] = {
        "train/labels.csv",
        "train/Thumbs.db",
        "train/a/notes.txt",
        "train/a/._x.png",
        "train/a/.DS_Store",
        "train/b/Thumbs.db",
        "train/b/README",
        "train/b/x.png.part",
        "train/.ipynb_checkpoints/a.png",
        "train/b/.ipynb_checkpoints/b.png",
        "test/a/desktop.ini",
    };
    const int count = sizeof others / sizeof others[0];
    char text[1024];
    write_small();
    cairn_config config = configure(0, 0);
    cairn_dataset *plain = open_dataset(&config);
    assert_int_equal(plain->left_out.count, 0);
    assert_string_equal(cairn_left_out_describe(&plain->left_out, text, sizeof text), "");
    for (int i = 0; i < count; i++) {
        write_text(others[i], "no image");
        cairn_dataset *dataset = open_dataset(&config);
        assert_int_equal(dataset->left_out.count, i + 1);
        assert_int_equal(dataset->train.count, plain->train.count);
        assert_memory_equal(dataset->train.images, plain->train.images,
                            (size_t)plain->train.count * 3 * SIDE * SIDE);
        cairn_left_out_describe(&dataset->left_out, text, sizeof text);
        char expected[64];
        snprintf(expected, sizeof expected, "left out %d that are no images, first ", i + 1);
        assert_non_null(strstr(text, i ? expected : "/train/labels.csv, which is no image"));
        cairn_dataset_destroy(dataset);
    }
    cairn_dataset_destroy(plain);
    make_link("nowhere", "train/b/notes.md");
    plain = open_dataset(&config);
    assert_int_equal(plain->left_out.count, count + 1);
    cairn_dataset_destroy(plain);
}

static void near(float value, double expected) {
    if (!(value > expected - 6e-5 && value < expected + 6e-5))
        fail_msg("%.6f is not %.6f", (double)value, expected);
}

/* Of 20, 10, 30, 11, 31, 12 in red: mean 19, variance 230 / 3. */
static void statistics_are_those_of_the_training_images(void **state) {
    (void)state;
    write_small();
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = open_dataset(&config), *described = NULL;
    near(dataset->mean[0], 19.0 / 255);
    near(dataset->std[0], 8.755950357709131 / 255);
    assert_int_equal(cairn_dataset_describe(&described, &config), CAIRN_OK);
    assert_null(described->train.images);
    assert_int_equal(described->test.count, 0);
    assert_memory_equal(described->mean, dataset->mean, sizeof dataset->mean);
    assert_string_equal(described->class_names[2], "c d");
    cairn_dataset_destroy(described);
    cairn_dataset_destroy(dataset);
    config = configure(1, 0); /* one image of one colour: nothing to divide by */
    dataset = open_dataset(&config);
    assert_true(dataset->std[0] == 1 && dataset->std[1] == 1 && dataset->std[2] == 1);
    cairn_dataset_destroy(dataset);
}

static int count_threads(void) {
    int count = 0;
    DIR *threads = opendir("/proc/self/task");
    assert_non_null(threads);
    while (readdir(threads))
        count++;
    closedir(threads);
    return count;
}

/* No part of the work takes more threads than the configuration allows. */
static void threads_are_as_configured(void **state) {
    (void)state;
    write_small();
    cairn_config config = configure(0, 0);
    config.train.threads = 1;
    int before = count_threads(), most = omp_get_max_threads();
    omp_set_num_threads(8);
    cairn_dataset_destroy(open_dataset(&config));
    omp_set_num_threads(most);
    assert_int_equal(count_threads(), before);
}

static void other_sizes_are_resized_or_refused(void **state) {
    (void)state;
    write_small();
    write_image("train/b/1.PNG", 2 * SIDE, 11, false);
    expect_refusal("train/b/1.PNG", "is 8 by 8 pixels");
    expect_refusal("train/b/1.PNG", "data.image_size");
    cairn_config config = configure(0, 6);
    cairn_dataset *dataset = open_dataset(&config);
    assert_int_equal(dataset->test.width, 6);
    assert_int_equal(dataset->train.height, 6);
    assert_int_equal(dataset->train.images[3 * 3 * 6 * 6], 11); /* its one colour stays */
    assert_int_equal(dataset->resize, CAIRN_RESIZE_STRETCH);
    cairn_dataset_destroy(dataset);
    write_image("train/a/0.png", CAIRN_SIDE_MAX + 1, 11, false);
    expect_refusal("train/a/0.png", "are made smaller by data.image_size");
    config = configure(0, 1024);
    config.data.image_size = 1 << 20; /* terabytes; the schema would refuse it first */
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), " GB, there are "));
}

#define TEST_IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_IN_FOLDER(images_come_in_turns_from_sorted_classes),
        TEST_IN_FOLDER(training_images_may_be_held_out),
        TEST_IN_FOLDER(every_class_gives_its_share),
        TEST_IN_FOLDER(val_may_be_the_name_of_test),
        TEST_IN_FOLDER(what_is_no_image_is_left_out),
        TEST_IN_FOLDER(statistics_are_those_of_the_training_images),
        TEST_IN_FOLDER(threads_are_as_configured),
        TEST_IN_FOLDER(other_sizes_are_resized_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
