/* The monotonic clock behind cairn/clock.h. */
#include "cairn/clock.h"

#include <time.h>

double cairn_clock_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}
