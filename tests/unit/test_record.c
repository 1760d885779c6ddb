/* The recorders: what they write, byte for byte where readers depend on it. */
#include "cairn/file.h"
#include "cairn/record.h"
#include "cairn/softmax.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const cairn_recorder cairn_recorder_metrics, cairn_recorder_predictions,
    cairn_recorder_summary, cairn_recorder_dvclive, cairn_recorder_jsonl;

/* The run that recorders are told of. */
static const cairn_setting settings[] = {
    {"run.name", "a \"b\"", false, true},      {"model.name", "m", false, false},
    {"train.lr", "0.0005", true, false},       {"train.batch_size", "128", true, false},
    {"seed", "18446744073709551615", true, 0}, {"train.epochs", "12", true, false}};
static cairn_run run;

static int set_up(void **state) {
    run = (cairn_run){.settings = settings,
                      .setting_count = sizeof settings / sizeof settings[0],
                      .name = "a \"b\"",
                      .folder = folder,
                      .config_digest = "cd",
                      .device = "cpu",
                      .device_description = "d",
                      .precision = "float32",
                      .threads = 2,
                      .parameters = 620362,
                      .data = "synthetic",
                      .train_count = 50000,
                      .test = {.count = 10000}};
    return make_folder(state);
}

static int tear_down(void **state) {
    return cairn_recorders_clear(folder, true) || remove_folder(state);
}

static const char *path_of(const char *name) {
    static char path[sizeof folder + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* The file's text, the caller's to free. */
static char *text_of(const char *name) {
    uint8_t *bytes;
    size_t size;
    assert_int_equal(cairn_file_read(path_of(name), &bytes, &size), CAIRN_OK);
    return (char *)bytes;
}

/* A run as a recorder sees it: where it began and, unless that is NULL, where its last epoch and it
 * itself ended. */
static void record(const cairn_recorder *recorder, const cairn_snapshot *began,
                   const cairn_snapshot *ended) {
    void *state = NULL;
    cairn_record_request request = {0};
    assert_int_equal(recorder->open(&state, &run, &request), CAIRN_OK);
    assert_non_null(state);
    if (recorder->begin)
        assert_int_equal(recorder->begin(state, began), CAIRN_OK);
    if (ended && recorder->epoch)
        assert_int_equal(recorder->epoch(state, ended), CAIRN_OK);
    if (ended && recorder->finish)
        assert_int_equal(recorder->finish(state, ended), CAIRN_OK);
    assert_int_equal(recorder->close(state), CAIRN_OK);
}

static void metrics_are_the_reference_s_rows(void **state) {
    (void)state;
    const cairn_epoch_row rows[] = {{1, 1.5, 0.45, 1.2, 0.57, false},
                                    {2, 1, NAN, INFINITY, 1e-10, false}};
    cairn_metrics metrics = {0};
    assert_int_equal(cairn_metrics_extend(&metrics, NULL, 0), CAIRN_OK);
    assert_string_equal(metrics.text, "[]\n");
    for (size_t count = 1; count <= 2; count++)
        assert_int_equal(cairn_metrics_extend(&metrics, rows, count), CAIRN_OK);
    assert_int_equal(cairn_metrics_extend(&metrics, rows, 2), CAIRN_OK);
    const cairn_snapshot none = {.metrics = "[]\n"}, two = {.epochs = 2, .metrics = metrics.text};
    record(&cairn_recorder_metrics, &none, NULL);
    assert_false(cairn_file_exists(path_of("metrics.json"))); /* it would seem to have results */
    record(&cairn_recorder_metrics, &none, &two);
    cairn_metrics_free(&metrics);
    char *text = text_of("metrics.json");
    assert_string_equal(text,
                        "[\n  {\"epoch\":1,\"train_loss\":1.5,\"train_acc\":0.45,\"test_loss\":1.2,"
                        "\"test_acc\":0.57},\n"
                        "  {\"epoch\":2,\"train_loss\":1,\"train_acc\":null,\"test_loss\":null,"
                        "\"test_acc\":1e-10}\n]\n");
    free(text);
}

/* Neighbouring doubles stay apart, which cJSON's own printer does not promise. */
static void metrics_keep_every_bit(void **state) {
    (void)state;
    const double third = 1.0 / 3, tenth = 0.1;
    const cairn_epoch_row rows[] = {
        {1, third, nextafter(third, 1), nextafter(tenth, 0), tenth, false},
        {2, 0x1.fffffffffffffp+1023, 0x1p-1074, -0x1.23456789abcdep-7, NAN, true}};
    cairn_metrics metrics = {0};
    cairn_epoch_row *back;
    size_t count;
    assert_int_equal(cairn_metrics_extend(&metrics, rows, 2), CAIRN_OK);
    assert_int_equal(cairn_metrics_parse(metrics.text, "here", &back, &count), CAIRN_OK);
    assert_int_equal(count, 2);
    assert_memory_equal(&back[0].train_loss, &rows[0].train_loss, 4 * sizeof(double));
    assert_memory_equal(&back[1].train_loss, &rows[1].train_loss, 3 * sizeof(double));
    assert_false(back[0].held_out);
    assert_true(back[1].held_out);
    assert_true(isnan(back[1].test_acc));
    free(back);
    cairn_metrics_free(&metrics);
}

static void bad_metrics_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "{}",
        "[",
        "[1]",
        "[] x",
        "[{\"epoch\":2,\"train_loss\":1,\"train_acc\":1,\"test_loss\":1,\"test_acc\":1}]",
        "[{\"epoch\":1,\"train_loss\":\"1\",\"train_acc\":1,\"test_loss\":1,\"test_acc\":1}]",
        "[{\"epoch\":1,\"train_loss\":1,\"train_acc\":1,\"test_loss\":1}]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cairn_epoch_row *rows;
        size_t count;
        assert_int_equal(cairn_metrics_parse(texts[i], "here", &rows, &count), CAIRN_BAD_INPUT);
        assert_non_null(strstr(cairn_error_message(), "here: "));
    }
}

