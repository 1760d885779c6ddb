/* Threads of the CPU: how many there should be, and how many OpenMP really gives. */
#ifndef CAIRN_THREADS_H
#define CAIRN_THREADS_H

#include "cairn/status.h"

/* How many threads there are for the asking: the least of the processors that the process may use,
 * the time that its control groups (a container's) allow it, in processors and rounded up, and
 * OMP_NUM_THREADS. `limit`, unless NULL, gets which of them it is, in words behind the number. */
int cairn_threads_available(const char **limit);

/* What the control groups alone allow, of a system whose files lie below the folder `root` ("":
 * this one); INT_MAX: no limit. */
int cairn_threads_quota_below(const char *root);

/* How many threads the parallel regions of the calling thread have from now on, when they ask for
 * `asked` (0: cairn_threads_available). Whoever divides work by a count of threads takes this one:
 * a library that is told more than there are leaves parts of its work out, or waits for them for
 * ever.
 *
 * OpenMP's choice of fewer (OMP_DYNAMIC, OMP_MAX_ACTIVE_LEVELS=0) is switched off for this thread.
 * What is left, such as OMP_THREAD_LIMIT, makes *count smaller where none was asked for, and is
 * CAIRN_BAD_INPUT where one was. CAIRN_FAILED where so many cannot be started, which OpenMP itself
 * would end the program for: they are started once, and ended again, before it is asked. */
cairn_status cairn_threads_resolve(int asked, int *count);

#endif
