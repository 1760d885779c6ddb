/* Data sets in folders of image files, through cairn/dataset.h. An image is of one colour, which
 * names its place. */
#include "folder.h"

#include "cairn/dataset.h"
#include "cairn/file.h"

#include <dirent.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <png.h>

enum { SIDE = 4 };

static const char *path_of(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Makes the folders above a file. */
static void make_way(const char *name) {
    char way[600];
    snprintf(way, sizeof way, "%s", path_of(name));
    *strrchr(way, '/') = '\0';
    assert_int_equal(cairn_folder_make(way), CAIRN_OK);
}

/* An image of `side` pixels squared, grey or of the colour (level, level / 2, 255 - level). */
static void write_image(const char *name, int side, uint8_t level, bool grey) {
    static uint8_t pixels[(CAIRN_SIDE_MAX + 1) * (CAIRN_SIDE_MAX + 1) * 3];
    assert_true(side <= CAIRN_SIDE_MAX + 1);
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)side,
                       .height = (png_uint_32)side,
                       .format = grey ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
    for (int i = 0; i < side * side; i++) {
        const uint8_t colour[] = {level, level / 2, (uint8_t)(255 - level)};
        memcpy(pixels + (grey ? i : 3 * i), colour, grey ? 1 : 3);
    }
    make_way(name);
    assert_true(png_image_write_to_file(&image, path_of(name), 0, pixels, 0, NULL));
}

static void write_text(const char *name, const char *text) {
    make_way(name);
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void make_link(const char *target, const char *name) {
    make_way(name);
    assert_int_equal(symlink(target, path_of(name)), 0);
}

/* Three classes with 3, 1 and 2 training images; a test image in two of them. */
static void write_small(void) {
    write_image("train/b/0.png", SIDE, 10, false);
    write_image("train/b/1.PNG", SIDE, 11, false);
    write_image("train/b/10.png", SIDE, 12, false);
    write_image("train/a/x.png", SIDE, 20, false);
    write_image("train/c d/1.png", SIDE, 30, true);
    write_image("train/c d/2.png", SIDE, 31, false);
    write_image("test/c d/t.png", SIDE, 40, false);
    write_image("test/a/t.png", SIDE, 41, false);
}

static cairn_config configure(int64_t train_limit, int64_t image_size) {
    cairn_config config = {.seed = 42};
    strcpy(config.data.name, "folder");
    strcpy(config.data.dir, folder);
    config.data.train_limit = train_limit;
    config.data.image_size = image_size;
    return config;
}

static cairn_dataset *open_dataset(const cairn_config *config) {
    cairn_dataset *dataset = NULL;
    if (cairn_dataset_open(&dataset, config))
        fail_msg("%s", cairn_error_message());
    return dataset;
}

static void expect_refusal(const char *file, const char *reason) {
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_null(dataset);
    if (!strstr(cairn_error_message(), file) || !strstr(cairn_error_message(), reason))
        fail_msg("message '%s' lacks '%s' or '%s'", cairn_error_message(), file, reason);
}

static void check_split(const cairn_split *split, int count, const uint8_t *levels,
                        const uint8_t *labels) {
    assert_int_equal(split->count, count);
    for (int i = 0; i < count; i++) {
        const uint8_t *image = split->images + (size_t)i * 3 * SIDE * SIDE;
        assert_int_equal(image[0], levels[i]);
        assert_int_equal(image[SIDE * SIDE - 1], levels[i]);
        assert_int_equal(image[SIDE * SIDE], levels[i] == 30 ? 30 : levels[i] / 2);
        assert_int_equal(image[2 * SIDE * SIDE], levels[i] == 30 ? 30 : 255 - levels[i]);
        assert_int_equal(split->labels[i], labels[i]);
    }
}

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

static void broken_files_are_named_and_counted(void **state) {
    (void)state;
    write_small();
    write_text("train/c d/2.png", "no image");
    expect_refusal("train/c d/2.png", "is no PNG, JPEG, BMP or WebP image");
    assert_null(strstr(cairn_error_message(), "first of"));
    assert_int_equal(truncate(path_of("train/b/10.png"), 50), 0);
    expect_refusal("train/c d/2.png", "the first of 2 such files");
    const volatile sig_atomic_t stop = 1;
    cairn_config config = configure(0, 6);
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open_until(&dataset, &config, &stop), CAIRN_INTERRUPTED);
    assert_null(dataset);
}

/* Data kept in a store, as DVC does, with links to it. */
static void links_are_followed(void **state) {
    (void)state;
    write_small();
    write_image("store/7f", SIDE, 10, false);
    assert_int_equal(unlink(path_of("train/b/0.png")), 0);
    make_link("../../store/7f", "train/b/0.png");
    char was[600];
    strcpy(was, path_of("train/a"));
    assert_int_equal(rename(was, path_of("store/a")), 0);
    make_link("../store/a", "train/a");
    const uint8_t train[] = {20, 10, 30, 11, 31, 12}, train_labels[] = {0, 1, 2, 1, 2, 1};
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    check_split(&dataset->train, 6, train, train_labels);
    cairn_dataset_destroy(dataset);
}

static void faulty_folders_are_refused(void **state) {
    (void)state;
    expect_refusal("/train", "there is no such folder");
    write_image("train/a/x.png", SIDE, 1, false);
    expect_refusal("/train", "holds 1 folders");
    assert_int_equal(mkdir(path_of("train/b"), 0777), 0);
    expect_refusal("/train/b", "holds no images");
    write_image("train/b/x.png", SIDE, 2, false);
    expect_refusal("/test", "there is no such folder");
    assert_int_equal(mkdir(path_of("test"), 0777), 0);
    expect_refusal("/test", "holds no images");
    write_image("test/b/x.png", SIDE, 2, false);
    write_image("test/other/x.png", SIDE, 2, false);
    expect_refusal("/test/other", "train has no folder of that class");
}

