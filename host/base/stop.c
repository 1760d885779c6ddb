/* The handler behind cairn/stop.h: a flag, and a stack to set it from. It calls nothing but what a
 * handler may (signal-safety(7)). */
#include "cairn/stop.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t requested;
static struct timespec first; /* when it was set */

/* What the first signal writes, and its length; 0: nothing. */
static char said[128];
static volatile sig_atomic_t said_length;

/* With room for every register that the processor may have: AMX's take 8 KiB. */
static char stack[64 << 10];

static double seconds_since(const struct timespec *then) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + 1e-9 * (double)(now.tv_nsec - then->tv_nsec);
}

/* SIGXCPU comes again for every second of processor time that is used. */
static void request(int signal_number) {
    int error = errno;
    if (!requested) {
        clock_gettime(CLOCK_MONOTONIC, &first);
        requested = 1;
        if (said_length && write(STDERR_FILENO, said, (size_t)said_length) < 0)
            said_length = 0; /* nobody is there to read it */
    } else if (signal_number != SIGXCPU && seconds_since(&first) >= 1) {
        signal(signal_number, SIG_DFL);
        raise(signal_number); /* comes when this handler returns */
    }
    errno = error;
}

const volatile sig_atomic_t *cairn_stop_install(void) {
    const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU};
    enum { SIGNALS = sizeof signals / sizeof signals[0] };
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = request, .sa_flags = SA_ONSTACK}, before;
    sigaltstack(&own, NULL);
    requested = 0;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++) /* one at a time: they share what is above */
        sigaddset(&action.sa_mask, signals[i]);
    for (int i = 0; i < SIGNALS; i++) {
        bool asked = signals[i] == SIGINT || signals[i] == SIGTERM;
        if (sigaction(signals[i], NULL, &before) == 0 && (asked || before.sa_handler != SIG_IGN))
            sigaction(signals[i], &action, NULL);
    }
    sigprocmask(SIG_UNBLOCK, &action.sa_mask, NULL);
    return &requested;
}

void cairn_stop_announce(const char *line) {
    said_length = 0; /* until the text is whole */
    /* On a terminal "^C" stands behind what was written last. */
    int length =
        line ? snprintf(said, sizeof said, "%s%s\n", isatty(STDERR_FILENO) ? "\n" : "", line) : 0;
    said_length = length > 0 && length < (int)sizeof said ? length : 0;
}
