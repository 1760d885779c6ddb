/* Stopping in order on signals. */
#ifndef CAIRN_STOP_H
#define CAIRN_STOP_H

#include <signal.h>

/* Catches SIGINT and SIGTERM from now on, and SIGHUP (a lost connection), SIGUSR1 (a batch system's
 * warning) and SIGXCPU (ulimit -t) unless whoever started the program had them ignored (nohup);
 * what it returns becomes non-zero when one comes. A signal that comes a second or more after the
 * first ends the process at once, as if it were not caught: for whoever waits for something that
 * never ends. (One key press may send several: the terminal's, and those of the programs above.)
 * Called again, it begins anew, with zero. The handler runs on a stack of its own: oneDNN's matrix
 * products (2 and 3, jit_avx512_common_gemm_f32) point the stack register into the heap while they
 * compute, and a signal's frame would be written there (github.com/uxlfoundation/oneDNN, issue
 * 4845). Call it in the main thread, which the kernel prefers for a process's signals. */
const volatile sig_atomic_t *cairn_stop_install(void);

/* The line that the first signal writes to stderr at once, under 120 bytes; NULL: none. */
void cairn_stop_announce(const char *line);

#endif
