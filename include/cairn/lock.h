/* A lock on a folder that processes share: the kernel frees it when its holder ends, however that
 * comes. */
#ifndef CAIRN_LOCK_H
#define CAIRN_LOCK_H

#include "cairn/status.h"

#include <limits.h>

/* Zero-initialised: not held. */
typedef struct {
    int fd; /* plus one; 0: none */
    char path[PATH_MAX];
} cairn_lock;

/* Takes the lock, whose file it makes. CAIRN_BAD_INPUT names the process that holds it. Taking what
 * this lock already holds does nothing. */
cairn_status cairn_lock_take(cairn_lock *lock, const char *path);

/* Removes the file and frees the lock; nothing when it is not held. */
void cairn_lock_release(cairn_lock *lock);

#endif
