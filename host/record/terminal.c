/* The terminal: the reference's epoch lines on stdout, and for people who watch, a progress bar on
 * stderr. The bar is one line, redrawn in place and cleared before anything else is printed. */
#include "cairn/clock.h"
#include "cairn/record.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1

struct cairn_terminal {
    bool quiet, bar, colour;
    int epochs;
    bool drawn;         /* the bar is on the screen */
    double drawn_at;    /* seconds of the monotonic clock */
    int epoch;          /* the epoch whose speed is measured ... */
    int64_t epoch_seen; /* ... from this many images ... */
    double epoch_at;    /* ... at this time */
    double speed;       /* images/s; 0: not known yet */
};

cairn_terminal *cairn_terminal_open(bool quiet, int epochs) {
    cairn_terminal *terminal = calloc(1, sizeof *terminal);
    if (!terminal)
        return NULL;
    const char *kind = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    terminal->quiet = quiet;
    terminal->epochs = epochs;
    terminal->bar = !quiet && isatty(STDERR_FILENO) && !(kind && strcmp(kind, "dumb") == 0);
    terminal->colour = terminal->bar && !(no_colour && *no_colour);
    return terminal;
}

static void clear_bar(cairn_terminal *terminal) {
    if (terminal->drawn)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    terminal->drawn = false;
}

/* 6700 -> "6,700". */
static void format_thousands(char *out, size_t size, double value) {
    int whole = (int)(value + 0.5);
    if (whole < 1000)
        snprintf(out, size, "%d", whole);
    else if (whole < 1000000)
        snprintf(out, size, "%d,%03d", whole / 1000, whole % 1000);
    else
        snprintf(out, size, "%d,%03d,%03d", whole / 1000000, whole / 1000 % 1000, whole % 1000);
}

static void format_duration(char *out, size_t size, double seconds) {
    long s = (long)(seconds + 0.5);
    if (s < 60)
        snprintf(out, size, "%lds", s);
    else if (s < 3600)
        snprintf(out, size, "%ldm %02lds", s / 60, s % 60);
    else
        snprintf(out, size, "%ldh %02ldm", s / 3600, s / 60 % 60);
}

static int terminal_width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static void draw_bar(cairn_terminal *terminal, int epoch, double done, const char *tail) {
    char head[48], bar[64];
    snprintf(head, sizeof head, "Epoch %02d/%02d ", epoch, terminal->epochs);
    /* What the bar may take: not the last column, where some terminals would break the line. */
    int room = terminal_width() - 1 - (int)strlen(head) - (int)strlen(tail) - 2;
    int cells = room > 40 ? 40 : room;
    if (cells < 4) {
        int width = terminal_width() - 1;
        fprintf(stderr, "\r\033[K%.*s", width, tail + 1);
    } else {
        int filled = (int)(done * cells);
        memset(bar, '#', (size_t)filled);
        memset(bar + filled, '-', (size_t)(cells - filled));
        fprintf(stderr, "\r\033[K%s[%s%.*s%s%.*s]%s", head, terminal->colour ? "\033[32m" : "",
                filled, bar, terminal->colour ? "\033[0m" : "", cells - filled, bar + filled, tail);
    }
    fflush(stderr);
    terminal->drawn = true;
}

void cairn_terminal_progress(cairn_terminal *terminal, int epoch, int64_t seen, int64_t total) {
    if (!terminal->bar || total <= 0)
        return;
    double time = cairn_clock_now();
    if (epoch != terminal->epoch) {
        terminal->epoch = epoch;
        terminal->epoch_seen = seen;
        terminal->epoch_at = time;
    }
    if (terminal->drawn && time - terminal->drawn_at < REDRAW_SECONDS)
        return;
    terminal->drawn_at = time;
    if (seen > terminal->epoch_seen && time > terminal->epoch_at)
        terminal->speed = (double)(seen - terminal->epoch_seen) / (time - terminal->epoch_at);

    char tail[96], speed[32], left[32];
    double done = (double)seen / (double)total;
    int length = snprintf(tail, sizeof tail, " %3d%%", (int)(100 * done));
    if (terminal->speed > 0) {
        double ahead = (double)(terminal->epochs - epoch) * (double)total + (double)(total - seen);
        format_thousands(speed, sizeof speed, terminal->speed);
        format_duration(left, sizeof left, ahead / terminal->speed);
        snprintf(tail + length, sizeof tail - (size_t)length, "  %s images/s  %s left", speed,
                 left);
    }
    draw_bar(terminal, epoch, done, tail);
}

void cairn_terminal_epoch(cairn_terminal *terminal, const cairn_epoch_row *row) {
    clear_bar(terminal);
    if (terminal->quiet)
        return;
    printf("Epoch %02d | train loss %.4f acc %.3f | %s loss %.4f acc %.3f\n", row->epoch,
           row->train_loss, row->train_acc, cairn_split_name(row->held_out), row->test_loss,
           row->test_acc);
    /* What a reader did not take until Ctrl-C must not hold up the program's end. */
    if (fflush(stdout) != 0)
        __fpurge(stdout);
}

void cairn_terminal_note(cairn_terminal *terminal, const char *format, ...) {
    clear_bar(terminal);
    if (terminal->quiet)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void cairn_terminal_close(cairn_terminal *terminal) {
    if (terminal)
        clear_bar(terminal);
    free(terminal);
}
