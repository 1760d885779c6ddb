/* cifar-10-batches-py. The pixels of a batch are left out of inputs: behind the first length that
 * says 30720000, the harness puts as many zeros; not into Latin-1, whose decoding takes too long
 * here and which the unit tests have. */
#include "cairn/dataset.h"
#include "fuzz.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIXEL_BYTES = 10000 * 3072, INPUT_MAX = 1 << 16 };

/* A data folder with one batch file; test_batch is a link to data_batch_1. */
typedef struct {
    char path[CAIRN_TEXT_MAX];
    int batch;
} folder;

static folder make_folder(const char *name) {
    folder made;
    char batch[PATH_MAX], test[PATH_MAX];
    snprintf(made.path, sizeof made.path, "%.900s/%s", fuzz_folder(), name);
    snprintf(batch, sizeof batch, "%s/data_batch_1", made.path);
    snprintf(test, sizeof test, "%s/test_batch", made.path);
    bool done = mkdir(made.path, 0777) == 0;
    snprintf(batch, sizeof batch, "%s/data_batch_1", name);
    made.batch = done ? fuzz_open(batch) : -1;
    snprintf(batch, sizeof batch, "%s/data_batch_1", made.path);
    fuzz_check(done && link(batch, test) == 0, "the harness can make its files");
    return made;
}

/* Where the pixels go; 0 for nowhere. */
static size_t find_pixels(const uint8_t *data, size_t size) {
    static const uint8_t length[4] = {PIXEL_BYTES & 0xFF, PIXEL_BYTES >> 8 & 0xFF,
                                      PIXEL_BYTES >> 16 & 0xFF, PIXEL_BYTES >> 24};
    const uint8_t *at = memmem(data, size, length, sizeof length);
    if (!at)
        return 0;
    size_t end = (size_t)(at - data) + 4;
    bool wide = end + 4 <= size && memcmp(data + end, "\0\0\0", 4) == 0; /* of 64 bits */
    return wide ? end + 4 : end;
}

static void open_and_check(const char *path) {
    cairn_config config = {.data = {.name = "cifar10", .train_limit = 2, .test_limit = 1}};
    cairn_dataset *dataset = NULL;
    memcpy(config.data.dir, path, strlen(path) + 1);
    cairn_status status = cairn_dataset_open(&dataset, &config);
    fuzz_check_status(status);
    if (!status)
        fuzz_check(dataset->train.labels[0] < 10 && dataset->train.labels[1] < 10 &&
                       dataset->test.labels[0] < 10,
                   "labels are classes");
    cairn_dataset_destroy(dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static folder plain, filled; /* two, so that the zeros are written to memory only once */
    static const uint8_t zeros[INPUT_MAX];
    if (size > INPUT_MAX)
        return -1;
    if (!plain.batch) {
        plain = make_folder("plain");
        filled = make_folder("filled");
        fuzz_check(ftruncate(filled.batch, PIXEL_BYTES) == 0, "the harness can size its files");
    }
    size_t head = find_pixels(data, size);
    if (head && memmem(data, size, "latin1", 6))
        return -1;
    if (head == 0) {
        fuzz_check(ftruncate(plain.batch, (off_t)size) == 0, "the harness can size its files");
        fuzz_write(plain.batch, data, size, 0);
        open_and_check(plain.path);
        return 0;
    }
    fuzz_write(filled.batch, data, head, 0);
    fuzz_check(ftruncate(filled.batch, (off_t)(head + PIXEL_BYTES)) == 0,
               "the harness can size its files");
    fuzz_write(filled.batch, data + head, size - head, head + PIXEL_BYTES);
    open_and_check(filled.path);
    fuzz_write(filled.batch, zeros, head, 0);
    fuzz_check(ftruncate(filled.batch, PIXEL_BYTES) == 0, "the harness can size its files");
    return 0;
}
