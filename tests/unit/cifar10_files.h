/* CIFAR-10's files for tests: at full size but mostly holes. Images are zero except for a few bytes
 * that name their place. */
#ifndef CAIRN_TESTS_UNIT_CIFAR10_FILES_H
#define CAIRN_TESTS_UNIT_CIFAR10_FILES_H

#include "datasets.h"
#include "folder.h"

#include "cairn/file.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORDS = 10000, PIXELS = 3072, RECORD = 1 + PIXELS };

static inline cairn_config configure(const char *name, int64_t train_limit, int64_t test_limit) {
    cairn_config config = {.seed = 42};
    strcpy(config.data.name, name);
    strcpy(config.data.dir, folder);
    config.data.train_limit = train_limit;
    config.data.test_limit = test_limit;
    return config;
}

/* Opening 20 training and 10 test images of the folder fails, and the message has both parts. */
static inline void expect_refusal(const char *file, const char *reason) {
    cairn_config config = configure("cifar10", 20, 10);
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_null(dataset);
    if (!strstr(cairn_error_message(), file) || !strstr(cairn_error_message(), reason))
        fail_msg("message '%s' lacks '%s' or '%s'", cairn_error_message(), file, reason);
}

/* What record `i` of file `number` holds. */
static inline uint8_t label_of(int number, int i) {
    return (uint8_t)((i + number) % 10);
}

static inline uint8_t first_pixel_of(int number, int i) {
    return (uint8_t)(i * 7 + number);
}

static inline uint8_t last_pixel_of(int i) {
    return (uint8_t)(i >> 8 | 0x80);
}

static inline FILE *create(const char *subfolder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, subfolder);
    assert_int_equal(cairn_folder_make(path), CAIRN_OK);
    snprintf(path, sizeof path, "%s/%s/%s", folder, subfolder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    return file;
}

static inline void put(FILE *file, long at, uint8_t byte) {
    fseek(file, at, SEEK_SET);
    fputc(byte, file);
}

/* The bytes that are not zero of the first `records` records. */
static inline void write_bin(const char *subfolder, const char *name, int number, int records) {
    FILE *file = create(subfolder, name);
    for (int i = 0; i < records; i++) {
        put(file, (long)i * RECORD, label_of(number, i));
        put(file, (long)i * RECORD + 1, first_pixel_of(number, i));
        put(file, (long)i * RECORD + PIXELS, last_pixel_of(i));
    }
    put(file, (long)RECORDS * RECORD - 1, 0x80);
    fclose(file);
}

static const char bin_folder[] = "cifar-10-batches-bin", py_folder[] = "cifar-10-batches-py";

/* The two files that expect_refusal reads. */
static inline void write_two_bins(void) {
    write_bin(bin_folder, "data_batch_1.bin", 1, 20);
    write_bin(bin_folder, "test_batch.bin", 0, 10);
}

static inline void resize(const char *name, long change) {
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size + change), 0);
}

#define TEST_IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

#endif
