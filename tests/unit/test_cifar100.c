/* CIFAR-100's binary files, through cairn/dataset.h: made here at full size but mostly holes. */
#include "folder.h"

#include "cairn/dataset.h"
#include "cairn/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PIXELS = 3072, RECORD = 2 + PIXELS, WRITTEN = 1500 };

static FILE *create(const char *name, const char *mode) {
    char path[512];
    snprintf(path, sizeof path, "%s/cifar-100-binary", folder);
    assert_int_equal(cairn_folder_make(path), CAIRN_OK);
    snprintf(path, sizeof path, "%s/cifar-100-binary/%s", folder, name);
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    return file;
}

/* Record i: coarse label i % 20, fine label i % 100, first and last pixel. */
static void write_records(const char *name, int records, int shift) {
    FILE *file = create(name, "wb");
    for (int i = 0; i < WRITTEN; i++) {
        const uint8_t head[] = {(uint8_t)(i % 20), (uint8_t)((i + shift) % 100), (uint8_t)(i * 7)};
        fseek(file, (long)i * RECORD, SEEK_SET);
        fwrite(head, 1, sizeof head, file);
        fseek(file, (long)i * RECORD + RECORD - 1, SEEK_SET);
        fputc(i >> 3, file);
    }
    assert_int_equal(ftruncate(fileno(file), (long)records * RECORD), 0);
    assert_int_equal(fclose(file), 0);
}

static void write_both(void) {
    write_records("train.bin", 50000, 0);
    write_records("test.bin", 10000, 50);
}

static cairn_config configure(void) {
    cairn_config config = {.seed = 42};
    strcpy(config.data.name, "cifar100");
    strcpy(config.data.dir, folder);
    config.data.train_limit = WRITTEN;
    config.data.test_limit = 200;
    return config;
}

static void expect_refusal(const char *file, const char *reason) {
    cairn_config config = configure();
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_null(dataset);
    if (!strstr(cairn_error_message(), file) || !strstr(cairn_error_message(), reason))
        fail_msg("message '%s' lacks '%s' or '%s'", cairn_error_message(), file, reason);
}

static void check_split(const cairn_split *split, int count, int shift) {
    assert_int_equal(split->count, count);
    for (int i = 0; i < count; i++) {
        const uint8_t *image = split->images + (size_t)i * PIXELS;
        assert_int_equal(split->labels[i], (i + shift) % 100);
        assert_int_equal(image[0], (uint8_t)(i * 7));
        assert_int_equal(image[1] | image[PIXELS / 2] | image[PIXELS - 2], 0);
        assert_int_equal(image[PIXELS - 1], (uint8_t)(i >> 3));
    }
}

static void fine_labels_and_pixels_are_read(void **state) {
    (void)state;
    write_both();
    cairn_config config = configure();
    cairn_dataset *dataset = NULL;
    if (cairn_dataset_open(&dataset, &config))
        fail_msg("%s", cairn_error_message());
    assert_string_equal(dataset->name, "cifar100");
    assert_int_equal(dataset->classes, 100);
    assert_string_equal(dataset->class_names[0], "apple");
    assert_string_equal(dataset->class_names[99], "worm");
    for (int i = 1; i < 100; i++) /* the official list is sorted */
        assert_true(strcmp(dataset->class_names[i - 1], dataset->class_names[i]) < 0);
    check_split(&dataset->train, WRITTEN, 0);
    check_split(&dataset->test, 200, 50);
    cairn_dataset_destroy(dataset);
}

/* As many of each of the 100 classes stand in for the test split. */
static void training_images_may_be_held_out(void **state) {
    (void)state;
    write_both();
    cairn_config config = configure();
    cairn_dataset *dataset = NULL;
    char text[64];
    config.data.validation = 49000;
    config.data.test_limit = 0;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_OK);
    assert_int_equal(dataset->train.count, 1000);
    assert_int_equal(dataset->test.count, 49000);
    cairn_held_out_describe(dataset, text, sizeof text);
    assert_non_null(strstr(text, "of a"));
    cairn_dataset_destroy(dataset);
}

static void names_come_from_the_list_of_fine_labels(void **state) {
    (void)state;
    write_both();
    FILE *file = create("fine_label_names.txt", "w");
    for (int i = 0; i < 100; i++)
        fprintf(file, "name %d\r\n", i);
    fclose(file);
    cairn_config config = configure();
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_OK);
    assert_string_equal(dataset->class_names[57], "name 57");
    cairn_dataset_destroy(dataset);
    file = create("fine_label_names.txt", "a");
    fputs("one more\n", file);
    fclose(file);
    expect_refusal("fine_label_names.txt", "101 class names; there are 100");
}

static void faulty_files_are_refused(void **state) {
    (void)state;
    expect_refusal(folder, "holds no cifar-100-binary; `cairn data get --name cifar100 --dir");
    write_records("train.bin", 50000, 0);
    expect_refusal("cifar-100-binary/test.bin", "missing");
    write_records("test.bin", 9999, 0);
    expect_refusal("cifar-100-binary/test.bin", "truncated: 30736926 bytes; 10000 records of 3074");
    write_records("test.bin", 10000, 0);
    FILE *file = create("train.bin", "r+b");
    fseek(file, 1234L * RECORD + 1, SEEK_SET);
    fputc(100, file);
    fclose(file);
    expect_refusal("train.bin", "record 1234: the label is 100; labels go from 0 to 99");
}

#define TEST_IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_IN_FOLDER(fine_labels_and_pixels_are_read),
        TEST_IN_FOLDER(training_images_may_be_held_out),
        TEST_IN_FOLDER(names_come_from_the_list_of_fine_labels),
        TEST_IN_FOLDER(faulty_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
