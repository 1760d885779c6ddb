/* Unpacks a data set's archive, by libarchive, trusting nothing in it: only regular files directly
 * in the folder that such an archive has are taken, in limited number and size, into a new folder
 * that is renamed to its place once all of the data is there and on disk. */
#ifdef CAIRN_WITH_FETCH

#include "cairn/file.h"
#include "data.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 32, BLOCK = 64 << 10 };

typedef struct {
    const archive_kind *kind;
    struct archive *reader;
    const char *archive, *folder;
    const volatile sig_atomic_t *stop;
    const char *top;          /* which of the kind's folders it holds; NULL: not yet known */
    char temporary[PATH_MAX]; /* the new folder; "": not yet made */
    int entries;              /* files, and mentions of the folder itself */
    size_t total;             /* bytes unpacked */
} unpacking;

static cairn_status unreadable(const unpacking *u) {
    const char *reason = archive_error_string(u->reader);
    return cairn_error_set(CAIRN_BAD_INPUT, "%s: cannot unpack: %s", u->archive,
                           reason ? reason : "damaged archive");
}

static cairn_status too_large(const unpacking *u) {
    return cairn_error_set(CAIRN_BAD_INPUT, "%s: holds a file of more than %zu MiB", u->archive,
                           u->kind->file_max >> 20);
}

static cairn_status unwritable(const char *path) {
    return cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", path, strerror(errno));
}

/* A new folder `pattern` (which ends in XXXXXX), with the permissions that mkdir would give. */
static cairn_status make_temporary(char *pattern) {
    mode_t mask = umask(0);
    umask(mask);
    if (!mkdtemp(pattern) || chmod(pattern, 0777 & ~mask) != 0)
        return unwritable(pattern);
    return CAIRN_OK;
}

/* Removes a folder of plain files. */
static void remove_folder(const char *path) {
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(path);
}

/* The name below one of the kind's folders, "" for the folder itself, or NULL if it is anything
 * else. */
static const char *name_below(unpacking *u, const char *path) {
    while (path && strncmp(path, "./", 2) == 0)
        path += 2;
    for (int i = 0; path && i < 2 && u->kind->folders[i]; i++) {
        const char *top = u->kind->folders[i];
        size_t length = strlen(top);
        if (strncmp(path, top, length) != 0 || (path[length] && path[length] != '/') ||
            (u->top && u->top != top))
            continue;
        u->top = top;
        const char *name = path + length + (path[length] == '/');
        return name[0] == '.' || strchr(name, '/') ? NULL : name;
    }
    return NULL;
}

/* The current entry's bytes, to disk. */
static cairn_status copy_data(unpacking *u, int fd, const char *path) {
    char block[BLOCK];
    for (size_t total = 0;;) {
        la_ssize_t got = archive_read_data(u->reader, block, sizeof block);
        if (got < 0)
            return unreadable(u);
        if (got == 0)
            break;
        if (u->stop && *u->stop)
            return cairn_error_set(CAIRN_INTERRUPTED, "%s: unpacking was interrupted", u->archive);
        total += (size_t)got;
        if (total > u->kind->file_max)
            return too_large(u);
        u->total += (size_t)got;
        if (u->total > u->kind->total_max)
            return cairn_error_set(CAIRN_BAD_INPUT, "%s: holds more than %zu MiB", u->archive,
                                   u->kind->total_max >> 20);
        for (la_ssize_t done = 0; done < got;) {
            ssize_t put = write(fd, block + done, (size_t)(got - done));
            if (put < 0 && errno != EINTR)
                return unwritable(path);
            done += put < 0 ? 0 : put;
        }
    }
    return fsync(fd) == 0 ? CAIRN_OK : unwritable(path);
}

