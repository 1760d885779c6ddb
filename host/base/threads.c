/* Counting threads, behind cairn/threads.h. */
#include "cairn/text.h"
#include "cairn/threads.h"

#include "groups.h"

#include <limits.h>
#include <omp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
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
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d %s", count,
                               cairn_noun(count, "thread", "threads"));
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
                               "cannot start %d %s, only %d: %s; lower train.threads, or "
                               "raise the limit (ulimit -u, or the container's)",
                               count, cairn_noun(count, "thread", "threads"), started,
                               strerror(error));
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

/* Processors that the quota is worth, rounded up: version 2 has "<quota> <period>" or "max
 * <period>", version 1 two files, and -1 for none. */
static void take_quota(const char *folder, void *context) {
    int *least = context;
    long long quota = -1, period = 0;
    FILE *both = cairn_groups_open(folder, "cpu.max");
    FILE *one = cairn_groups_open(folder, "cpu.cfs_quota_us");
    FILE *other = cairn_groups_open(folder, "cpu.cfs_period_us");
    bool known =
        (both && fscanf(both, "%lld %lld", &quota, &period) == 2) ||
        (one && other && fscanf(one, "%lld", &quota) == 1 && fscanf(other, "%lld", &period) == 1);
    FILE *files[] = {both, one, other};
    for (int i = 0; i < 3; i++)
        if (files[i])
            fclose(files[i]);
    if (known && quota > 0 && period > 0 && (quota - 1) / period < *least)
        *least = (int)((quota - 1) / period) + 1;
}

int cairn_threads_quota_below(const char *root) {
    int least = INT_MAX;
    cairn_groups_walk(root, GROUPS_2, "cpu", take_quota, &least);
    cairn_groups_walk(root, GROUPS_1, "cpu", take_quota, &least);
    return least;
}

int cairn_threads_available(const char **limit) {
    const int variable = omp_get_max_threads(), quota = cairn_threads_quota_below("");
    int least = omp_get_num_procs();
    const char *by = "processors that the process may use";
    if (quota < least) {
        least = quota;
        by = "processors' worth of time that the control group allows";
    }
    if (variable < least) {
        least = variable;
        by = "by OMP_NUM_THREADS";
    }
    if (limit)
        *limit = by;
    return least;
}

cairn_status cairn_threads_resolve(int asked, int *count) {
    omp_set_dynamic(0);
    if (omp_get_max_active_levels() < 1)
        omp_set_max_active_levels(1);
    int wanted = asked ? asked : cairn_threads_available(NULL), limit = omp_get_thread_limit();
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