static void summary_is_flat_and_exact(void **state) {
    (void)state;
    const cairn_epoch_row rows[] = {{1, 5, 6, 7, 8, false}, {2, 1, 2, 3, 4, false}};
    cairn_snapshot at = {.state = CAIRN_RUN_FINISHED,
                         .epochs = 2,
                         .rows = rows,
                         .best = rows,
                         .seconds = 1.25,
                         .train_seconds = 2,
                         .trained_images = 5,
                         .origin = {.data_digest = "dd", .git_revision = "0123"}};
    record(&cairn_recorder_summary, &at, NULL);
    assert_false(cairn_file_exists(path_of("summary.json"))); /* as it goes for DVC alone */
    record(&cairn_recorder_summary, &at, &at);
    char *text = text_of("summary.json");
    cJSON *object = cJSON_Parse(text);
    assert_non_null(object);
    const cJSON *item;
    cJSON_ArrayForEach(item, object) assert_true(item->child == NULL);
    assert_non_null(strstr(text, "18446744073709551615")); /* beyond a double's 53 bits */
    assert_string_equal(cJSON_GetObjectItem(object, "run")->valuestring, "a \"b\"");
    assert_string_equal(cJSON_GetObjectItem(object, "status")->valuestring, "finished");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(object, "synthetic")));
    assert_true(cJSON_GetObjectItem(object, "final_test_acc")->valuedouble == 4);
    assert_true(cJSON_GetObjectItem(object, "best_epoch")->valuedouble == 1);
    assert_true(cJSON_GetObjectItem(object, "best_test_loss")->valuedouble == 7);
    assert_true(cJSON_GetObjectItem(object, "train_images_per_second")->valuedouble == 2.5);
    assert_true(cJSON_GetObjectItem(object, "lr")->valuedouble == 0.0005);
    assert_string_equal(cJSON_GetObjectItem(object, "git_revision")->valuestring, "0123");
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(object, "git_dirty")));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(object, "experiment")));
    cJSON_Delete(object);
    free(text);

    at.epochs = 0;
    at.best = NULL;
    run.held_out = run.dvclive = true;
    run.data = "cifar10";
    at.state = CAIRN_RUN_GOES_ON;
    record(&cairn_recorder_summary, &at, NULL);
    text = text_of("summary.json");
    object = cJSON_Parse(text);
    assert_string_equal(cJSON_GetObjectItem(object, "status")->valuestring, "running");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(object, "best_val_acc")));
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(object, "val_images")));
    assert_null(cJSON_GetObjectItem(object, "test_images"));
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(object, "synthetic")));
    cJSON_Delete(object);
    free(text);
}