static cairn_status take_file(unpacking *u, const char *name) {
    char path[PATH_MAX];
    cairn_status status = CAIRN_OK;
    if (!u->temporary[0]) {
        status = cairn_path_format(u->temporary, sizeof u->temporary, "%s/%s.new-XXXXXX", u->folder,
                                   u->top);
        if (!status)
            status = make_temporary(u->temporary);
    }
    if (!status)
        status = cairn_path_format(path, sizeof path, "%s/%s", u->temporary, name);
    if (status)
        return status;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: holds '%s' twice", u->archive, name);
    if (fd < 0)
        return unwritable(path);
    status = copy_data(u, fd, path);
    if (close(fd) != 0 && !status)
        status = unwritable(path);
    return status;
}

static cairn_status take_entries(unpacking *u) {
    for (struct archive_entry *entry;;) {
        int found = archive_read_next_header(u->reader, &entry);
        if (found == ARCHIVE_EOF)
            return CAIRN_OK;
        if (found != ARCHIVE_OK)
            return unreadable(u);
        if (++u->entries > FILES_MAX)
            return cairn_error_set(CAIRN_BAD_INPUT, "%s: holds more than %d files", u->archive,
                                   FILES_MAX);
        const char *path = archive_entry_pathname(entry), *name = name_below(u, path);
        mode_t type = archive_entry_filetype(entry);
        bool linked = archive_entry_hardlink(entry) || archive_entry_symlink(entry);
        bool sparse = archive_entry_sparse_reset(entry) > 0; /* holes make much of little */
        if (name && type == AE_IFDIR && !name[0])
            continue;
        if (!name || type != AE_IFREG || !name[0] || linked || sparse)
            return cairn_error_set(
                CAIRN_BAD_INPUT,
                "%s: holds '%.200s'; a %s archive holds only whole files "
                "directly in %s/%s%s%s",
                u->archive, path ? path : "(a name that cannot be read)", u->kind->title,
                u->kind->folders[0], u->kind->folders[1] ? " or " : "",
                u->kind->folders[1] ? u->kind->folders[1] : "", u->kind->folders[1] ? "/" : "");
        if (archive_entry_size(entry) >
            (la_int64_t)u->kind->file_max) /* before a byte of it is written */
            return too_large(u);
        cairn_status status = take_file(u, name);
        if (status)
            return status;
    }
}

/* Renames the new folder to its place; what was there steps aside. */
static cairn_status put_in_place(unpacking *u) {
    char place[PATH_MAX], old[PATH_MAX];
    cairn_status status = cairn_path_format(place, sizeof place, "%s/%s", u->folder, u->top);
    if (!status)
        status = cairn_path_format(old, sizeof old, "%s.old-XXXXXX", place);
    if (status)
        return status;
    if (rename(u->temporary, place) == 0)
        return CAIRN_OK;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return unwritable(place);
    status = make_temporary(old);
    if (!status && (rename(place, old) != 0 || rename(u->temporary, place) != 0))
        status = unwritable(place);
    return status;
}

cairn_status cairn_archive_unpack(const archive_kind *kind, const char *archive, const char *folder,
                                  const volatile sig_atomic_t *stop) {
    unpacking u = {.kind = kind, .archive = archive, .folder = folder, .stop = stop};
    cairn_status status;
    u.reader = archive_read_new();
    if (!u.reader)
        return cairn_error_set(CAIRN_FAILED, "%s: out of memory to unpack it", archive);
    if (archive_read_support_filter_gzip(u.reader) != ARCHIVE_OK ||
        archive_read_support_format_tar(u.reader) != ARCHIVE_OK ||
        archive_read_open_filename(u.reader, archive, BLOCK) != ARCHIVE_OK)
        status = unreadable(&u);
    else
        status = take_entries(&u);
    if (!status && !(u.temporary[0] && kind->complete(u.temporary)))
        status = cairn_error_set(CAIRN_BAD_INPUT,
                                 "%s: lacks some of %s's %s, or not all have their full size",
                                 archive, kind->title, kind->files);
    if (!status)
        status = put_in_place(&u);
    if (status && u.temporary[0])
        remove_folder(u.temporary);
    archive_read_free(u.reader);
    return status;
}

#endif
