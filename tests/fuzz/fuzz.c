/* Behind fuzz.h. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void fuzz_check(bool holds, const char *what) {
    if (holds)
        return;
    fprintf(stderr, "fuzz: this does not hold: %s\nfuzz: last message: %s\n", what,
            cairn_error_message());
    abort();
}

void fuzz_check_status(cairn_status status) {
    if (!status)
        return;
    const char *message = cairn_error_message();
    fuzz_check(status == CAIRN_BAD_INPUT, "bad input is the input's fault");
    fuzz_check(*message != '\0', "a refusal has a message");
    for (; *message; message++)
        fuzz_check((unsigned char)*message >= 0x20 && *message != 0x7f, "a message is printable");
}

/* Files ---------------------------------------------------------------------------------------- */

void fuzz_write(int fd, const void *data, size_t size, size_t offset) {
    for (size_t done = 0; done < size;) {
        ssize_t put = pwrite(fd, (const char *)data + done, size - done, (off_t)(offset + done));
        fuzz_check(put > 0 || errno == EINTR, "the harness can write its files");
        done += put > 0 ? (size_t)put : 0;
    }
}

const char *fuzz_file(const uint8_t *data, size_t size) {
    static char path[64];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("cairn-fuzz", MFD_CLOEXEC);
        fuzz_check(fd >= 0, "the harness can make a file in memory");
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    fuzz_check(ftruncate(fd, (off_t)size) == 0, "the harness can size its file");
    fuzz_write(fd, data, size, 0);
    return path;
}

static char folder[PATH_MAX / 2];

/* Deletes a folder's content, links not followed, and the folder. */
static void remove_below(const char *path) {
    char below[PATH_MAX];
    DIR *open = opendir(path);
    for (struct dirent *entry; open && (entry = readdir(open));) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (lstat(below, &info) == 0 && S_ISDIR(info.st_mode))
            remove_below(below);
        else
            unlink(below);
    }
    if (open)
        closedir(open);
    rmdir(path);
}

static void remove_folder(void) {
    remove_below(folder);
}

const char *fuzz_folder(void) {
    if (!folder[0]) {
        const char *parent = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/cairn-fuzz-XXXXXX", parent ? parent : "/tmp");
        fuzz_check(mkdtemp(folder) != NULL, "the harness can make its folder");
        atexit(remove_folder);
    }
    return folder;
}

int fuzz_open(const char *name) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    fuzz_check(fd >= 0, "the harness can make its files");
    return fd;
}

/* Mutation ------------------------------------------------------------------------------------- */

#ifdef CAIRN_FUZZ
size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
    enum { LENGTH = 8 };
    uint64_t header = 0;
    if (size >= LENGTH)
        memcpy(&header, data, LENGTH);
    if (size < LENGTH || header > size - LENGTH || seed % 8 == 0)
        return LLVMFuzzerMutate(data, size, capacity);
    size_t rest = size - LENGTH - header;
    if (rest && seed % 8 == 1) /* the tensors' bytes alone */
        return size - rest + LLVMFuzzerMutate(data + size - rest, rest, capacity - size + rest);
    uint8_t *tail = malloc(rest + 1);
    if (!tail)
        return size;
    memcpy(tail, data + size - rest, rest);
    header = LLVMFuzzerMutate(data + LENGTH, header, capacity - LENGTH - rest);
    memcpy(data, &header, LENGTH);
    memcpy(data + LENGTH + header, tail, rest);
    free(tail);
    return LENGTH + header + rest;
}
#endif