static void dvclive_has_its_layout(void **state) {
    (void)state;
    static const char *const files[] = {
        "dvclive/plots/metrics/train/loss.tsv", "dvclive/plots/metrics/train/acc.tsv",
        "dvclive/plots/metrics/test/loss.tsv",  "dvclive/plots/metrics/test/acc.tsv",
        "dvclive/plots/metrics/lr.tsv",         "dvclive/metrics.json",
        "dvclive/plots/metrics/val/loss.tsv",   "dvclive/plots/metrics/val/acc.tsv"};
    static const char *const wanted[] = {
        "step\tloss\n1\t1.5\n2\t1\n",
        "step\tacc\n1\t0.25\n2\t0.5\n",
        "step\tloss\n1\t1.25\n2\tnan\n",
        "step\tacc\n1\t0.5\n2\t0.75\n",
        "step\tlr\n1\t0.25\n2\t0.125\n",
        "{\n  \"step\": 2,\n  \"lr\": 0.125,\n"
        "  \"train\": {\n    \"loss\": 1,\n    \"acc\": 0.5\n  },\n"
        "  \"test\": {\n    \"loss\": null,\n    \"acc\": 0.75\n  }\n}\n",
        "step\tloss\n",
        "step\tacc\n"};
    const cairn_epoch_row rows[] = {{1, 1.5, 0.25, 1.25, 0.5, false},
                                    {2, 1, 0.5, -NAN, 0.75, false}};
    const cairn_epoch_row held_out = {1, 1.5, 0.25, 1.25, 0.5, true};
    const double rates[] = {0.25, 0.125};
    const cairn_snapshot none = {0}, held = {.epochs = 1, .rows = &held_out, .rates = rates},
                         two = {.epochs = 2, .rows = rows, .rates = rates};
    void *unwanted = NULL;
    cairn_record_request request = {0};
    assert_int_equal(cairn_recorder_dvclive.open(&unwanted, &run, &request), CAIRN_OK);
    assert_null(unwanted);
    run.dvclive = run.held_out = true;
    record(&cairn_recorder_dvclive, &none, &held);
    char *val = text_of(files[7]);
    assert_string_equal(val, "step\tacc\n1\t0.5\n");
    free(val);
    val = text_of(files[5]);
    assert_non_null(strstr(val, "\"val\""));
    assert_null(strstr(val, "\"test\""));
    free(val);
    run.held_out = false;
    record(&cairn_recorder_dvclive, &none, &two);
    for (int i = 0; i < 8; i++) {
        char *text = text_of(files[i]);
        assert_string_equal(text, wanted[i]);
        free(text);
    }
}

static void events_are_lines(void **state) {
    (void)state;
    static const char lines[] =
        "{\"event\":\"epoch\",\"epoch\":1,\"lr\":0.25,\"train_loss\":1.5,\"train_acc\":0.25,"
        "\"test_loss\":1.25,\"test_acc\":0.5}\n"
        "{\"event\":\"epoch\",\"epoch\":2,\"lr\":0.125,\"train_loss\":1,\"train_acc\":0.5,"
        "\"val_loss\":null,\"val_acc\":0.75}\n";
    const cairn_epoch_row rows[] = {{1, 1.5, 0.25, 1.25, 0.5, false}, {2, 1, 0.5, NAN, 0.75, true}};
    const double rates[] = {0.25, 0.125};
    const cairn_snapshot none = {.state = CAIRN_RUN_GOES_ON},
                         one = {.epochs = 1, .rows = rows, .rates = rates},
                         stopped = {.state = CAIRN_RUN_INTERRUPTED},
                         two = {.state = CAIRN_RUN_FINISHED,
                                .epochs = 2,
                                .rows = rows,
                                .rates = rates,
                                .best = &rows[1]};
    char expected[1024];
    record(&cairn_recorder_jsonl, &none, &stopped);
    char *text = text_of("events.jsonl");
    assert_string_equal(text, "{\"event\":\"interrupted\",\"epochs\":0}\n");
    free(text);
    record(&cairn_recorder_jsonl, &one, &two); /* it goes on, and begins anew with what it knows */
    text = text_of("events.jsonl");
    snprintf(expected, sizeof expected,
             "%s{\"event\":\"finished\",\"epochs\":2,\"best_epoch\":2}\n", lines);
    assert_string_equal(text, expected);
    free(text);
}

