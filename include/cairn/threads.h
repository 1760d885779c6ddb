/* Threads of the CPU: how many OpenMP really gives, which may be fewer than it is asked for. */
#ifndef CAIRN_THREADS_H
#define CAIRN_THREADS_H

#include "cairn/status.h"

/* How many threads the parallel regions of the calling thread have from now on, when they ask for
 * `asked` (0: OMP_NUM_THREADS, else one for every core that the process may use). Whoever divides
 * work by a count of threads takes this one: a library that is told more than there are leaves
 * parts of its work out, or waits for them for ever.
 *
 * OpenMP's choice of fewer (OMP_DYNAMIC, OMP_MAX_ACTIVE_LEVELS=0) is switched off for this thread.
 * What is left, such as OMP_THREAD_LIMIT, makes *count smaller where none was asked for, and is
 * CAIRN_BAD_INPUT where one was. CAIRN_FAILED where so many cannot be started, which OpenMP itself
 * would end the program for: they are started once, and ended again, before it is asked. */
cairn_status cairn_threads_resolve(int asked, int *count);

#endif
