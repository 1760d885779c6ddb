/* The faults of test_faults: calls of the C library that fail when they are told to. The linker's
 * --wrap puts these functions before the library's, so this is included by one file alone. */
#ifndef CAIRN_TESTS_FAULTS_H
#define CAIRN_TESTS_FAULTS_H

#include "cairn/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
    const char *call; /* NULL: none */
    atomic_int left;  /* calls until it fails, this one included */
    int error;        /* errno; 0: the call does half of what it should */
    bool met;
} fault;

static bool fails(const char *call) {
    if (!fault.call || strcmp(fault.call, call) != 0 || atomic_fetch_sub(&fault.left, 1) != 1)
        return false;
    fault.met = true;
    errno = fault.error;
    return true;
}

#define WRAP(result, call, parameters, arguments, failed)                                          \
    result __real_##call parameters;                                                               \
    result __wrap_##call parameters;                                                               \
    result __wrap_##call parameters {                                                              \
        return fails(#call) ? (failed) : __real_##call arguments;                                  \
    }

WRAP(void *, malloc, (size_t size), (size), NULL)
WRAP(void *, calloc, (size_t count, size_t size), (count, size), NULL)
WRAP(void *, realloc, (void *old, size_t size), (old, size), NULL)
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size), NULL)
WRAP(char *, strdup, (const char *text), (text), NULL)
WRAP(FILE *, open_memstream, (char **text, size_t *size), (text, size), NULL)
WRAP(int, fstat, (int fd, struct stat *info), (fd, info), -1)
WRAP(int, fsync, (int fd), (fd), -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1)
WRAP(int, link, (const char *from, const char *to), (from, to), -1)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
WRAP(DIR *, opendir, (const char *path), (path), NULL)
WRAP(void *, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset), MAP_FAILED)
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument),
     (thread, attributes, run, argument), fault.error)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return fails("open") ? -1 : __real_open(path, flags, mode);
}

/* A failed close has closed all the same. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
    int status = __real_close(fd);
    return fails("close") ? -1 : status;
}

static size_t half(size_t size) {
    return size > 1 ? size / 2 : size;
}

ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size) {
    if (!fails("read"))
        return __real_read(fd, data, size);
    return fault.error ? -1 : __real_read(fd, data, half(size));
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (!fails("write"))
        return __real_write(fd, data, size);
    return fault.error ? -1 : __real_write(fd, data, half(size));
}

ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count) {
    if (!fails("writev"))
        return __real_writev(fd, parts, count);
    struct iovec some[1024]; /* up to the middle of the middle one */
    int last = count / 2;
    memcpy(some, parts, ((size_t)last + 1) * sizeof *some);
    some[last].iov_len = half(some[last].iov_len);
    return fault.error ? -1 : __real_writev(fd, some, last + 1);
}

ssize_t __real_preadv(int fd, const struct iovec *parts, int count, off_t offset);
ssize_t __wrap_preadv(int fd, const struct iovec *parts, int count, off_t offset);
ssize_t __wrap_preadv(int fd, const struct iovec *parts, int count, off_t offset) {
    if (!fails("preadv"))
        return __real_preadv(fd, parts, count, offset);
    struct iovec first = {parts[0].iov_base, half(parts[0].iov_len)};
    return fault.error ? -1 : __real_preadv(fd, &first, 1, offset);
}

/* What fails, and how. `harmless`: the caller tries again or goes on, and nothing is lost. */
typedef struct {
    const char *call;
    int error;
    bool harmless;
} fault_kind;

static const fault_kind kinds[] = {
    {"malloc", ENOMEM, false},  {"calloc", ENOMEM, false},
    {"realloc", ENOMEM, false}, {"aligned_alloc", ENOMEM, false},
    {"strdup", ENOMEM, false},  {"open_memstream", ENOMEM, false},
    {"open", EACCES, false},    {"open", EMFILE, false},
    {"read", EIO, false},       {"read", EINTR, true},
    {"read", 0, true},          {"write", ENOSPC, false},
    {"write", EIO, false},      {"write", EINTR, true},
    {"write", 0, true},         {"writev", ENOSPC, false},
    {"writev", EIO, false},     {"writev", EINTR, true},
    {"writev", 0, true},        {"preadv", EIO, false},
    {"preadv", EINTR, true},    {"preadv", 0, true},
    {"close", EIO, false},      {"fsync", EIO, false},
    {"fsync", ENOSPC, false},   {"rename", EACCES, false},
    {"link", EPERM, true},      {"mkdir", EROFS, false},
    {"opendir", EMFILE, false}, {"fstat", EIO, false},
    {"mmap", ENOMEM, false},    {"pthread_create", EAGAIN, true},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], CALLS_MAX = 5000 };

/* The first call that fails, and from one to the next. */
static int stride_of(const fault_kind *kind, int *first) {
    const char *asked = getenv("CAIRN_TEST_FAULTS");
    bool few = asked && strcmp(asked, "few") == 0;
    bool all = (kind->error != ENOMEM && !few) || (asked && strcmp(asked, "all") == 0);
    int stride = all ? 1 : few ? 30 : 10;
    *first = 1 + (int)(time(NULL) % stride);
    return stride;
}

static void arm(const fault_kind *kind, int nth) {
    fault.call = kind->call;
    fault.left = nth;
    fault.error = kind->error;
    fault.met = false;
}

static void disarm(void) {
    fault.call = NULL;
}

/* A call that failed must have said so, in one line; a harmless fault must not have mattered. */
static void assert_told(cairn_status status, const fault_kind *kind, int nth) {
    const char *message = cairn_error_message();
    bool told = status && *message && !strchr(message, '\n');
    if ((status && kind->harmless) || (status && !told))
        fail_msg("%s number %d, errno %d: status %d: %s", kind->call, nth, kind->error, (int)status,
                 message);
}

#endif
