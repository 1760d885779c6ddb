/* Writing behind cairn/file.h: whole files that appear at once, and what a user names for output.
 */
#include "cairn/file.h"

#include "sync.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Marks a file that is being written: <path>.tmp-XXXXXX. */
#define TEMPORARY ".tmp-"
enum { LETTERS = 6, TRIES = 100 };

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

/* Writes letters that nobody can foresee to the end of `path`. */
static bool draw_letters(char *path) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEF";
    unsigned char random[LETTERS];
    char *end = path + strlen(path) - LETTERS;
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return false;
    for (int i = 0; i < LETTERS; i++)
        end[i] = letters[random[i] % (sizeof letters - 1)];
    return true;
}

/* A file has its mode from the start: to change one is refused by the file systems of others (CIFS,
 * drvfs). */
static int open_temporary(char *path) {
    int fd = -1;
    for (int tries = 0; tries < TRIES && fd < 0 && draw_letters(path); tries++) {
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    return fd;
}

static bool link_temporary(const char *file, char *path) {
    for (int tries = 0; tries < TRIES && draw_letters(path); tries++) {
        if (link(file, path) == 0)
            return true;
        if (errno != EEXIST)
            break;
    }
    return false;
}

/* `kept`: the file whose owner and mode the new one is to have, as far as that can be; or NULL. */
static cairn_status replace(const char *path, struct iovec *parts, size_t count,
                            const struct stat *kept) {
    char temporary[PATH_MAX];
    cairn_status status =
        cairn_path_format(temporary, sizeof temporary, "%s" TEMPORARY "XXXXXX", path);
    if (status)
        return status;
    int fd = open_temporary(temporary);
    if (fd < 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", path, strerror(errno));
    if (kept && fchown(fd, kept->st_uid, kept->st_gid) == 0)
        (void)fchmod(fd, kept->st_mode & 07777);
    else if (kept)
        (void)fchmod(fd, kept->st_mode & 0777);
    int failed = write_all(fd, parts, count) != 0 || cairn_sync(fd) != 0;
    int error = errno;
    if (close(fd) != 0 && !failed) {
        failed = 1;
        error = errno;
    }
    if (!failed && (rename(temporary, path) != 0 || cairn_sync_folder_of(path) != 0)) {
        failed = 1;
        error = errno;
    }
    if (failed) {
        unlink(temporary);
        return cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", path, strerror(error));
    }
    return CAIRN_OK;
}

cairn_status cairn_file_write_parts(const char *path, struct iovec *parts, size_t count) {
    return replace(path, parts, count, NULL);
}

cairn_status cairn_file_write(const char *path, const void *data, size_t size) {
    struct iovec whole = {(void *)data, size};
    return cairn_file_write_parts(path, &whole, 1);
}

/* The number behind /dev/stdout and its like; -1: it is none. What is open there may have a place
 * to go on from, which its name has not. */
static int descriptor_of(const char *path) {
    int number = -1, length = 0;
    if (strcmp(path, "/dev/stdout") == 0)
        return STDOUT_FILENO;
    if (strcmp(path, "/dev/stderr") == 0)
        return STDERR_FILENO;
    if ((sscanf(path, "/dev/fd/%9d%n", &number, &length) == 1 ||
         sscanf(path, "/proc/self/fd/%9d%n", &number, &length) == 1) &&
        path[length] == '\0')
        return number;
    return -1;
}

/* Where the links from `path` lead, whether anything is there or not. */
static cairn_status follow_links(const char *path, char target[PATH_MAX]) {
    enum { LINKS = 40 }; /* as many as the kernel follows */
    char to[PATH_MAX], folder[PATH_MAX];
    cairn_status status = cairn_path_format(target, PATH_MAX, "%s", path);
    for (int links = 0; !status; links++) {
        ssize_t length = readlink(target, to, sizeof to - 1);
        if (length < 0)
            return CAIRN_OK;
        if (links == LINKS)
            return cairn_error_set(CAIRN_BAD_INPUT, "%s: cannot write: %s", path, strerror(ELOOP));
        to[length] = '\0';
        cairn_split_path(target, folder);
        status = *to == '/' ? cairn_path_format(target, PATH_MAX, "%s", to)
                            : cairn_path_format(target, PATH_MAX, "%s/%s", folder, to);
    }
    return status;
}

/* Into what is there already and is no file. */
static cairn_status pour(const char *path, int fd, struct iovec *parts, size_t count) {
    int failed = fd < 0 || write_all(fd, parts, count) != 0;
    int error = errno;
    if (fd >= 0 && close(fd) != 0 && !failed) {
        failed = 1;
        error = errno;
    }
    return failed ? cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", path, strerror(error))
                  : CAIRN_OK;
}

cairn_status cairn_file_write_output_parts(const char *path, struct iovec *parts, size_t count) {
    char target[PATH_MAX];
    struct stat info;
    int open_already = descriptor_of(path);
    if (open_already >= 0) {
        fflush(stdout);
        return pour(path, fcntl(open_already, F_DUPFD_CLOEXEC, 0), parts, count);
    }
    bool there = stat(path, &info) == 0;
    if (there && !S_ISREG(info.st_mode))
        return pour(path, open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC), parts, count);
    cairn_status status = follow_links(path, target);
    return status ? status : replace(target, parts, count, there ? &info : NULL);
}

cairn_status cairn_file_write_output(const char *path, const void *data, size_t size) {
    struct iovec whole = {(void *)data, size};
    return cairn_file_write_output_parts(path, &whole, 1);
}

cairn_status cairn_file_keep(const char *path, const char *kept) {
    char temporary[PATH_MAX];
    cairn_status status =
        cairn_path_format(temporary, sizeof temporary, "%s" TEMPORARY "XXXXXX", kept);
    if (status || !cairn_file_exists(path))
        return status;
    if (link_temporary(path, temporary)) {
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
    const char *name = cairn_split_path(path, folder);
    size_t length = strlen(name), mark = strlen(TEMPORARY);
    DIR *entries = opendir(folder);
    if (!entries)
        return;
    for (struct dirent *entry; (entry = readdir(entries));)
        if (strncmp(entry->d_name, name, length) == 0 &&
            strncmp(entry->d_name + length, TEMPORARY, mark) == 0 &&
            strlen(entry->d_name) == length + mark + LETTERS)
            unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
}
