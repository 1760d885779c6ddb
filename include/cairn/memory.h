/* How much memory there is for the asking. */
#ifndef CAIRN_MEMORY_H
#define CAIRN_MEMORY_H

#include <stddef.h>

/* Bytes that the machine can still give without ending a process for them, swap included; SIZE_MAX
 * where the kernel does not say. */
size_t cairn_memory_available(void);

#endif
