/* The thread-local error message behind cairn/status.h. */
#include "cairn/status.h"
#undef cairn_error_set

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[2048];

cairn_status cairn_error_set(cairn_status status, const char *format, ...) {
    /* Formatted aside first: the old message may be one of the arguments. */
    char text[sizeof message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* Names out of files go into messages: none may reach a terminal as an escape sequence. */
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    memcpy(message, text, sizeof message);
    return status;
}

const char *cairn_error_message(void) {
    return message;
}
