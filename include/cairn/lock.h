/* A lock on a folder that processes share: the kernel frees it when its holder ends, however that
 * comes. */
#ifndef CAIRN_LOCK_H
#define CAIRN_LOCK_H

#include "cairn/status.h"

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised: not held. */
typedef struct {
    int fd;      /* plus one; 0: none */
    int refused; /* the errno by which the file system has no locks; 0: it has */
    char path[PATH_MAX];
} cairn_lock;

/* Takes the lock, whose file it makes. CAIRN_BAD_INPUT names the process that holds it. Taking what
 * this lock already holds does nothing. Where the file system has no locks it counts as taken, and
 * `refused` says so: nothing keeps others away then. */
cairn_status cairn_lock_take(cairn_lock *lock, const char *path);

/* Takes the first of the devices that no other process of this user holds, and says which.
 * `identify` names them, see cairn_backend. When all are held: CAIRN_BAD_INPUT, or with `wait` it
 * returns when one is free, or CAIRN_INTERRUPTED after `*stop` (which may be NULL) is set. The
 * locks are files in $CAIRN_LOCKS, else in /tmp/cairn-<user>. */
cairn_status cairn_lock_take_device(cairn_lock *lock,
                                    bool (*identify)(int ordinal, char *name, size_t size),
                                    bool wait, const volatile sig_atomic_t *stop, int *ordinal);

/* Removes the file and frees the lock; nothing when it is not held. */
void cairn_lock_release(cairn_lock *lock);

#endif
