/* Between tensor_list.c, which holds what a safetensors file has, and safetensors.c, which reads
 * and writes it. */
#ifndef CAIRN_TENSOR_LIST_H
#define CAIRN_TENSOR_LIST_H

#include "cairn/status.h"

enum { ENTRIES_MAX = 16384 }; /* tensors, or metadata; more than any model of Cairn's has */

static const char metadata_key[] = "__metadata__"; /* no tensor has this name */

static inline cairn_status out_of_memory(void) {
    return cairn_error_set(CAIRN_FAILED, "out of memory for tensors");
}

#endif
