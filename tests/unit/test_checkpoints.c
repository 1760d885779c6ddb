/* Checkpoints of a small experiment: that faults, damage and divergence cost little and end in the
 * unbroken run's bytes. */
#include "small_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* It may be large. */
static void a_resume_reads_its_checkpoint_once(void **state) {
    (void)state;
    steps_to_stop = 4;
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_INTERRUPTED);
    checkpoints_read = 0;
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
    assert_int_equal(checkpoints_read, 1);
    assert_same_run(whole, other);
}

/* One after two steps, whose number in the epoch was called `batch` then. */
static void an_older_checkpoint_goes_on(void **state) {
    (void)state;
    static const char older[] = CAIRN_TESTS_DIR "/unit/fixtures/older_checkpoint.safetensors";
    const char *const overrides[] = {"model.widths=1", "model.hidden=1"};
    cairn_checkpoint held;
    assert_int_equal(cairn_checkpoint_read(&held, NULL, older), CAIRN_OK);
    assert_int_equal(held.epoch, 0);
    assert_int_equal(held.step_in_epoch, 2);
    assert_int_equal(held.step, 2);
    assert_int_equal(held.stats.seen, 4);
    cairn_checkpoint_free(&held);
    assert_int_equal(mkdir(other, 0700), 0);
    copy_file(older, path_of(other, "checkpoint.safetensors"));
    assert_int_equal(run(other, overrides, 2, RESUME), CAIRN_OK);
    assert_int_equal(cairn_checkpoint_read(&held, NULL, path_of(other, "checkpoint.safetensors")),
                     CAIRN_OK);
    assert_int_equal(held.step, 6);
    cairn_checkpoint_free(&held);
}

static void a_failed_write_anywhere_is_survived(void **state) {
    (void)state;
    cairn_status status = CAIRN_FAILED;
    int write = 0;
    while (status != CAIRN_OK) {
        assert_true(++write < 30);
        clear(other);
        writes_to_fail = write;
        status = run_with(other, NULL, FRESH);
        if (status == CAIRN_OK)
            break;
        assert_int_equal(status, CAIRN_FAILED);
        assert_non_null(strstr(cairn_error_message(), "no space left"));
        assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
        assert_same_run(whole, other);
    }
    assert_true(write > 9); /* parameters, two epochs' files, results */
}

static void bad_checkpoints_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *expected;
    } changes[] = {
        {"step_in_epoch", "3", "has 3 steps done of an epoch of fewer"},
        {"step", "-1", "'step' is '-1'"},
        {"epoch", "1", "rows"},
        {"rows", "[", "JSON"},
        {"loss", "x", "'loss' is 'x'"},
        {"params", "seed: x", "seed"},
        {"data_digest", "00", "--overwrite"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        clear(other);
        stop = 1;
        assert_int_equal(run_with(other, NULL, FRESH), CAIRN_INTERRUPTED);
        change_checkpoint(changes[i].key, changes[i].value);
        assert_refused(run_with(other, NULL, RESUME), "checkpoint.safetensors",
                       changes[i].expected);
    }
    assert_int_equal(truncate(path_of(other, "checkpoint.safetensors"), 5000), 0);
    assert_refused(run_with(other, NULL, RESUME), "checkpoint.safetensors", "cut short");
}

/* Damage to the last checkpoint, or its loss, costs the steps since the one before, and no more. */
static void the_checkpoint_before_stands_in(void **state) {
    (void)state;
    const char *const often[] = {"checkpoint.every_steps=1"};
    for (int lost = 0; lost <= 1; lost++) {
        clear(other);
        steps_to_stop = 5;
        assert_int_equal(run(other, often, 1, FRESH), CAIRN_INTERRUPTED);
        if (lost)
            assert_int_equal(unlink(path_of(other, "checkpoint.safetensors")), 0);
        else
            assert_int_equal(truncate(path_of(other, "checkpoint.safetensors"), 40000), 0);
        cairn_checkpoint held;
        assert_int_equal(
            cairn_checkpoint_read(&held, NULL, path_of(other, "checkpoint.previous.safetensors")),
            CAIRN_OK);
        assert_int_equal(held.step, 4);
        cairn_checkpoint_free(&held);
        assert_int_equal(run(other, often, 1, RESUME), CAIRN_OK);
        unlink(path_of(other, "params.yaml")); /* it says how often */
        copy_file(path_of(whole, "params.yaml"), path_of(other, "params.yaml"));
    }
    assert_same_file(path_of(whole, "metrics.json"), path_of(other, "metrics.json"));
    assert_same_file(path_of(whole, "model.safetensors"), path_of(other, "model.safetensors"));
}

/* A damaged checkpoint does not take the place of the one before, which the run goes on from, while
 * no save has come through; later ones do. */
static void the_checkpoint_before_stays_until_a_save(void **state) {
    (void)state;
    const char *const often[] = {"checkpoint.every_steps=1"};
    steps_to_stop = 5;
    assert_int_equal(run(other, often, 1, FRESH), CAIRN_INTERRUPTED);
    assert_int_equal(truncate(path_of(other, "checkpoint.safetensors"), 40000), 0);
    for (uint32_t last = 4; last <= 5; last++) {
        writes_to_fail = last == 4 ? 4 : 0; /* after params.yaml, metrics.json and summary.json */
        assert_int_equal(run(other, often, 1, RESUME), last == 4 ? CAIRN_FAILED : CAIRN_OK);
        if (last == 4)
            assert_non_null(strstr(cairn_error_message(), "checkpoint.safetensors: cannot write"));
        cairn_checkpoint held;
        assert_int_equal(
            cairn_checkpoint_read(&held, NULL, path_of(other, "checkpoint.previous.safetensors")),
            CAIRN_OK);
        assert_int_equal(held.step, last);
        cairn_checkpoint_free(&held);
    }
    assert_same_file(path_of(whole, "metrics.json"), path_of(other, "metrics.json"));
    assert_same_file(path_of(whole, "model.safetensors"), path_of(other, "model.safetensors"));
}

