/* The terminal's recorder, seen through pipes and through a pseudo-terminal. */
#include "cairn/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern const cairn_recorder cairn_recorder_terminal;

static const cairn_setting settings[] = {{"train.epochs", "12", true, false}};
static cairn_run run = {.settings = settings, .setting_count = 1, .folder = "runs/it's"};

/* A short run's worth of calls. */
static void play(bool quiet) {
    const cairn_recorder *terminal = &cairn_recorder_terminal;
    const cairn_epoch_row row = {1, 1.5, 0.45, 1.2, 0.57, false};
    const cairn_snapshot at = {.epochs = 1, .rows = &row, .best = &row},
                         failed = {.state = CAIRN_RUN_FAILED, .epochs = 1, .rows = &row},
                         done = {.state = CAIRN_RUN_FINISHED,
                                 .epochs = 1,
                                 .rows = &row,
                                 .best = &row,
                                 .seconds = 3725};
    const double so_far[] = {1.625, 0.375};
    cairn_step_record step = {.epoch = 1, .total = 1000, .lr = 0.0005};
    cairn_record_request request = {0};
    void *state = NULL;
    run.quiet = quiet;
    if (terminal->open(&state, &run, &request))
        _exit(1);
    terminal->begin(state, &at);
    for (step.seen = 0; step.seen < 1000; step.seen++) /* far within one redraw interval */
        terminal->step(state, &step);
    nanosleep(&(struct timespec){.tv_nsec = 120000000}, NULL);
    step.so_far = so_far;
    step.seen = 600;
    terminal->step(state, &step);
    step.seen = 1000; /* the epoch's last, at once */
    terminal->step(state, &step);
    terminal->epoch(state, &at);
    terminal->epoch(state, &failed);
    terminal->note(state, "note 7");
    terminal->finish(state, &done);
    terminal->close(state);
}

/* Everything that a process playing the calls writes to stdout and stderr, on a pseudo-terminal of
 * `columns`, or with 0 on pipes, stdout's text first. */
static void capture_in(const char *kind, int columns, bool quiet, const char *no_colour, char *out,
                       size_t size) {
    int master = -1, pipes[2][2];
    struct winsize window = {.ws_row = 24, .ws_col = (unsigned short)columns};
    for (int i = 0; !columns && i < 2; i++)
        assert_int_equal(pipe(pipes[i]), 0);
    fflush(NULL);
    pid_t child = columns ? forkpty(&master, NULL, NULL, &window) : fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (int i = 0; !columns && i < 2; i++)
            dup2(pipes[i][1], i + 1);
        if (kind)
            setenv("TERM", kind, 1);
        else
            unsetenv("TERM");
        program_invocation_name = (char[]){"./cairn"};
        setenv("NO_COLOR", no_colour, 1);
        play(quiet);
        fflush(NULL);
        _exit(0);
    }
    size_t length = 0;
    for (int i = 0; i < (columns ? 1 : 2); i++) {
        int from = columns ? master : pipes[i][0];
        if (!columns)
            close(pipes[i][1]);
        for (ssize_t got; (got = read(from, out + length, size - 1 - length)) > 0;)
            length += (size_t)got;
        close(from);
    }
    out[length] = 0;
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void capture(int columns, bool quiet, const char *no_colour, char *out, size_t size) {
    capture_in("xterm", columns, quiet, no_colour, out, size);
}

static const char row_text[] = "train loss 1.5000 acc 0.450 | test loss 1.2000 acc 0.570";

static const char end_text[] = "note 7\n"
                               "best test accuracy 0.5700 in epoch 1; results in runs/it's\n"
                               "total time 1h 02m; next:\n"
                               "  ./cairn predict --run-dir 'runs/it'\\''s' IMAGE...\n"
                               "  ./cairn eval --run-dir 'runs/it'\\''s'\n"
                               "  ./cairn export 'runs/it'\\''s' --out model.onnx\n";

static void pipes_get_plain_lines(void **state) {
    (void)state;
    char text[4096], expected[1024];
    snprintf(expected, sizeof expected, "Epoch 01 | %s\n%s", row_text, end_text);
    capture(0, false, "", text, sizeof text);
    assert_string_equal(text, expected);
    capture(0, true, "", text, sizeof text);
    assert_string_equal(text, "");
}

static int occurrences(const char *text, const char *part) {
    int count = 0;
    for (; (text = strstr(text, part)); text++)
        count++;
    return count;
}

static void a_tty_gets_a_bar(void **state) {
    (void)state;
    char text[8192];
    capture(80, false, "", text, sizeof text);
    assert_non_null(strstr(text, "\r\033[KEpoch 01/12 ["));
    assert_non_null(strstr(text, "\033[32m####"));
    assert_non_null(strstr(text, "100%  "));
    assert_non_null(strstr(text, " images/s\r"));
    assert_non_null(strstr(text, " left"));
    assert_non_null(strstr(text, "]  60%  loss 1.625 acc 0.375  "));
    assert_non_null(strstr(text, "] 100%  loss 1.625 acc 0.375  evaluating  "));
    /* The first, after 0.12 s, the last; and the epoch's line. */
    assert_int_equal(occurrences(text, "Epoch 01/12"), 4);
    /* The bar is gone before the line starts, which says how long it took and that it is best. */
    char cleared[128];
    snprintf(cleared, sizeof cleared, "images/s\r\033[KEpoch 01/12 | %s | 0.", row_text);
    const char *line = strstr(text, cleared);
    assert_non_null(line);
    assert_memory_equal(line + strlen(cleared) + 1, "s *\r\nnote 7\r\n", 13);

    capture(80, false, "1", text, sizeof text);
    assert_non_null(strstr(text, "[####"));
    assert_null(strstr(text, "\033[3"));
    capture(80, true, "", text, sizeof text);
    assert_string_equal(text, "");
}

static void no_escapes_where_none_are_known(void **state) {
    (void)state;
    static const char *const kinds[] = {"dumb", "", NULL};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char text[4096];
        capture_in(kinds[i], 80, false, "", text, sizeof text);
        assert_null(strchr(text, '\033'));
        assert_non_null(strstr(text, row_text));
    }
}

static void a_narrow_one_keeps_what_matters(void **state) {
    (void)state;
    char text[8192];
    capture(40, false, "", text, sizeof text);
    assert_non_null(strstr(text, "Epoch 01/12  60%  loss 1.625 acc 0.375\r"));
    assert_non_null(strstr(text, "Epoch 01/12 100%  evaluating\r"));
    capture(200, false, "", text, sizeof text);
    assert_non_null(strstr(text, " images/s  lr 0.0005\r"));
}

/* Whatever the width, no drawn line is wider than the terminal. */
static void the_bar_fits(void **state) {
    (void)state;
    static const int widths[] = {1, 2, 20, 40, 55, 60, 79, 200};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        char text[8192];
        capture(widths[i], false, "1", text, sizeof text);
        char *end = strstr(text, "Epoch 01/12 |");
        assert_non_null(end);
        *end = 0;
        for (char *line = strtok(text, "\r"); line; line = strtok(NULL, "\r"))
            assert_true((int)strlen(line) - 3 < widths[i]); /* 3: the clearing sequence */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipes_get_plain_lines),
        cmocka_unit_test(a_tty_gets_a_bar),
        cmocka_unit_test(no_escapes_where_none_are_known),
        cmocka_unit_test(a_narrow_one_keeps_what_matters),
        cmocka_unit_test(the_bar_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
