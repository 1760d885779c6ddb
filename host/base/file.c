/* Whole-file reading and atomic writing behind cairn/file.h. */
#include "cairn/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Marks a file that is being written: <path>.tmp-XXXXXX. */
#define TEMPORARY ".tmp-"

cairn_status cairn_path_format(char *out, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(out, size, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= size)
        return cairn_error_set(CAIRN_BAD_INPUT, "path too long (limit %zu bytes): %.80s...",
                               size - 1, out);
    return CAIRN_OK;
}

bool cairn_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool cairn_folder_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

cairn_status cairn_folder_make(const char *path) {
    char partial[PATH_MAX];
    cairn_status status = cairn_path_format(partial, sizeof partial, "%s", path);
    if (status)
        return status;
    for (char *slash = partial + 1;; slash++) {
        if (*slash != '/' && *slash != '\0')
            continue;
        char kept = *slash;
        *slash = '\0';
        if (mkdir(partial, 0777) != 0 && errno != EEXIST)
            return cairn_error_set(CAIRN_FAILED, "%s: cannot make the folder: %s", partial,
                                   strerror(errno));
        if (kept == '\0')
            break;
        *slash = kept;
    }
    if (!cairn_folder_exists(path))
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is not a folder", path);
    return CAIRN_OK;
}

static cairn_status read_all(int fd, const char *path, uint8_t *data, size_t capacity,
                             size_t *size) {
    *size = 0;
    while (*size < capacity) {
        ssize_t got = read(fd, data + *size, capacity - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cairn_error_set(CAIRN_FAILED, "%s: cannot read: %s", path, strerror(errno));
        if (got == 0)
            break;
        *size += (size_t)got;
    }
    return CAIRN_OK;
}

cairn_status cairn_file_read(const char *path, uint8_t **data, size_t *size) {
    return cairn_file_read_at_most(path, SIZE_MAX, data, size);
}

cairn_status cairn_file_read_at_most(const char *path, size_t most, uint8_t **data, size_t *size) {
    cairn_status status = CAIRN_OK;
    uint8_t *bytes = NULL;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* no pipe is waited for */
    if (fd < 0)
        return cairn_error_set(errno == ENOENT ? CAIRN_BAD_INPUT : CAIRN_FAILED,
                               "%s: cannot open: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = cairn_error_set(CAIRN_BAD_INPUT, "%s: is not a regular file", path);
        goto done;
    }
    if ((uintmax_t)info.st_size > most) {
        status = cairn_error_set(CAIRN_BAD_INPUT, "%s: is %lld bytes long; at most %zu are read",
                                 path, (long long)info.st_size, most);
        goto done;
    }
    bytes = malloc((size_t)info.st_size + 1);
    if (!bytes) {
        status = cairn_error_set(CAIRN_FAILED, "%s: out of memory for its %lld bytes", path,
                                 (long long)info.st_size);
        goto done;
    }
    status = read_all(fd, path, bytes, (size_t)info.st_size, size);
done:
    close(fd);
    if (status) {
        free(bytes);
        return status;
    }
    bytes[*size] = 0;
    *data = bytes;
    return CAIRN_OK;
}

static int write_all(int fd, struct iovec *parts, size_t count) {
    enum { PARTS = 1024 }; /* as many as the kernel takes */
    while (count > 0) {
        ssize_t put = writev(fd, parts, count < PARTS ? (int)count : PARTS);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        size_t done = (size_t)put;
        for (; count > 0 && done >= parts->iov_len; parts++, count--)
            done -= parts->iov_len;
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + done;
            parts->iov_len -= done;
        }
    }
    return 0;
}

/* Splits a path: its folder into `folder` [PATH_MAX], ending in a slash or ".". Returns the name.
 */
static const char *folder_of(const char *path, char *folder) {
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) + 1 : 1;
    snprintf(folder, PATH_MAX, "%.*s", length, slash ? path : ".");
    return slash ? slash + 1 : path;
}

/* A rename is durable only once its folder is. Some file systems refuse to sync a folder; they
 * order renames themselves. */
static int sync_folder_of(const char *path) {
    char folder[PATH_MAX];
    folder_of(path, folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int failed = fsync(fd) != 0 && errno != EINVAL;
    close(fd);
    return failed ? -1 : 0;
}

cairn_status cairn_file_write_parts(const char *path, struct iovec *parts, size_t count) {
    char temporary[PATH_MAX];
    cairn_status status =
        cairn_path_format(temporary, sizeof temporary, "%s" TEMPORARY "XXXXXX", path);
    if (status)
        return status;
    int fd = mkstemp(temporary);
    if (fd < 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", path, strerror(errno));
    mode_t mask = umask(0);
    umask(mask);
    int failed =
        fchmod(fd, 0666 & ~mask) != 0 || write_all(fd, parts, count) != 0 || fsync(fd) != 0;
    int error = errno;
    if (close(fd) != 0 && !failed) {
        failed = 1;
        error = errno;
    }
    if (!failed && (rename(temporary, path) != 0 || sync_folder_of(path) != 0)) {
        failed = 1;
        error = errno;
    }
    if (failed) {
        unlink(temporary);
        return cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", path, strerror(error));
    }
    return CAIRN_OK;
}

cairn_status cairn_file_write(const char *path, const void *data, size_t size) {
    struct iovec whole = {(void *)data, size};
    return cairn_file_write_parts(path, &whole, 1);
}

cairn_status cairn_file_keep(const char *path, const char *kept) {
    char temporary[PATH_MAX];
    cairn_status status =
        cairn_path_format(temporary, sizeof temporary, "%s" TEMPORARY "linked", kept);
    if (status || !cairn_file_exists(path))
        return status;
    unlink(temporary); /* of a process that was killed right here */
    if (link(path, temporary) == 0) {
        if (rename(temporary, kept) != 0)
            status = cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", kept, strerror(errno));
        unlink(temporary); /* a rename between two names of one file leaves both */
        return status;
    }
    uint8_t *bytes = NULL;
    size_t size = 0;
    status = cairn_file_read(path, &bytes, &size);
    if (!status)
        status = cairn_file_write(kept, bytes, size);
    free(bytes);
    return status;
}

void cairn_file_sweep(const char *path) {
    char folder[PATH_MAX];
    const char *name = folder_of(path, folder);
    size_t length = strlen(name), mark = strlen(TEMPORARY);
    DIR *entries = opendir(folder);
    if (!entries)
        return;
    for (struct dirent *entry; (entry = readdir(entries));)
        if (strncmp(entry->d_name, name, length) == 0 &&
            strncmp(entry->d_name + length, TEMPORARY, mark) == 0 &&
            strlen(entry->d_name) == length + mark + 6)
            unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
}
