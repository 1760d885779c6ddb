/* The handler behind cairn/stop.h: a flag, and a stack to set it from. It calls nothing but what a
 * handler may (signal-safety(7)). */
#include "cairn/stop.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

static volatile sig_atomic_t requested;
static struct timespec first; /* when it was set */

/* With room for every register that the processor may have: AMX's take 8 KiB. */
static char stack[64 << 10];

static double seconds_since(const struct timespec *then) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + 1e-9 * (double)(now.tv_nsec - then->tv_nsec);
}

static void request(int signal_number) {
    int error = errno;
    if (!requested) {
        clock_gettime(CLOCK_MONOTONIC, &first);
        requested = 1;
    } else if (seconds_since(&first) >= 1) {
        signal(signal_number, SIG_DFL);
        raise(signal_number); /* comes when this handler returns */
    }
    errno = error;
}

const volatile sig_atomic_t *cairn_stop_install(void) {
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = request, .sa_flags = SA_ONSTACK};
    sigaltstack(&own, NULL);
    requested = 0;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT); /* one at a time: both share what is above */
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return &requested;
}