static void put_fifo(void) {
    assert_int_equal(mkfifo(path_of("train/b/pipe.png"), 0666), 0);
}

static void put_many_classes(void) {
    char name[32];
    for (int i = 0; i < 254; i++) { /* 257 with those of write_small */
        snprintf(name, sizeof name, "train/z%03d", i);
        assert_int_equal(mkdir(path_of(name), 0777), 0);
    }
}

/* One thing at a time that does not belong there. */
static void what_does_not_belong_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *link; /* a file is made, or a link to there, or `put` is called */
        void (*put)(void);
        const char *named, *reason;
    } cases[] = {
        {"train/stray.png", NULL, NULL, "train/stray.png", "is a file; a folder for each class"},
        {"train/b/more/0.png", NULL, NULL, "train/b/more", "is a folder"},
        {"train/b/l.png", "nowhere", NULL, "train/b/l.png", "a link to nothing"},
        {"train/b/l.png", "../../test", NULL, "train/b/l.png", "is a folder"},
        {"train/loop", "..", NULL, "train/loop", "is a folder"},
        {"train/b/l.png", "..", NULL, "train/b/l.png", "a link to a folder that it is in"},
        {"train/b/l.png", "/dev/zero", NULL, "train/b/l.png", "no regular file"},
        {NULL, NULL, put_fifo, "train/b/pipe.png", "no regular file"},
        {"train/e\033[31m/0.png", NULL, NULL, "train/e\\x1b[31m", "is no name for a class"},
        {"train/caf\351/0.png", NULL, NULL, "train/caf\\xe9", "'caf\\xe9' is no name for a class"},
        {"train/\xe2\x80\xaeg/0.png", NULL, NULL, "train/\\u202eg", "is no name for a class"},
        {NULL, NULL, put_many_classes, "train/z253", "more than 256 classes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (i)
            make_folder(NULL);
        write_small();
        if (cases[i].put)
            cases[i].put();
        else if (cases[i].link)
            make_link(cases[i].link, cases[i].file);
        else
            write_text(cases[i].file, "");
        expect_refusal(cases[i].named, cases[i].reason);
        if (i + 1 < sizeof cases / sizeof cases[0])
            remove_folder(NULL);
    }
}

/* Of an image of two colours, side by side, the middle is of both, and all of it too. */
static void images_may_be_cropped(void **state) {
    (void)state;
    uint8_t pixels[8][24][3], level[2];
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = 24, .height = 8, .format = PNG_FORMAT_RGB};
    for (int i = 0; i < 8 * 24; i++)
        memset(pixels[i / 24][i % 24], i % 24 < 10 ? 0 : 240, 3);
    write_small();
    assert_true(png_image_write_to_file(&image, path_of("test/a/t.png"), 0, pixels, 0, NULL));
    for (int crop = 0; crop < 2; crop++) {
        cairn_config config = configure(0, SIDE);
        config.data.resize = crop;
        cairn_dataset *dataset = open_dataset(&config);
        assert_int_equal(dataset->resize, crop);
        level[crop] = dataset->test.images[1]; /* columns 6 to 11 of all; 10 and 11 of the middle */
        cairn_dataset_destroy(dataset);
    }
    assert_in_range(level[0], 40, 120);
    assert_in_range(level[1], 200, 240);
}

/* Test images have their files' names, in the order of the images; held-out ones too. */
static void test_images_keep_their_names(void **state) {
    (void)state;
    write_small();
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    assert_string_equal(dataset->test_files[0], "test/a/t.png");
    assert_string_equal(dataset->test_files[1], "test/c d/t.png");
    cairn_dataset_destroy(dataset);
    config.data.validation = 2;
    dataset = open_dataset(&config);
    for (int i = 0; i < 2; i++)
        assert_int_equal(strncmp(dataset->test_files[i], i ? "train/b/" : "train/c d/", 8), 0);
    cairn_dataset_destroy(dataset);
}

/* As long as a folder's can be. */
static void a_class_name_may_have_255_bytes(void **state) {
    (void)state;
    char name[300], long_name[256] = "";
    memset(long_name, 'x', 255);
    write_small();
    snprintf(name, sizeof name, "train/%s/0.png", long_name);
    write_image(name, SIDE, 50, false);
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    assert_int_equal(dataset->classes, 4);
    assert_string_equal(dataset->class_names[3], long_name);
    cairn_dataset_destroy(dataset);
}

/* The most classes that there can be. */
static void there_may_be_256_classes(void **state) {
    (void)state;
    char name[64];
    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "train/class %03d/0.png", i);
        write_image(name, SIDE, (uint8_t)i, false);
    }
    write_image("test/class 255/0.png", SIDE, 255, false);
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    assert_int_equal(dataset->classes, 256);
    assert_int_equal(dataset->train.labels[255], 255);
    assert_int_equal(dataset->train.images[(size_t)255 * 3 * SIDE * SIDE], 255);
    assert_int_equal(dataset->test.labels[0], 255);
    assert_string_equal(dataset->class_names[255], "class 255");
    cairn_dataset_destroy(dataset);
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
        TEST_IN_FOLDER(broken_files_are_named_and_counted),
        TEST_IN_FOLDER(links_are_followed),
        TEST_IN_FOLDER(faulty_folders_are_refused),
        TEST_IN_FOLDER(what_does_not_belong_is_refused),
        TEST_IN_FOLDER(images_may_be_cropped),
        TEST_IN_FOLDER(test_images_keep_their_names),
        TEST_IN_FOLDER(a_class_name_may_have_255_bytes),
        TEST_IN_FOLDER(there_may_be_256_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
