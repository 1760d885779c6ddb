/* Trying threads, behind cairn/threads.h. */
#include "cairn/threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Waits until the gate opens, so that all threads are there at once. */
static void *pass(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

cairn_status cairn_threads_try(int count) {
    static _Atomic int tried = 1;
    if (count <= tried)
        return CAIRN_OK;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *made = malloc((size_t)count * sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d threads", count);
    int started = 1, error = 0;
    pthread_mutex_lock(&gate);
    while (started < count && !error) {
        error = pthread_create(&made[started], NULL, pass, &gate);
        started += !error;
    }
    pthread_mutex_unlock(&gate);
    for (int i = 1; i < started; i++)
        pthread_join(made[i], NULL);
    free(made);
    if (error)
        return cairn_error_set(CAIRN_FAILED,
                               "cannot start %d threads, only %d: %s; lower train.threads, or "
                               "raise the limit (ulimit -u, or the container's)",
                               count, started, strerror(error));
    tried = count;
    return CAIRN_OK;
}
