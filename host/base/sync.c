/* Behind sync.h. */
#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *cairn_split_path(const char *path, char *folder) {
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) + 1 : 1;
    snprintf(folder, PATH_MAX, "%.*s", length, slash ? path : ".");
    return slash ? slash + 1 : path;
}

int cairn_sync(int fd) {
    return fsync(fd) == 0 || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -1;
}

/* A folder that may be written but not read cannot be synced either. */
int cairn_sync_folder_of(const char *path) {
    char folder[PATH_MAX];
    cairn_split_path(path, folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : -1;
    int failed = cairn_sync(fd);
    int error = errno;
    close(fd);
    errno = error;
    return failed;
}
