/* CIFAR-10 in its binary layout (cifar-10-batches-bin), through cairn/dataset.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cifar10_files.h"

static void reads_all_of_bin(void **state) {
    (void)state;
    for (int number = 1; number <= 5; number++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", number);
        write_bin(bin_folder, name, number, RECORDS);
    }
    write_bin(bin_folder, "test_batch.bin", 0, RECORDS);
    cairn_config config = configure("cifar10", 0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    assert_string_equal(dataset->name, "cifar10");
    assert_int_equal(dataset->train.count, 50000);
    assert_int_equal(dataset->test.count, 10000);
    assert_int_equal(dataset->train.channels, 3);
    assert_int_equal(dataset->train.height, 32);
    assert_int_equal(dataset->train.width, 32);
    assert_int_equal(dataset->classes, 10);
    assert_string_equal(dataset->class_names[0], "airplane");
    assert_string_equal(dataset->class_names[9], "truck");
    for (int i = 0; i < 60000; i++) {
        const cairn_split *split = i < 50000 ? &dataset->train : &dataset->test;
        int number = i < 50000 ? 1 + i / RECORDS : 0, record = i % RECORDS;
        const uint8_t *image = split->images + (size_t)(i % 50000) * PIXELS;
        assert_int_equal(split->labels[i % 50000], label_of(number, record));
        assert_int_equal(image[0], first_pixel_of(number, record));
        assert_int_equal(image[1] | image[PIXELS / 2] | image[PIXELS - 2], 0);
        if (record < RECORDS - 1)
            assert_int_equal(image[PIXELS - 1], last_pixel_of(record));
    }
    /* The digest is over exactly what is there, in the documented order. */
    cairn_digest *digest = NULL;
    char hex[CAIRN_DIGEST_HEX];
    cairn_digest_begin(&digest, "sha256");
    cairn_digest_add(digest, dataset->train.images, (size_t)50000 * PIXELS);
    cairn_digest_add(digest, dataset->train.labels, 50000);
    cairn_digest_add(digest, dataset->test.images, (size_t)10000 * PIXELS);
    cairn_digest_add(digest, dataset->test.labels, 10000);
    cairn_digest_end(digest, hex);
    assert_string_equal(digest_of(dataset), hex);
    cairn_dataset_destroy(dataset);
}

static void limits_take_the_first_samples(void **state) {
    (void)state;
    write_two_bins();
    write_bin(bin_folder, "data_batch_2.bin", 2, 20);
    cairn_config config = configure("cifar10", RECORDS + 3, 7);
    cairn_dataset *dataset = open_dataset(&config);
    assert_int_equal(dataset->train.count, RECORDS + 3);
    assert_int_equal(dataset->test.count, 7);
    assert_int_equal(dataset->train.labels[RECORDS + 2], label_of(2, 2));
    cairn_dataset_destroy(dataset);
}

static void dir_may_be_the_folder_itself(void **state) {
    (void)state;
    write_bin(".", "data_batch_1.bin", 1, 20);
    write_bin(".", "test_batch.bin", 0, 10);
    cairn_config config = configure("cifar10", 20, 10);
    cairn_dataset *dataset = open_dataset(&config);
    assert_int_equal(dataset->train.labels[19], label_of(1, 19));
    cairn_dataset_destroy(dataset);
}

static void class_names_come_from_the_folder(void **state) {
    (void)state;
    write_two_bins();
    FILE *file = create(bin_folder, "batches.meta.txt");
    fputs("a0\r\na1\r\na2\r\na3\r\na4\r\na5\r\na6\r\na7\r\na8\r\nlast one\r\n\r\n", file);
    fclose(file);
    cairn_config config = configure("cifar10", 20, 10);
    cairn_dataset *dataset = open_dataset(&config);
    assert_string_equal(dataset->class_names[0], "a0");
    assert_string_equal(dataset->class_names[9], "last one");
    cairn_dataset_destroy(dataset);
    file = create(bin_folder, "batches.meta.txt");
    fputs("only\nthree\nnames\n", file);
    fclose(file);
    expect_refusal("batches.meta.txt", "3 class names");
    file = create(bin_folder, "batches.meta.txt");
    assert_int_equal(ftruncate(fileno(file), (off_t)900 << 20), 0);
    fclose(file);
    expect_refusal("batches.meta.txt", "is 943718400 bytes long; at most");
}

static void missing_data_says_how_to_get_it(void **state) {
    (void)state;
    expect_refusal(folder, "cairn data get");
    expect_refusal(folder, "data.name=synthetic");
}

static void missing_file_is_named(void **state) {
    (void)state;
    write_bin(bin_folder, "data_batch_1.bin", 1, 20);
    expect_refusal("cifar-10-batches-bin/test_batch.bin", "missing");
}

static void wrong_sizes_are_refused(void **state) {
    (void)state;
    write_two_bins();
    resize("cifar-10-batches-bin/data_batch_1.bin", -1);
    expect_refusal("data_batch_1.bin", "truncated: 30729999 bytes");
    resize("cifar-10-batches-bin/data_batch_1.bin", 2);
    expect_refusal("data_batch_1.bin", "too large: 30730001 bytes");
    resize("cifar-10-batches-bin/data_batch_1.bin", -1);
    resize("cifar-10-batches-bin/test_batch.bin", -RECORDS * RECORD);
    expect_refusal("test_batch.bin", "truncated: 0 bytes");
}

static void label_above_nine_is_refused(void **state) {
    (void)state;
    write_two_bins();
    FILE *file = create(bin_folder, "test_batch.bin");
    put(file, 3L * RECORD, 10);
    put(file, (long)RECORDS * RECORD - 1, 0);
    fclose(file);
    expect_refusal("test_batch.bin", "record 3: the label is 10");
}

static void unknown_data_set_is_refused(void **state) {
    (void)state;
    cairn_config config = configure("imagenet", 0, 0);
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "imagenet"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_IN_FOLDER(reads_all_of_bin),
        TEST_IN_FOLDER(limits_take_the_first_samples),
        TEST_IN_FOLDER(dir_may_be_the_folder_itself),
        TEST_IN_FOLDER(class_names_come_from_the_folder),
        TEST_IN_FOLDER(missing_data_says_how_to_get_it),
        TEST_IN_FOLDER(missing_file_is_named),
        TEST_IN_FOLDER(wrong_sizes_are_refused),
        TEST_IN_FOLDER(label_above_nine_is_refused),
        TEST_IN_FOLDER(unknown_data_set_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
