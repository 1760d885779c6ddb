/* Checks that something stops the program: runs it in a child and looks at how that ended. */
#ifndef CAIRN_EMULATOR_DIES_H
#define CAIRN_EMULATOR_DIES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* `run` has to end the child by other means than returning, with `message` (NULL: any) in what it
 * writes to stderr. */
static inline void assert_dies(void (*run)(void *), void *context, const char *message) {
    int ends[2];
    char said[16384];
    size_t length = 0;
    ssize_t count;
    int status;
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* cmocka catches signals; here they have to end the process. */
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        run(context);
        _exit(0);
    }
    close(ends[1]);
    while ((count = read(ends[0], said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)count;
    said[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        fail_msg("it went on; \"%s\" was expected", message ? message : "a crash");
    if (message && !strstr(said, message))
        fail_msg("it said \"%s\", not \"%s\"", said, message);
}

#endif
