/* The terminal: the reference's epoch lines on stdout, and for people who watch, a progress bar on
 * stderr. The bar is one line, redrawn in place and cleared before anything else is printed. */
#include "cairn/clock.h"
#include "cairn/record.h"

#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1

typedef struct {
    bool quiet, bar, colour;
    int epochs;
    bool drawn;         /* the bar is on the screen */
    double drawn_at;    /* seconds of the monotonic clock */
    int epoch;          /* the epoch whose speed is measured ... */
    int64_t epoch_seen; /* ... from this many images ... */
    double epoch_at;    /* ... at this time */
    double speed;       /* images/s; 0: not known yet */
} terminal;

static cairn_status open_terminal(void **state, const cairn_run *run,
                                  cairn_record_request *request) {
    (void)request;
    terminal *made = calloc(1, sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the terminal");
    const char *kind = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    made->quiet = run->quiet;
    made->epochs = (int)cairn_run_integer(run, "train.epochs");
    made->bar = !run->quiet && isatty(STDERR_FILENO) && !(kind && strcmp(kind, "dumb") == 0);
    made->colour = made->bar && !(no_colour && *no_colour);
    *state = made;
    return CAIRN_OK;
}

static void clear_bar(terminal *t) {
    if (t->drawn)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    t->drawn = false;
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

static void draw_bar(terminal *t, int epoch, double done, const char *tail) {
    char head[48], bar[64];
    snprintf(head, sizeof head, "Epoch %02d/%02d ", epoch, t->epochs);
    /* What the bar may take: not the last column, where some terminals would break the line. */
    int columns = terminal_width() - 1 - (int)strlen(head) - (int)strlen(tail) - 2;
    int cells = columns > 40 ? 40 : columns;
    if (cells < 4) {
        int width = terminal_width() - 1;
        fprintf(stderr, "\r\033[K%.*s", width, tail + 1);
    } else {
        int filled = (int)(done * cells);
        memset(bar, '#', (size_t)filled);
        memset(bar + filled, '-', (size_t)(cells - filled));
        fprintf(stderr, "\r\033[K%s[%s%.*s%s%.*s]%s", head, t->colour ? "\033[32m" : "", filled,
                bar, t->colour ? "\033[0m" : "", cells - filled, bar + filled, tail);
    }
    fflush(stderr);
    t->drawn = true;
}

static cairn_status show_step(void *state, const cairn_step_record *step) {
    terminal *t = state;
    const int epoch = (int)step->epoch;
    const int64_t seen = step->seen, total = step->total;
    if (!t->bar || total <= 0)
        return CAIRN_OK;
    double time = cairn_clock_now();
    if (epoch != t->epoch) {
        t->epoch = epoch;
        t->epoch_seen = seen;
        t->epoch_at = time;
    }
    if (t->drawn && time - t->drawn_at < REDRAW_SECONDS)
        return CAIRN_OK;
    t->drawn_at = time;
    if (seen > t->epoch_seen && time > t->epoch_at)
        t->speed = (double)(seen - t->epoch_seen) / (time - t->epoch_at);

    char tail[96], speed[32], left[32];
    double done = (double)seen / (double)total;
    int length = snprintf(tail, sizeof tail, " %3d%%", (int)(100 * done));
    if (t->speed > 0) {
        double ahead = (double)(t->epochs - epoch) * (double)total + (double)(total - seen);
        format_thousands(speed, sizeof speed, t->speed);
        format_duration(left, sizeof left, ahead / t->speed);
        snprintf(tail + length, sizeof tail - (size_t)length, "  %s images/s  %s left", speed,
                 left);
    }
    draw_bar(t, epoch, done, tail);
    return CAIRN_OK;
}

static cairn_status show_epoch(void *state, const cairn_snapshot *at) {
    terminal *t = state;
    const cairn_epoch_row *row = &at->rows[at->epochs - 1];
    if (at->state == CAIRN_RUN_FAILED)
        return CAIRN_OK;
    clear_bar(t);
    if (t->quiet)
        return CAIRN_OK;
    printf("Epoch %02d | train loss %.4f acc %.3f | %s loss %.4f acc %.3f\n", row->epoch,
           row->train_loss, row->train_acc, cairn_split_name(row->held_out), row->test_loss,
           row->test_acc);
    /* What a reader did not take until Ctrl-C must not hold up the program's end. */
    if (fflush(stdout) != 0)
        __fpurge(stdout);
    return CAIRN_OK;
}

static void show_note(void *state, const char *text) {
    terminal *t = state;
    clear_bar(t);
    if (!t->quiet)
        fprintf(stderr, "%s\n", text);
}

static cairn_status close_terminal(void *state) {
    clear_bar(state);
    free(state);
    return CAIRN_OK;
}

const cairn_recorder cairn_recorder_terminal = {.open = open_terminal,
                                                .step = show_step,
                                                .epoch = show_epoch,
                                                .note = show_note,
                                                .close = close_terminal};
