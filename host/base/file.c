/* Paths, folders and whole-file reading behind cairn/file.h; file_write.c writes. */
#include "cairn/file.h"

#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
        bool made = mkdir(partial, 0777) == 0;
        if ((!made && errno != EEXIST) || (made && cairn_sync_folder_of(partial) != 0))
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

cairn_status cairn_file_read_begin(const char *path, void *out, size_t count, uint64_t *size) {
    struct stat info;
    size_t got = 0;
    cairn_status status = CAIRN_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cairn_error_set(errno == ENOENT ? CAIRN_BAD_INPUT : CAIRN_FAILED,
                               "%s: cannot open: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = cairn_error_set(CAIRN_BAD_INPUT, "%s: is not a regular file", path);
    else
        status = read_all(fd, path, out, count, &got);
    close(fd);
    *size = status ? 0 : got < count ? got : (uint64_t)info.st_size;
    return status;
}
