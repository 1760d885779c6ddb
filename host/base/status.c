/* The thread-local error message behind cairn/status.h. */
#include "cairn/status.h"
#undef cairn_error_set

#include "cairn/text.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[2048];

cairn_status cairn_error_set(cairn_status status, const char *format, ...) {
    /* Formatted aside first: the old message may be one of the arguments. */
    char text[sizeof message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* Names out of files go into messages: none may reach a terminal as an escape sequence. */
    cairn_text_show(message, sizeof message, text);
    return status;
}

const char *cairn_error_message(void) {
    return message;
}
