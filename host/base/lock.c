/* Locks between processes, behind cairn/lock.h: POSIX record locks, since those tell who holds
 * them. */
#include "cairn/lock.h"

#include "cairn/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static cairn_status in_use(const char *path, int fd) {
    struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_GETLK, &held) != 0 || held.l_type == F_UNLCK)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: another process holds this lock", path);
    return cairn_error_set(CAIRN_BAD_INPUT, "%s: process %ld holds this lock", path,
                           (long)held.l_pid);
}

/* Whether `path` still names the file behind fd; its last holder may have removed it. */
static bool still_there(const char *path, int fd) {
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

cairn_status cairn_lock_take(cairn_lock *lock, const char *path) {
    if (lock->fd)
        return CAIRN_OK;
    cairn_status status = cairn_path_format(lock->path, sizeof lock->path, "%s", path);
    while (!status && !lock->fd) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return cairn_error_set(CAIRN_FAILED, "%s: cannot make the lock: %s", path,
                                   strerror(errno));
        if (fcntl(fd, F_SETLK, &whole) != 0)
            status =
                errno == EACCES || errno == EAGAIN
                    ? in_use(path, fd)
                    : cairn_error_set(CAIRN_FAILED, "%s: cannot lock: %s", path, strerror(errno));
        else if (still_there(path, fd))
            lock->fd = fd + 1;
        if (!lock->fd)
            close(fd);
    }
    return status;
}

void cairn_lock_release(cairn_lock *lock) {
    if (!lock->fd)
        return;
    unlink(lock->path);
    close(lock->fd - 1);
    lock->fd = 0;
}
