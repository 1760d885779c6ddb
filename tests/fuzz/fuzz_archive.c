/* Archives for `cairn data get`: whatever one holds, nothing is left in the data folder unless it
 * is complete, and nothing at all beside it. */
#include "cairn/dataset.h"
#include "fuzz.h"

#include <archive.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int entries(const char *path) {
    int count = 0;
    DIR *folder = opendir(path);
    fuzz_check(folder != NULL, "the folder is still there");
    for (struct dirent *entry; (entry = readdir(folder));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return count;
}

/* Whether gzip, or a sparse file's holes, make much of it. Writing that takes long and shows
 * nothing new; e2e/data.bats has the limits. */
static bool is_large(const uint8_t *data, size_t size) {
    enum { UNPACKED_MAX = 32 << 10 };
    char block[UNPACKED_MAX];
    struct archive_entry *entry;
    size_t total = 0;
    struct archive *reader = archive_read_new();
    fuzz_check(reader != NULL, "the harness can read archives");
    if (archive_read_support_filter_gzip(reader) == ARCHIVE_OK &&
        archive_read_support_format_tar(reader) == ARCHIVE_OK &&
        archive_read_open_memory(reader, data, size) == ARCHIVE_OK)
        while (total <= UNPACKED_MAX && archive_read_next_header(reader, &entry) >= ARCHIVE_WARN)
            for (la_ssize_t got = 1; got > 0 && total <= UNPACKED_MAX;
                 total += got > 0 ? (size_t)got : 0)
                got = archive_read_data(reader, block, sizeof block);
    archive_read_free(reader);
    return total > UNPACKED_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd;
    if (is_large(data, size))
        return -1; /* not for the corpus */
    static char source[PATH_MAX], target[PATH_MAX];
    if (!fd) {
        fd = fuzz_open("archive.tar.gz");
        snprintf(source, sizeof source, "%s/archive.tar.gz", fuzz_folder());
        snprintf(target, sizeof target, "%s/raw", fuzz_folder());
    }
    fuzz_check(ftruncate(fd, (off_t)size) == 0, "the harness can size its file");
    fuzz_write(fd, data, size, 0);
    cairn_fetch fetch = {.source = source, .folder = target, .quiet = true};
    cairn_status status = cairn_dataset_fetch(&fetch);
    fuzz_check_status(status);
    fuzz_check(status != CAIRN_OK, "so short an archive is not complete");
    fuzz_check(entries(target) == 0, "a refused archive leaves nothing");
    fuzz_check(entries(fuzz_folder()) == 2, "nothing is written outside the folder");
    return 0;
}

#ifdef CAIRN_FUZZ
enum { BLOCK = 512, SIZE_AT = 124, SIZE_DIGITS = 11, SUM_AT = 148, SUM_BYTES = 8 };

/* Puts right the checksums of a plain tar's headers, which libarchive insists on. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
    (void)seed;
    size = LLVMFuzzerMutate(data, size, capacity);
    if (size >= 2 && data[0] == 0x1F && data[1] == 0x8B)
        return size;
    for (size_t at = 0; at + BLOCK <= size && data[at];) {
        unsigned sum = 0;
        size_t body = 0;
        memset(data + at + SUM_AT, ' ', SUM_BYTES);
        for (size_t i = 0; i < BLOCK; i++)
            sum += data[at + i];
        snprintf((char *)data + at + SUM_AT, SUM_BYTES, "%06o", sum & 0777777);
        for (size_t i = at + SIZE_AT; i < at + SIZE_AT + SIZE_DIGITS; i++)
            body = body * 8 + (data[i] & 7);
        if (body > size)
            break;
        at += BLOCK + (body + BLOCK - 1) / BLOCK * BLOCK;
    }
    return size;
}
#endif
