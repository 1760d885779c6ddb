/* How much memory there is for the asking. */
#ifndef CAIRN_MEMORY_H
#define CAIRN_MEMORY_H

#include <stddef.h>

/* Bytes that the process can still get without being ended for them, swap included: of the
 * machine's, and of what its control groups (a container's) allow. SIZE_MAX where the kernel does
 * not say. */
size_t cairn_memory_available(void);

/* The same of a system whose files lie below the folder `root`, for tests; "" is this one. */
size_t cairn_memory_available_below(const char *root);

#endif
