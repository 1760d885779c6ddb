/* All recorders as one: what they ask for, what each then sees, and what comes before a checkpoint
 * and after it. */
#include "cairn/file.h"
#include "cairn/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"

#include <string.h>

static char trace[sizeof folder + 16];
static const char *path_of(const char *name) {
    static char path[sizeof folder + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const cairn_setting settings[] = {{"run.recorders", "jsonl", false, true},
                                         {"tensorboard.enabled", "false", false, true},
                                         {"train.epochs", "3", true, false}};
static cairn_run run;

static int set_up(void **state) {
    if (make_folder(state))
        return -1;
    snprintf(trace, sizeof trace, "%s/trace.json", folder);
    run = (cairn_run){.settings = settings,
                      .setting_count = 3,
                      .quiet = true,
                      .trace = trace,
                      .trace_steps = 2,
                      .folder = folder,
                      .device = "cpu",
                      .device_description = "d"};
    return 0;
}

/* How often the text is in the file. */
static int count_in(const char *path, const char *text) {
    uint8_t *bytes;
    size_t size;
    int count = 0;
    assert_int_equal(cairn_file_read(path, &bytes, &size), CAIRN_OK);
    for (const char *at = (char *)bytes; (at = strstr(at, text)); at++)
        count++;
    free(bytes);
    return count;
}

static void each_sees_what_it_asked_for(void **state) {
    (void)state;
    const cairn_timing part = {.name = "conv forward", .seconds = 1e-3};
    const cairn_snapshot none = {0};
    cairn_recorders *recorders = NULL;
    assert_int_equal(cairn_recorders_check(&run), CAIRN_OK);
    assert_int_equal(cairn_recorders_open(&recorders, &run), CAIRN_OK);
    assert_int_equal(cairn_recorders_begin(recorders, &none), CAIRN_OK);
    for (uint32_t place = 0; place < 4; place++) {
        const cairn_step_record step = {
            .step = place + 1, .begin = 1, .end = 2, .parts = &part, .part_count = 1};
        cairn_record_due due = cairn_recorders_due_step(recorders, place, place + 1);
        assert_int_equal(due.parts, place < 2);
        assert_false(due.means);
        assert_int_equal(cairn_recorders_step(recorders, &step, place), CAIRN_OK);
    }
    cairn_record_due due = cairn_recorders_due_epoch(recorders, 1);
    assert_true(due.last_logits);
    assert_false(due.logits || due.tensors || due.provenance);
    assert_int_equal(cairn_recorders_close(recorders), CAIRN_OK);
    assert_int_equal(count_in(trace, "conv forward"), 2);
    assert_int_equal(count_in(trace, "\"step\""), 2);
}

static void files_are_written_after_the_checkpoint(void **state) {
    (void)state;
    const cairn_epoch_row row = {1, 1, 1, 1, 1, false};
    const double rate = 1;
    const cairn_snapshot none = {0},
                         one = {.epochs = 1, .rows = &row, .rates = &rate, .metrics = "[]\n"};
    cairn_recorders *recorders = NULL;
    assert_int_equal(cairn_recorders_open(&recorders, &run), CAIRN_OK);
    assert_int_equal(cairn_recorders_begin(recorders, &none), CAIRN_OK);
    assert_int_equal(cairn_recorders_epoch(recorders, &one, true), CAIRN_OK);
    assert_int_equal(cairn_recorders_sync(recorders), CAIRN_OK);
    assert_false(cairn_file_exists(path_of("metrics.json")));
    assert_int_equal(count_in(path_of("events.jsonl"), "\n"), 0);
    assert_int_equal(cairn_recorders_epoch(recorders, &one, false), CAIRN_OK);
    assert_int_equal(cairn_recorders_epoch(recorders, &one, false), CAIRN_OK); /* told again */
    assert_true(cairn_file_exists(path_of("metrics.json")));
    assert_int_equal(count_in(path_of("events.jsonl"), "\n"), 1);
    assert_int_equal(cairn_recorders_close(recorders), CAIRN_OK);
}

static void a_failure_is_told_and_the_rest_is_closed(void **state) {
    (void)state;
    cairn_recorders *recorders = NULL;
    run.trace = "/none/trace.json";
    assert_int_equal(cairn_recorders_open(&recorders, &run), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "/none/trace.json"));
    assert_int_equal(cairn_recorders_close(recorders), CAIRN_OK);
    assert_int_equal(cairn_recorders_close(NULL), CAIRN_OK);
    cairn_recorders_note(NULL, "nobody reads it");
    cairn_recorders_phase(NULL, "nothing", 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(each_sees_what_it_asked_for),
        TEST(files_are_written_after_the_checkpoint),
        TEST(a_failure_is_told_and_the_rest_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
