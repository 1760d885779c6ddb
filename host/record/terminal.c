/* The terminal: the reference's epoch lines on stdout, and for people who watch, a progress bar on
 * stderr. The bar is one line, redrawn in place and cleared before anything else is printed. Where
 * stdout is no terminal the epoch lines stay as the reference prints them: programs read those. */
#include "cairn/clock.h"
#include "cairn/record.h"
#include "cairn/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1

typedef struct {
    const cairn_run *run;
    bool quiet, bar, colour;
    bool watched; /* stdout is a terminal */
    int epochs;
    bool drawn;         /* the bar is on the screen */
    double drawn_at;    /* seconds of the monotonic clock */
    int epoch;          /* the epoch whose speed is measured ... */
    int64_t epoch_seen; /* ... from this many images ... */
    double epoch_at;    /* ... at this time */
    double speed;       /* images/s; 0: not known yet */
    double lined_at;    /* when the last epoch's line was printed, or the run began */
    double stepped_at;  /* when the last step was seen */
    double after_steps; /* seconds that the last epoch took beyond them */
} terminal;

static cairn_status open_terminal(void **state, const cairn_run *run,
                                  cairn_record_request *request) {
    (void)request;
    terminal *made = calloc(1, sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the terminal");
    const char *kind = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    made->run = run;
    made->quiet = run->quiet;
    made->epochs = (int)cairn_run_integer(run, "train.epochs");
    made->bar = !run->quiet && isatty(STDERR_FILENO) && kind && *kind && strcmp(kind, "dumb") != 0;
    made->watched = isatty(STDOUT_FILENO);
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
    if (seconds < 9.95)
        snprintf(out, size, "%.1fs", seconds);
    else if (s < 60)
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

/* What stands behind the bar, in the order on the screen; `rank` says which goes first where the
 * terminal is too narrow, the highest. The bar itself has rank BAR. */
enum { BAR = 4, RANKS = 6, CELLS_MIN = 6, CELLS_MAX = 40 };
typedef struct {
    int rank;
    char text[48];
} bar_part;

/* The highest rank up to which all parts have room, the bar among them. */
static int rank_that_fits(const bar_part *parts, int count, int room) {
    int rank = 0;
    for (int next = 1; next <= RANKS; next++) {
        int columns = next >= BAR ? CELLS_MIN + 3 : 0;
        for (int i = 0; i < count; i++)
            columns += parts[i].rank <= next ? (int)strlen(parts[i].text) : 0;
        if (columns > room)
            break;
        rank = next;
    }
    return rank;
}

static void draw_bar(terminal *t, int epoch, double done, const bar_part *parts, int count) {
    char head[32], bar[CELLS_MAX];
    int width = terminal_width() - 1; /* in the last column some terminals would break the line */
    int room = width - snprintf(head, sizeof head, "Epoch %02d/%02d", epoch, t->epochs);
    int rank = rank_that_fits(parts, count, room);
    fprintf(stderr, "\r\033[K%.*s", width, head);
    for (int i = 0; i < count; i++)
        room -= parts[i].rank <= rank ? (int)strlen(parts[i].text) : 0;
    if (rank >= BAR) {
        int cells = room - 3 > CELLS_MAX ? CELLS_MAX : room - 3, filled = (int)(done * cells);
        memset(bar, '#', (size_t)filled);
        memset(bar + filled, '-', (size_t)(cells - filled));
        fprintf(stderr, " [%s%.*s%s%.*s]", t->colour ? "\033[32m" : "", filled, bar,
                t->colour ? "\033[0m" : "", cells - filled, bar + filled);
    }
    for (int i = 0; i < count; i++)
        if (parts[i].rank <= rank)
            fputs(parts[i].text, stderr);
    fflush(stderr);
    t->drawn = true;
}

/* Of the steps, and of what follows them in every epoch, as far as one has been seen. */
static double seconds_left(const terminal *t, const cairn_step_record *step) {
    double epochs = t->epochs - (int)step->epoch;
    double images = epochs * (double)step->total + (double)(step->total - step->seen);
    return images / t->speed + (epochs + 1) * t->after_steps;
}

static void draw_step(terminal *t, const cairn_step_record *step) {
    enum { SHARE, MEANS, LEFT, SPEED, RATE, COUNT };
    bar_part parts[COUNT] = {[SHARE].rank = 1,
                             [MEANS].rank = 2,
                             [LEFT].rank = 3,
                             [SPEED].rank = BAR + 1,
                             [RATE].rank = BAR + 2};
    const size_t size = sizeof parts[0].text;
    char text[32];
    double done = (double)step->seen / (double)step->total;
    snprintf(parts[SHARE].text, size, " %3d%%", (int)(100 * done));
    if (step->so_far)
        snprintf(parts[MEANS].text, size,
                 step->so_far[0] < 1000 ? "  loss %.3f acc %.3f" : "  loss %.3g acc %.3f",
                 step->so_far[0], step->so_far[1]);
    if (step->seen >= step->total) {
        snprintf(parts[LEFT].text, size, "  evaluating");
        parts[LEFT].rank = 2;
        parts[MEANS].rank = 3;
    } else if (t->speed > 0) {
        format_duration(text, sizeof text, seconds_left(t, step));
        snprintf(parts[LEFT].text, size, "  %s left", text);
    }
    if (t->speed > 0) {
        format_thousands(text, sizeof text, t->speed);
        snprintf(parts[SPEED].text, size, "  %s images/s", text);
    }
    snprintf(parts[RATE].text, size, "  lr %.3g", step->lr);
    draw_bar(t, (int)step->epoch, done, parts, COUNT);
}

static cairn_status show_step(void *state, const cairn_step_record *step) {
    terminal *t = state;
    const int epoch = (int)step->epoch;
    double time = cairn_clock_now();
    t->stepped_at = time;
    if (!t->bar || step->total <= 0)
        return CAIRN_OK;
    if (epoch != t->epoch) {
        t->epoch = epoch;
        t->epoch_seen = step->seen;
        t->epoch_at = time;
    }
    /* The epoch's last step is always shown: what follows it may take long. */
    if (t->drawn && step->seen < step->total && time - t->drawn_at < REDRAW_SECONDS)
        return CAIRN_OK;
    t->drawn_at = time;
    if (step->seen > t->epoch_seen && time > t->epoch_at)
        t->speed = (double)(step->seen - t->epoch_seen) / (time - t->epoch_at);
    draw_step(t, step);
    return CAIRN_OK;
}

static cairn_status begin_run(void *state, const cairn_snapshot *at) {
    (void)at;
    terminal *t = state;
    t->lined_at = t->stepped_at = cairn_clock_now();
    return CAIRN_OK;
}

/* As the reference prints it; a person sees also how long it took, and * at the best so far. */
static void print_epoch(const terminal *t, const cairn_epoch_row *row, bool best, double seconds) {
    char of[16] = "", tail[48] = "", took[32];
    format_duration(took, sizeof took, seconds);
    if (t->watched) {
        snprintf(of, sizeof of, "/%02d", t->epochs);
        snprintf(tail, sizeof tail, " | %s%s", took, best ? " *" : "");
    }
    printf("Epoch %02d%s | train loss %.4f acc %.3f | %s loss %.4f acc %.3f%s\n", row->epoch, of,
           row->train_loss, row->train_acc, cairn_split_name(row->held_out), row->test_loss,
           row->test_acc, tail);
    /* What a reader did not take until Ctrl-C must not hold up the program's end. */
    if (fflush(stdout) != 0)
        __fpurge(stdout);
}

static cairn_status show_epoch(void *state, const cairn_snapshot *at) {
    terminal *t = state;
    const cairn_epoch_row *row = &at->rows[at->epochs - 1];
    double time = cairn_clock_now();
    if (at->state == CAIRN_RUN_FAILED)
        return CAIRN_OK;
    clear_bar(t);
    if (t->quiet)
        return CAIRN_OK;
    print_epoch(t, row, at->best && at->best->epoch == row->epoch, time - t->lined_at);
    t->after_steps = time - t->stepped_at;
    t->lined_at = time;
    return CAIRN_OK;
}

/* A word of a command for the shell, quoted where that needs it. */
static void put_word(const char *word) {
    static const char bare[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./";
    if (word[strspn(word, bare)] == '\0' || !cairn_text_is_plain(word)) {
        cairn_text_put(stderr, word);
        return;
    }
    putc('\'', stderr);
    for (; *word; word++)
        fputs(*word == '\'' ? "'\\''" : (const char[]){*word, '\0'}, stderr);
    putc('\'', stderr);
}

static void put_command(const char *before, const char *folder, const char *after) {
    fputs("  ", stderr);
    put_word(program_invocation_name);
    fputs(before, stderr);
    put_word(folder);
    fputs(after, stderr);
}

static cairn_status finish_run(void *state, const cairn_snapshot *at) {
    terminal *t = state;
    char total[32];
    clear_bar(t);
    if (t->quiet || at->state != CAIRN_RUN_FINISHED || !at->best)
        return CAIRN_OK;
    format_duration(total, sizeof total, at->seconds);
    fprintf(stderr, "best %s accuracy %.4f in epoch %d; results in %s\ntotal time %s; next:\n",
            cairn_split_name(at->best->held_out), at->best->test_acc, at->best->epoch,
            t->run->folder, total);
    put_command(" predict --run-dir ", t->run->folder, " IMAGE...\n");
    put_command(" eval --run-dir ", t->run->folder,
                t->run->held_out ? " -S data.validation=0\n" : "\n");
    put_command(" export ", t->run->folder, " --out model.onnx\n");
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
                                                .begin = begin_run,
                                                .step = show_step,
                                                .epoch = show_epoch,
                                                .finish = finish_run,
                                                .note = show_note,
                                                .close = close_terminal};
