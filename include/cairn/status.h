/* Status codes and error text.
 *
 * A function that can fail returns a cairn_status, and leaves a one-line message for people in a
 * thread-local buffer. Callers pass the status up; only main() prints the message and exits. The
 * codes are the process's exit codes. */
#ifndef CAIRN_STATUS_H
#define CAIRN_STATUS_H

typedef enum {
    CAIRN_OK = 0,
    CAIRN_FAILED = 1,        /* the machine or a library failed: disk full, out of memory, ... */
    CAIRN_BAD_INPUT = 2,     /* the user's command line, configuration or data is wrong */
    CAIRN_INTERRUPTED = 130, /* by a signal (cairn/stop.h); the run can be resumed */
} cairn_status;

/* Replaces this thread's message by the formatted one and returns `status`, so that a failing
 * function can `return cairn_error_set(...)`. The message is one line, has no trailing newline and
 * says what was found and what would be right. Longer than 2047 bytes it is cut; what cairn/text.h
 * does not let through is shown as it says. */
cairn_status cairn_error_set(cairn_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Analyzers see one source at a time: tell them what the call returns. */
#if defined __clang_analyzer__ || defined CAIRN_ANALYZER
#define cairn_error_set(status, ...)                                                               \
    __extension__({                                                                                \
        cairn_status told = (status);                                                              \
        cairn_error_set(told, __VA_ARGS__);                                                        \
        told;                                                                                      \
    })
#endif

/* This thread's last message; "" before the first. Valid until the next cairn_error_set. */
const char *cairn_error_message(void);

#endif
