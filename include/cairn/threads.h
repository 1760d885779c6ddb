/* Threads of the CPU: whether there can be as many as OpenMP is about to be asked for. */
#ifndef CAIRN_THREADS_H
#define CAIRN_THREADS_H

#include "cairn/status.h"

/* Starts that many threads at once, the caller's own among them, and ends them again. OpenMP itself
 * ends the program where one cannot be started; after this it finds the room. More than it was
 * asked for before are tried, since OpenMP keeps its threads. CAIRN_FAILED where there is a limit
 * in the way. */
cairn_status cairn_threads_try(int count);

#endif