/* How many rows there are, and which epoch is the best of them. */
static size_t rows_of(const char *folder, int *best) {
    uint8_t *text;
    size_t size, count;
    cairn_epoch_row *rows;
    assert_int_equal(cairn_file_read(path_of(folder, "metrics.json"), &text, &size), CAIRN_OK);
    assert_int_equal(cairn_metrics_parse((char *)text, "metrics", &rows, &count), CAIRN_OK);
    *best = 0;
    for (size_t i = 1; i < count; i++)
        if (rows[i].test_acc > rows[*best].test_acc)
            *best = (int)i;
    ++*best;
    free(rows);
    free(text);
    return count;
}

/* The epoch that the folder's checkpoint ends. */
static uint32_t epoch_of(const char *folder) {
    cairn_checkpoint held;
    assert_int_equal(cairn_checkpoint_read(&held, NULL, path_of(folder, "checkpoint.safetensors")),
                     CAIRN_OK);
    cairn_checkpoint_free(&held);
    return held.epoch;
}

/* A save that took long is not soon followed by another: the next four epochs, and the best model,
 * wait in memory. Whatever ends the run then, it ends as one that saves after every step. */
static void epochs_that_wait_to_be_saved_are_not_lost(void **state) {
    (void)state;
    static const char *const longer[] = {"train.epochs=6", "data.test_limit=40", "train.lr=0.03",
                                         "checkpoint.every_steps=1"};
    int best;
    enum { TO_THE_END, STOPPED, DIVERGED, KILLED, ENDS };
    assert_int_equal(run(fast, longer, 4, OVERWRITE), CAIRN_OK);
    assert_int_equal(rows_of(fast, &best), 6);
    assert_int_equal(best, 2);
    for (int end = TO_THE_END; end < ENDS; end++) {
        const int fifth = 4 * STEPS / 2 + 1; /* its first step */
        clear(other);
        checkpoints = 0;
        slow_disk = 400000;
        if (end == STOPPED)
            steps_to_stop = fifth;
        if (end == DIVERGED)
            steps_to_break = fifth;
        if (end == KILLED) {
            pid_t child = fork();
            if (child == 0) {
                steps_to_kill = fifth;
                run(other, longer, 3, FRESH);
                _exit(0);
            }
            int result;
            assert_int_equal(waitpid(child, &result, 0), child);
            assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
        } else {
            static const cairn_status expected[] = {CAIRN_OK, CAIRN_INTERRUPTED, CAIRN_FAILED};
            assert_int_equal(run(other, longer, 3, FRESH), expected[end]);
            assert_int_equal(checkpoints, end == DIVERGED ? 1 : 2);
            assert_int_equal(rows_of(other, &best), end == TO_THE_END ? 6 : 4);
        }
        assert_int_equal(epoch_of(other), end == TO_THE_END ? 6 : end == STOPPED ? 4 : 1);
        if (end != KILLED)
            assert_same_file(path_of(fast, "model.safetensors"),
                             path_of(other, "model.safetensors"));
        assert_int_equal(run(other, longer, 3, RESUME), CAIRN_OK);
        for (int i = 1; i < EXACT; i++)
            assert_same_file(path_of(fast, names[i]), path_of(other, names[i]));
    }
}

static void divergence_may_go_on(void **state) {
    (void)state;
    cairn_epoch_row *rows;
    uint8_t *text;
    size_t size, count;
    steps_to_break = 2;
    assert_int_equal(run_with(other, "train.on_nan=continue", FRESH), CAIRN_OK);
    assert_int_equal(cairn_file_read(path_of(other, "metrics.json"), &text, &size), CAIRN_OK);
    assert_int_equal(cairn_metrics_parse((char *)text, "metrics", &rows, &count), CAIRN_OK);
    assert_int_equal(count, 2);
    assert_true(isnan(rows[0].train_loss) && isnan(rows[1].test_loss));
    free(rows);
    free(text);
}

static void divergence_keeps_the_last_good_state(void **state) {
    (void)state;
    /* In the middle of the second epoch: its train loss is NaN. After its last step: only the test
     * loss is. */
    for (int step = 4; step <= STEPS; step += 2) {
        clear(other);
        steps_to_break = step;
        assert_int_equal(run_with(other, NULL, FRESH), CAIRN_FAILED);
        assert_non_null(strstr(cairn_error_message(), "diverged in epoch 2, seen after step"));
        assert_non_null(strstr(cairn_error_message(), step == STEPS ? "test loss" : "train loss"));
        assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
        assert_same_run(whole, other);
    }
    clear(other);
    steps_to_break = 4;
    steps_to_stop = 5;
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_FAILED);
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
    assert_same_run(whole, other);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_resume_reads_its_checkpoint_once),
        TEST(an_older_checkpoint_goes_on),
        TEST(a_failed_write_anywhere_is_survived),
        TEST(bad_checkpoints_are_refused),
        TEST(the_checkpoint_before_stands_in),
        TEST(the_checkpoint_before_stays_until_a_save),
        TEST(epochs_that_wait_to_be_saved_are_not_lost),
        TEST(divergence_may_go_on),
        TEST(divergence_keeps_the_last_good_state),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
