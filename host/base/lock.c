/* Locks between processes, behind cairn/lock.h: POSIX record locks, since those tell who holds
 * them. */
#include "cairn/lock.h"

#include "cairn/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static cairn_status in_use(const char *path, int fd) {
    struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_GETLK, &held) != 0 || held.l_type == F_UNLCK)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: another process holds this lock", path);
    if (held.l_pid <= 0) /* it has no number here */
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: a process in another container or on another host holds this "
                               "lock",
                               path);
    return cairn_error_set(CAIRN_BAD_INPUT, "%s: process %ld holds this lock", path,
                           (long)held.l_pid);
}

/* Whether `path` still names the file behind fd; its last holder may have removed it. Where fd does
 * not tell, it is taken for that: else a lock's file would stay behind. */
static bool still_there(const char *path, int fd) {
    struct stat opened, named;
    if (lstat(path, &named) != 0)
        return false;
    return fstat(fd, &opened) != 0 ||
           (opened.st_ino == named.st_ino && opened.st_dev == named.st_dev);
}

/* Where the file system has no such locks (NFS without its daemon, some of clusters). */
static bool unsupported(int error) {
    return error == ENOSYS || error == ENOLCK || error == EINVAL || error == EOPNOTSUPP;
}

/* Neither through a link, nor into a pipe. */
static cairn_status open_lock(const char *path, int *fd) {
    struct stat info;
    *fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (*fd < 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot make the lock: %s", path,
                               errno == ELOOP ? "it is a symbolic link" : strerror(errno));
    if (fstat(*fd, &info) == 0 && S_ISREG(info.st_mode))
        return CAIRN_OK;
    close(*fd);
    return cairn_error_set(CAIRN_FAILED, "%s: cannot make the lock: it is no file", path);
}

cairn_status cairn_lock_take(cairn_lock *lock, const char *path) {
    if (lock->fd)
        return CAIRN_OK;
    cairn_status status = cairn_path_format(lock->path, sizeof lock->path, "%s", path);
    while (!status && !lock->fd) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd;
        if ((status = open_lock(path, &fd)))
            return status;
        bool taken = fcntl(fd, F_SETLK, &whole) == 0;
        int error = taken ? 0 : errno;
        lock->refused = unsupported(error) ? error : 0;
        if (!taken && !lock->refused)
            status =
                error == EACCES || error == EAGAIN
                    ? in_use(path, fd)
                    : cairn_error_set(CAIRN_FAILED, "%s: cannot lock: %s", path, strerror(error));
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
    if (still_there(lock->path, lock->fd - 1)) /* else it is another's by now */
        unlink(lock->path);
    close(lock->fd - 1);
    lock->fd = 0;
}

/* A folder of this user's own: in /tmp another one may have made it, to be written through. */
static cairn_status device_folder(char *folder, size_t size) {
    const char *chosen = getenv("CAIRN_LOCKS");
    if (chosen && *chosen) {
        snprintf(folder, size, "%s", chosen);
        return cairn_folder_make(folder);
    }
    struct stat info;
    snprintf(folder, size, "/tmp/cairn-%lu", (unsigned long)getuid());
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot make the folder: %s", folder,
                               strerror(errno));
    if (lstat(folder, &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != getuid())
        return cairn_error_set(CAIRN_FAILED, "%s: is not a folder of yours; set CAIRN_LOCKS to one",
                               folder);
    return CAIRN_OK;
}

static cairn_status take_free(cairn_lock *lock, const char *folder,
                              bool (*identify)(int ordinal, char *name, size_t size),
                              int *ordinal) {
    char name[128], path[PATH_MAX];
    int count = 0;
    for (; identify(count, name, sizeof name); count++) {
        for (char *c = name; *c; c++)
            if (*c == '/')
                *c = '-';
        cairn_status status = cairn_path_format(path, sizeof path, "%s/%s.lock", folder, name);
        if (!status)
            status = cairn_lock_take(lock, path);
        if (!status)
            *ordinal = count;
        if (status != CAIRN_BAD_INPUT)
            return status;
    }
    return cairn_error_set(CAIRN_BAD_INPUT, "%s",
                           count == 1 ? "another run has the only device"
                                      : "other runs have all of the devices");
}

cairn_status cairn_lock_take_device(cairn_lock *lock,
                                    bool (*identify)(int ordinal, char *name, size_t size),
                                    bool wait, const volatile sig_atomic_t *stop, int *ordinal) {
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    char folder[PATH_MAX];
    cairn_status status = device_folder(folder, sizeof folder);
    if (status)
        return status;
    while ((status = take_free(lock, folder, identify, ordinal)) == CAIRN_BAD_INPUT && wait) {
        if (stop && *stop)
            return CAIRN_INTERRUPTED;
        nanosleep(&pause, NULL);
    }
    return status;
}
