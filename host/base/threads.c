/* Counting threads, behind cairn/threads.h. */
#include "cairn/threads.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Waits until the gate opens, so that all threads are there at once. */
static void *pass(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* Starts `count` threads at once, the caller's own among them, and ends them again. OpenMP keeps
 * its threads, so only more than before are tried. */
static cairn_status try_to_start(int count) {
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

static int team_size(int asked) {
    int size = 1;
#pragma omp parallel num_threads(asked)
#pragma omp single
    size = omp_get_num_threads();
    return size;
}

cairn_status cairn_threads_resolve(int asked, int *count) {
    omp_set_dynamic(0);
    if (omp_get_max_active_levels() < 1)
        omp_set_max_active_levels(1);
    int wanted = asked ? asked : omp_get_max_threads(), limit = omp_get_thread_limit();
    cairn_status status = try_to_start(wanted < limit ? wanted : limit);
    if (status)
        return status;
    *count = team_size(wanted);
    if (!asked || *count == asked)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "train.threads: found %d, but OpenMP gives this process %d; unset "
                           "OMP_THREAD_LIMIT where it is set, or ask for %d",
                           asked, *count, *count);
}
