/* The handler behind cairn/stop.h: a flag, and a stack to set it from. */
#include "cairn/stop.h"

#include <stddef.h>

static volatile sig_atomic_t requested;

/* With room for every register that the processor may have: AMX's take 8 KiB. */
static char stack[64 << 10];

static void request(int signal_number) {
    (void)signal_number;
    requested = 1;
}

const volatile sig_atomic_t *cairn_stop_install(void) {
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = request, .sa_flags = SA_ONSTACK};
    sigaltstack(&own, NULL);
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return &requested;
}
