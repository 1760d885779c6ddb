/* Data sets in folders with what does not belong there, cannot be read, or is more than usual. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "image_folders.h"

#include <sys/stat.h>

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
    expect_refusal("/train", "holds 1 folder;");
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
        config.data.resize = (cairn_resize)crop;
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
