/* cifar-10-batches-bin and cifar-100-binary. An input is five bytes, the class names, and the first
 * bytes of the files of records, which are zero up to their size:
 *
 *     limit of training images - 1, of test images - 1 (modulo IMAGES), files' distance from the
 * right size, length of the list of names (little-endian, 15 bits), and in the highest bit 1 for
 * CIFAR-100
 */
#include "cairn/dataset.h"
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { HEAD = 5, INPUT_MAX = 4096, IMAGES = 8 };

/* One data set's files. */
typedef struct {
    const char *name, *train, *test, *names;
    int classes;
    off_t train_bytes, test_bytes; /* of sound files */
} layout;

static const layout layouts[] = {
    {"cifar10", "data_batch_1.bin", "test_batch.bin", "batches.meta.txt", 10, 10000 * 3073L,
     10000 * 3073L},
    {"cifar100", "train.bin", "test.bin", "fine_label_names.txt", 100, 50000 * 3074L,
     10000 * 3074L},
};

typedef struct {
    int train, test, names; /* descriptors */
    size_t used;            /* bytes at the records' beginning that may not be zero */
} folder;

/* Train's and test's records are the same. */
static void write_files(folder *files, const layout *kind, const uint8_t *data, size_t size,
                        size_t names) {
    static const uint8_t zeros[INPUT_MAX];
    const uint8_t *records = data + HEAD + names;
    size_t count = size - HEAD - names;
    int8_t wrong = (int8_t)data[2];
    if (!files->train)
        *files = (folder){fuzz_open(kind->train), fuzz_open(kind->test), fuzz_open(kind->names), 0};
    const int both[] = {files->train, files->test};
    for (int i = 0; i < 2; i++) {
        fuzz_write(both[i], zeros, files->used, 0);
        fuzz_write(both[i], records, count, 0);
    }
    files->used = count;
    fuzz_write(files->names, data + HEAD, names, 0);
    fuzz_check(ftruncate(files->names, (off_t)names) == 0 &&
                   ftruncate(files->train, kind->train_bytes + wrong) == 0 &&
                   ftruncate(files->test, kind->test_bytes + wrong) == 0,
               "the harness can size its files");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static folder files[2];
    if (size < HEAD || size > INPUT_MAX)
        return -1;
    int which = data[4] >> 7;
    const layout *kind = &layouts[which];
    size_t names = (size_t)(data[3] | (data[4] & 0x7F) << 8);
    write_files(&files[which], kind, data, size, names < size - HEAD ? names : size - HEAD);

    cairn_config config = {0};
    strcpy(config.data.name, kind->name);
    snprintf(config.data.dir, sizeof config.data.dir, "%.1000s", fuzz_folder());
    config.data.train_limit = 1 + data[0] % IMAGES;
    config.data.test_limit = 1 + data[1] % IMAGES;
    cairn_dataset *dataset = NULL;
    cairn_status status = cairn_dataset_open(&dataset, &config);
    fuzz_check_status(status);
    if (!status) {
        fuzz_check(data[2] == 0, "only files of the right size are accepted");
        fuzz_check(dataset->classes == kind->classes, "each has its classes");
        for (int i = 0; i < dataset->train.count; i++)
            fuzz_check(dataset->train.labels[i] < kind->classes, "labels are classes");
        for (int i = 0; i < dataset->classes; i++)
            for (const char *at = dataset->class_names[i]; *at; at++)
                fuzz_check((unsigned char)*at >= 0x20 && *at != 0x7f, "names are printable");
    }
    cairn_dataset_destroy(dataset);
    return 0;
}
