/* What CIFAR's binary files have in common: records of labels and pixels, and lists of names. */
#include "cairn/file.h"
#include "cairn/text.h"
#include "data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

cairn_status cairn_data_missing(const char *dir, const char *lacks, const char *name) {
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "%s: %s; `cairn data get --name %s --dir %s` fetches the data; -S "
                           "data.name=synthetic trains on built-in data instead",
                           dir, cairn_folder_exists(dir) ? lacks : "there is no such folder", name,
                           dir);
}

cairn_status cairn_data_file_open(const char *path, int *fd, size_t *size) {
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: the file is missing; `cairn data get` fetches the data", path);
    if (*fd < 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(*fd);
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is not a regular file", path);
    }
    *size = (size_t)info.st_size;
    return CAIRN_OK;
}

/* `count` records, scattered straight to their places: of a record's label bytes the last counts,
 * the others go to `dropped`. A read may stop anywhere; the next goes on from there. */
static cairn_status scatter(int fd, const record_file *file, int count, uint8_t *images,
                            uint8_t *labels) {
    enum { PARTS = 1024, PARTS_A_RECORD = 3 }; /* as many as the kernel takes */
    struct iovec parts[PARTS];
    uint8_t dropped[LABEL_BYTES_MAX] = {0};
    const size_t label = (size_t)file->label_bytes - 1, record_bytes = label + 1 + PIXELS;
    const size_t total = (size_t)count * record_bytes;
    for (size_t at = 0; at < total;) {
        size_t record = at / record_bytes, within = at % record_bytes;
        int used = 0;
        for (; record < (size_t)count && used + PARTS_A_RECORD <= PARTS; record++, within = 0) {
            const struct {
                uint8_t *to;
                size_t begin, end; /* within the record */
            } pieces[PARTS_A_RECORD] = {{dropped, 0, label},
                                        {labels + record, label, label + 1},
                                        {images + record * PIXELS, label + 1, record_bytes}};
            for (int i = 0; i < PARTS_A_RECORD; i++) {
                size_t begin = within > pieces[i].begin ? within : pieces[i].begin;
                if (begin < pieces[i].end)
                    parts[used++] = (struct iovec){pieces[i].to + begin - pieces[i].begin,
                                                   pieces[i].end - begin};
            }
        }
        ssize_t got = preadv(fd, parts, used, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return cairn_error_set(CAIRN_FAILED, "%s: cannot read record %zu: %s", file->path,
                                   at / record_bytes,
                                   got < 0 ? strerror(errno) : "the file became shorter");
        at += (size_t)got;
    }
    return CAIRN_OK;
}

cairn_status cairn_records_read(const record_file *file, int count, uint8_t *images,
                                uint8_t *labels) {
    int fd;
    size_t record = (size_t)file->label_bytes + PIXELS, size = 0;
    size_t wanted = (size_t)file->records * record;
    cairn_status status = cairn_data_file_open(file->path, &fd, &size);
    if (status)
        return status;
    if (size != wanted)
        status = cairn_error_set(CAIRN_BAD_INPUT,
                                 "%s: the file is %s: %zu bytes; %d records of %zu make %zu",
                                 file->path, size < wanted ? "truncated" : "too large", size,
                                 file->records, record, wanted);
    else
        status = scatter(fd, file, count, images, labels);
    close(fd);
    return status;
}

cairn_status cairn_labels_check(const char *path, const uint8_t *labels, int count, int classes) {
    for (int i = 0; i < count; i++)
        if (labels[i] >= classes)
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "%s: record %d: the label is %d; labels go from 0 to %d", path,
                                   i, labels[i], classes - 1);
    return CAIRN_OK;
}

enum { NAMES_MAX = 1 << 20 }; /* bytes of a list of names: 256 of 255 are a sixteenth of it */

cairn_status cairn_class_names_read(cairn_dataset *dataset, const char *path) {
    uint8_t *file = NULL;
    size_t size;
    if (!cairn_file_exists(path))
        return CAIRN_OK;
    cairn_status status = cairn_file_read_at_most(path, NAMES_MAX, &file, &size);
    if (status)
        return status;
    char *text = (char *)file;
    int count = 0;
    cairn_status plain = CAIRN_OK;
    while (text && *(text += strspn(text, " \t\r\n"))) {
        const size_t longest = sizeof dataset->class_names[0] - 1;
        char *name = strsep(&text, "\r\n");
        if (strlen(name) > longest || !cairn_text_is_plain(name))
            plain = cairn_error_set(CAIRN_BAD_INPUT, NOT_A_CLASS_NAME, path, name, longest);
        else if (count < dataset->classes)
            strcpy(dataset->class_names[count], name);
        count++;
    }
    free(file);
    if (plain)
        return plain;
    if (count != dataset->classes)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: has %d class %s; there are %d classes", path,
                               count, cairn_noun(count, "name", "names"), dataset->classes);
    return CAIRN_OK;
}
