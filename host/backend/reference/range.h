/* Ranges under the address sanitizer. It checks every element that a loop reads or writes, which
 * made most of the tests' time there; the loops that a convolution is made of check their ranges as
 * a whole instead, and then go UNCHECKED. In other builds none of this does anything. */
#ifndef CAIRN_BACKEND_REFERENCE_RANGE_H
#define CAIRN_BACKEND_REFERENCE_RANGE_H

#include <stddef.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>

#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

static inline void check_range(const void *range, size_t bytes) {
    const volatile char *bad = __asan_region_is_poisoned((void *)range, bytes);
    if (bad)
        (void)*bad; /* the sanitizer's to report */
}
#else
#define UNCHECKED

static inline void check_range(const void *range, size_t bytes) {
    (void)range;
    (void)bytes;
}
#endif

#endif
