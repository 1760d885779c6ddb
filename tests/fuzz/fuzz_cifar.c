/* cifar-10-batches-bin. An input is five bytes, the class names, and the labels of the batch files'
 * first records; all other bytes of those are zero:
 *
 *     limit of training images - 1, of test images - 1 (modulo IMAGES), files' distance from the
 *     right size, length of batches.meta.txt (little-endian, 16 bits) */
#include "cairn/dataset.h"
#include "fuzz.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORD = 3073, BATCH_BYTES = 10000 * RECORD, HEAD = 5, INPUT_MAX = 4096, IMAGES = 8 };

typedef struct {
    int batch, names; /* descriptors of data_batch_1.bin and batches.meta.txt */
} folder;

/* test_batch.bin is a link to data_batch_1.bin: one file to write. */
static folder make_folder(void) {
    char batch[PATH_MAX], test[PATH_MAX];
    folder made = {fuzz_open("data_batch_1.bin"), fuzz_open("batches.meta.txt")};
    snprintf(batch, sizeof batch, "%s/data_batch_1.bin", fuzz_folder());
    snprintf(test, sizeof test, "%s/test_batch.bin", fuzz_folder());
    fuzz_check(link(batch, test) == 0, "the harness can link its files");
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static folder files;
    if (size < HEAD || size > INPUT_MAX)
        return -1;
    if (!files.batch)
        files = make_folder();
    size_t names = (size_t)(data[3] | data[4] << 8), labels = size - HEAD;
    names = names < labels ? names : labels;
    labels -= names;
    fuzz_write(files.names, data + HEAD, names, 0);
    for (size_t i = 0; i < IMAGES; i++)
        fuzz_write(files.batch, i < labels ? data + HEAD + names + i : (const uint8_t *)"", 1,
                   i * RECORD);
    off_t length = BATCH_BYTES + (int8_t)data[2];
    fuzz_check(ftruncate(files.names, (off_t)names) == 0 && ftruncate(files.batch, length) == 0,
               "the harness can size its files");

    cairn_config config = {.data = {.name = "cifar10"}};
    snprintf(config.data.dir, sizeof config.data.dir, "%.1000s", fuzz_folder());
    config.data.train_limit = 1 + data[0] % IMAGES;
    config.data.test_limit = 1 + data[1] % IMAGES;
    cairn_dataset *dataset = NULL;
    cairn_status status = cairn_dataset_open(&dataset, &config);
    fuzz_check_status(status);
    if (!status) {
        fuzz_check(length == BATCH_BYTES, "only files of the right size are accepted");
        for (int i = 0; i < dataset->train.count; i++)
            fuzz_check(dataset->train.labels[i] < 10, "labels are classes");
        for (int i = 0; i < dataset->classes; i++)
            for (const char *at = dataset->class_names[i]; *at; at++)
                fuzz_check((unsigned char)*at >= 0x20 && *at != 0x7f, "names are printable");
    }
    cairn_dataset_destroy(dataset);
    return 0;
}
