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
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { RECORD = 1 + PIXELS };

#define HOW_TO_GET                                                                                 \
    "`cairn data get` fetches the data; -S data.name=synthetic trains on built-in data instead"

/* Opens a regular file and tells its size. */
static cairn_status open_file(const char *path, int *fd, size_t *size) {
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: the file is missing; " HOW_TO_GET, path);
    if (*fd < 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(*fd);
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is not a regular file", path);
    }
    *size = (size_t)info.st_size;
    return CAIRN_OK;
}

/* The first `count` records, scattered straight to their places. A read may stop anywhere; the next
 * goes on from there. */
static cairn_status read_records(int fd, const char *path, int count, uint8_t *images,
                                 uint8_t *labels) {
    enum { PARTS = 1024 }; /* as many as the kernel takes */
    struct iovec parts[PARTS];
    size_t total = (size_t)count * RECORD;
    for (size_t at = 0; at < total;) {
        size_t record = at / RECORD, within = at % RECORD;
        int used = 0;
        if (within) { /* the label has been read, and some pixels */
            parts[used++] = (struct iovec){images + record * PIXELS + within - 1, RECORD - within};
            record++;
        }
        for (; record < (size_t)count && used + 2 <= PARTS; record++) {
            parts[used++] = (struct iovec){labels + record, 1};
            parts[used++] = (struct iovec){images + record * PIXELS, PIXELS};
        }
        ssize_t got = preadv(fd, parts, used, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return cairn_error_set(CAIRN_FAILED, "%s: cannot read record %zu: %s", path,
                                   at / RECORD,
                                   got < 0 ? strerror(errno) : "the file became shorter");
        at += (size_t)got;
    }
    return CAIRN_OK;
}

static cairn_status read_bin(const char *path, int count, uint8_t *images, uint8_t *labels) {
    int fd;
    size_t size = 0, wanted = (size_t)BATCH_COUNT * RECORD;
    cairn_status status = open_file(path, &fd, &size);
    if (status)
        return status;
    if (size != wanted)
        status = cairn_error_set(
            CAIRN_BAD_INPUT, "%s: the file is %s: %zu bytes; %d records of %d make %zu", path,
            size < wanted ? "truncated" : "too large", size, BATCH_COUNT, RECORD, wanted);
    else
        status = read_records(fd, path, count, images, labels);
    close(fd);
    return status;
}

/* Mapped, so that the pixels are copied once and the file costs no memory of its own. */
static cairn_status read_py(const char *path, int count, uint8_t *images, uint8_t *labels) {
    int fd;
    size_t size = 0;
    cairn_status status = open_file(path, &fd, &size);
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

/* Records `skip`, `skip` + 1, ... of a file. */
static cairn_status read_part(const layout *where, const char *path, int skip, int count,
                              uint8_t *images, uint8_t *labels) {
    if (skip == 0)
        return where->read(path, count, images, labels);
    size_t total = (size_t)skip + (size_t)count;
    uint8_t *pixels = malloc(total * PIXELS), *classes = malloc(total);
    cairn_status status =
        pixels && classes ? where->read(path, (int)total, pixels, classes)
                          : cairn_error_set(CAIRN_FAILED, "out of memory for %zu images", total);
    if (!status) {
        memcpy(images, pixels + (size_t)skip * PIXELS, (size_t)count * PIXELS);
        memcpy(labels, classes + skip, (size_t)count);
    }
    free(pixels);
    free(classes);
    return status;
}

/* Fills the split with the images from `from` on, as they are counted through all files. */
static cairn_status read_split(const char *dir, const layout *where, int from, cairn_split *split) {
    char path[PATH_MAX];
    for (int done = 0, count; done < split->count; done += count) {
        int number = (from + done) / BATCH_COUNT, skip = (from + done) % BATCH_COUNT;
        uint8_t *labels = split->labels + done;
        count = split->count - done;
        if (count > BATCH_COUNT - skip)
            count = BATCH_COUNT - skip;
        cairn_status status = batch_path(path, dir, where, number);
        if (!status)
            status =
                read_part(where, path, skip, count, split->images + (size_t)done * PIXELS, labels);
        if (status)
            return status;
        for (int i = 0; i < count; i++)
            if (labels[i] >= CLASSES)
                return cairn_error_set(CAIRN_BAD_INPUT,
                                       "%s: record %d: the label is %d; labels go from 0 to %d",
                                       path, skip + i, labels[i], CLASSES - 1);
    }
    return CAIRN_OK;
}

void cairn_cifar10_describe(cairn_dataset *dataset) {
    static const char *const names[CLASSES] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                               "dog",      "frog",       "horse", "ship", "truck"};
    static const float mean[] = {0.4914f, 0.4822f, 0.4465f}, std[] = {0.2470f, 0.2435f, 0.2616f};
    for (int class = 0; class < CLASSES; class ++)
        strcpy(dataset->class_names[class], names[class]);
    memcpy(dataset->mean, mean, sizeof mean);
    memcpy(dataset->std, std, sizeof std);
}

static bool is_printable(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

/* batches.meta.txt, where there is one, may name the classes otherwise. */
static cairn_status read_class_names(cairn_dataset *dataset, const char *dir, const layout *where) {
    char path[PATH_MAX];
    uint8_t *file = NULL;
    size_t size;
    cairn_status status =
        cairn_path_format(path, sizeof path, "%s%s/batches.meta.txt", dir, where->folder);
    if (status || !cairn_file_exists(path))
        return status;
    status = cairn_file_read(path, &file, &size);
    if (status)
        return status;
    const char *text = (const char *)file;
    int count = 0;
    bool printable = true;
    while (*(text += strspn(text, " \t\r\n"))) {
        size_t length = strcspn(text, "\r\n");
        printable = printable && is_printable(text, length);
        if (count < CLASSES)
            snprintf(dataset->class_names[count], sizeof dataset->class_names[count], "%.*s",
                     (int)(length < 31 ? length : 31), text);
        count++;
        text += length;
    }
    free(file);
    if (!printable)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: a class name has a control character", path);
    if (count != CLASSES)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: has %d class names; there are %d classes",
                               path, count, CLASSES);
    return CAIRN_OK;
}

cairn_status cairn_cifar10_load(cairn_dataset *dataset, const char *dir) {
    const layout *where = find_layout(dir);
    if (!where)
        return cairn_error_set(
            CAIRN_BAD_INPUT,
            "%s: holds neither cifar-10-batches-bin nor cifar-10-batches-py; " HOW_TO_GET, dir);
    cairn_status status = read_class_names(dataset, dir, where);
    if (!status)
        status = read_split(dir, where, 0, &dataset->train);
    if (!status)
        status = read_split(dir, where, dataset->test_from, &dataset->test);
    return status;
}