/* A recorder's files go, and no others; without a word from the run only what is half-written. */
static void earlier_files_are_removed(void **state) {
    (void)state;
    const cairn_snapshot none = {.origin = {.data_digest = "dd"}};
    const char *const own = "dvclive/plots/own", *const half = "summary.json.tmp-Ab12_9";
    run.dvclive = true;
    record(&cairn_recorder_dvclive, &none, NULL);
    record(&cairn_recorder_summary, &none, &none);
    assert_int_equal(cairn_file_write(path_of(own), "", 0), CAIRN_OK);
    assert_int_equal(cairn_file_write(path_of(half), "", 0), CAIRN_OK);
    assert_int_equal(cairn_recorders_clear(folder, false), CAIRN_OK);
    assert_false(cairn_file_exists(path_of(half)));
    assert_true(cairn_file_exists(path_of("summary.json")));
    assert_true(cairn_file_exists(path_of("dvclive/metrics.json")));
    assert_int_equal(cairn_recorders_clear(folder, true), CAIRN_OK);
    assert_false(cairn_file_exists(path_of("summary.json")));
    assert_false(cairn_folder_exists(path_of("dvclive/plots/metrics")));
    assert_int_equal(unlink(path_of(own)), 0);
    assert_int_equal(rmdir(path_of("dvclive/plots")), 0);
    assert_int_equal(rmdir(path_of("dvclive")), 0);
    assert_int_equal(cairn_file_write(path_of("dvclive"), "", 0), CAIRN_OK); /* a file */
    assert_int_equal(cairn_recorders_clear(folder, true), CAIRN_OK);
    assert_int_equal(unlink(path_of("dvclive")), 0);
}

static void softmax_is_stable(void **state) {
    (void)state;
    double p[3];
    assert_int_equal(cairn_softmax((float[]){1000, 1000, -1000}, 3, p), 0); /* first of equals */
    assert_true(p[0] == 0.5 && p[1] == 0.5 && p[2] == 0);
    assert_int_equal(cairn_softmax((float[]){0, 1, 2}, 3, p), 2);
    assert_true(fabs(p[2] - 0.66524095577482187) < 1e-15);
    assert_true(fabs(p[0] + p[1] + p[2] - 1) < 1e-15);
    cairn_softmax((float[]){-NAN, 0, 1}, 3, p);
    for (int i = 0; i < 3; i++)
        assert_true(isnan(p[i]) && !signbit(p[i])); /* a printed one has no sign */
}

static void predictions_and_confusion(void **state) {
    (void)state;
    const float logits[] = {5, 0, 0, 5, 0, 5, 0, 0};
    uint8_t labels[] = {0, 0, 1, 1};
    const cairn_class_name names[2] = {"cat", "a \"b\", c"};
    const cairn_snapshot interrupted = {.state = CAIRN_RUN_INTERRUPTED},
                         finished = {.state = CAIRN_RUN_FINISHED, .logits = logits};
    run.test = (cairn_split){.count = 4, .labels = labels};
    run.classes = 2;
    run.class_names = names;
    record(&cairn_recorder_predictions, NULL, &interrupted);
    assert_false(cairn_file_exists(path_of("predictions.csv")));
    record(&cairn_recorder_predictions, NULL, &finished);
    char *text = text_of("predictions.csv");
    assert_string_equal(text, "actual,predicted,confidence\n0,0,0.993307\n0,1,0.993307\n"
                              "1,1,0.993307\n1,0,0.500000\n");
    free(text);
    text = text_of("confusion.csv");
    assert_string_equal(text, "actual/predicted,cat,\"a \"\"b\"\", c\"\ncat,1,1\n"
                              "\"a \"\"b\"\", c\",1,1\n");
    free(text);
    char *const files[] = {"test/cat/1.png", "test/cat/2, or 3.png", "a", "b"};
    run.test_files = files;
    run.test.count = 2;
    record(&cairn_recorder_predictions, NULL, &finished);
    text = text_of("predictions.csv");
    assert_string_equal(text, "actual,predicted,confidence,file\n0,0,0.993307,test/cat/1.png\n"
                              "0,1,0.993307,\"test/cat/2, or 3.png\"\n");
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(metrics_are_the_reference_s_rows),
        cmocka_unit_test(metrics_keep_every_bit),
        cmocka_unit_test(bad_metrics_are_refused),
        TEST(summary_is_flat_and_exact),
        TEST(dvclive_has_its_layout),
        TEST(events_are_lines),
        TEST(earlier_files_are_removed),
        cmocka_unit_test(softmax_is_stable),
        TEST(predictions_and_confusion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
