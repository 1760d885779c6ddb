/* CIFAR-10 from its files (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
 * 2009; www.cs.toronto.edu/~kriz/cifar.html), in either layout:
 *
 *   cifar-10-batches-bin/  data_batch_1.bin .. data_batch_5.bin, test_batch.bin: 10,000 records
 *                          of one label byte and the red, green and blue planes of 32x32 bytes;
 *                          batches.meta.txt: the class names, a line each
 *   cifar-10-batches-py/   data_batch_1 .. data_batch_5, test_batch: pickles, see pickle.c
 *
 * Only the files that the limits leave something to read of are opened. */
#include "cairn/file.h"
#include "data.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORD = 1 + PIXELS, CIFAR10_CLASSES = 10 };

static cairn_status read_bin(const char *path, int count, uint8_t *images, uint8_t *labels) {
    const record_file file = {path, BATCH_COUNT, 1};
    return cairn_records_read(&file, count, images, labels);
}

/* Mapped, so that the pixels are copied once and the file costs no memory of its own. */
static cairn_status read_py(const char *path, int count, uint8_t *images, uint8_t *labels) {
    int fd;
    size_t size = 0;
    cairn_status status = cairn_data_file_open(path, &fd, &size);
    if (status)
        return status;
    void *bytes = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (bytes == MAP_FAILED) {
        status = cairn_error_set(CAIRN_FAILED, "%s: cannot map: %s", path, strerror(errno));
    } else {
        if (bytes)
            (void)madvise(bytes, size, MADV_WILLNEED); /* advice: refusal costs only speed */
        status = cairn_pickle_batch(bytes, size, path, count, images, labels);
        if (bytes)
            munmap(bytes, size);
    }
    close(fd);
    return status;
}

/* Where the files lie and how they are written. */
typedef struct {
    const char *folder;      /* below data.dir; "" is data.dir itself */
    const char *suffix;      /* of the files' names */
    off_t smallest, largest; /* sizes that a file can have */
    cairn_status (*read)(const char *path, int count, uint8_t *images, uint8_t *labels);
} layout;

/* A pickle holds at least the pixels; at most, as UTF-8 text, twice as many bytes, and names. */
static const layout layouts[] = {
    {"/cifar-10-batches-bin", ".bin", BATCH_COUNT *RECORD, BATCH_COUNT *RECORD, read_bin},
    {"", ".bin", BATCH_COUNT *RECORD, BATCH_COUNT *RECORD, read_bin},
    {"/cifar-10-batches-py", "", BATCH_COUNT *PIXELS, 3 * BATCH_COUNT *PIXELS, read_py},
    {"", "", BATCH_COUNT *PIXELS, 3 * BATCH_COUNT *PIXELS, read_py},
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

/* The path of training file 1..5, or with 0 of the test file. */
static cairn_status batch_path(char out[PATH_MAX], const char *dir, const layout *where,
                               int number) {
    if (number == TEST_BATCH)
        return cairn_path_format(out, PATH_MAX, "%s%s/test_batch%s", dir, where->folder,
                                 where->suffix);
    return cairn_path_format(out, PATH_MAX, "%s%s/data_batch_%d%s", dir, where->folder, number + 1,
                             where->suffix);
}

/* The first layout of which any file is there. */
static const layout *find_layout(const char *dir) {
    char path[PATH_MAX];
    for (int i = 0; i < LAYOUTS; i++) {
        if (cairn_path_format(path, sizeof path, "%s%s", dir, layouts[i].folder) ||
            !cairn_folder_exists(path))
            continue;
        for (int number = 0; number <= TEST_BATCH; number++)
            if (!batch_path(path, dir, &layouts[i], number) && cairn_file_exists(path))
                return &layouts[i];
    }
    return NULL;
}

bool cairn_cifar10_complete(const char *dir) {
    const layout *where = find_layout(dir);
    char path[PATH_MAX];
    struct stat info;
    for (int number = 0; where && number <= TEST_BATCH; number++)
        if (batch_path(path, dir, where, number) || stat(path, &info) != 0 ||
            info.st_size < where->smallest || info.st_size > where->largest)
            return false;
    return where != NULL;
}

/* Fills the split from the files `number`, `number` + 1, ... */
static cairn_status read_split(const char *dir, const layout *where, int number,
                               cairn_split *split) {
    char path[PATH_MAX];
    for (int done = 0, count; done < split->count; done += count, number++) {
        uint8_t *labels = split->labels + done;
        count = split->count - done < BATCH_COUNT ? split->count - done : BATCH_COUNT;
        cairn_status status = batch_path(path, dir, where, number);
        if (!status)
            status = where->read(path, count, split->images + (size_t)done * PIXELS, labels);
        if (!status)
            status = cairn_labels_check(path, labels, count, CIFAR10_CLASSES);
        if (status)
            return status;
    }
    return CAIRN_OK;
}

void cairn_cifar10_describe(cairn_dataset *dataset) {
    static const char *const names[CIFAR10_CLASSES] = {
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
    static const float mean[] = {0.4914f, 0.4822f, 0.4465f}, std[] = {0.2470f, 0.2435f, 0.2616f};
    dataset->classes = CIFAR10_CLASSES;
    for (int label = 0; label < CIFAR10_CLASSES; label++)
        strcpy(dataset->class_names[label], names[label]);
    memcpy(dataset->mean, mean, sizeof mean);
    memcpy(dataset->std, std, sizeof std);
}

cairn_status cairn_cifar10_load(cairn_dataset *dataset, const cairn_config *config) {
    const char *dir = config->data.dir;
    const layout *where = find_layout(dir);
    char names[PATH_MAX];
    if (!where)
        return cairn_data_missing(dir, "holds neither cifar-10-batches-bin nor cifar-10-batches-py",
                                  "cifar10");
    cairn_status status =
        cairn_path_format(names, sizeof names, "%s%s/batches.meta.txt", dir, where->folder);
    if (!status)
        status = cairn_class_names_read(dataset, names);
    if (!status)
        status = read_split(dir, where, 0, &dataset->train);
    if (!status)
        status = read_split(dir, where, TEST_BATCH, &dataset->test);
    return status;
}
