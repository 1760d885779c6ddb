/* The experiment on a few synthetic images: what a run folder holds, and that stops at every point
 * end in the unbroken run's bytes, whatever is trained. */
#include "small_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void a_run_leaves_its_folder(void **state) {
    (void)state;
    uint8_t *text;
    size_t size, count;
    cairn_epoch_row *rows;
    for (int i = 0; i < FILES; i++)
        assert_true(cairn_file_exists(path_of(whole, names[i])));
    assert_int_equal(cairn_file_read(path_of(whole, "metrics.json"), &text, &size), CAIRN_OK);
    assert_int_equal(cairn_metrics_parse((char *)text, "metrics", &rows, &count), CAIRN_OK);
    assert_int_equal(count, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(rows[i].train_loss > 1 && rows[i].train_loss < 4); /* near ln 10 */
        double correct = rows[i].train_acc * 5; /* a mean over samples, not over batches */
        assert_true(fabs(correct - round(correct)) < 1e-9);
    }
    free(rows);
    free(text);
    cairn_safetensors model;
    assert_int_equal(cairn_safetensors_read(&model, path_of(whole, "model.safetensors")), CAIRN_OK);
    assert_int_equal(model.tensor_count, 10);
    assert_non_null(cairn_safetensors_find(&model, "classifier.4.bias"));
    cairn_safetensors_free(&model);
}

static void the_same_seed_gives_the_same_bytes(void **state) {
    (void)state;
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_OK);
    assert_same_run(whole, other);
    assert_int_equal(run_with(other, NULL, OVERWRITE), CAIRN_OK); /* trained again */
    assert_same_run(whole, other);
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK); /* finished: nothing to do */
    assert_same_run(whole, other);
    assert_int_equal(run_with(other, "train.threads=2", OVERWRITE), CAIRN_OK);
    assert_same_file(path_of(whole, "metrics.json"), path_of(other, "metrics.json"));
    assert_same_file(path_of(whole, "model.safetensors"), path_of(other, "model.safetensors"));
    assert_int_equal(run_with(other, "seed=8", OVERWRITE), CAIRN_OK);
    uint8_t *a, *b;
    size_t size;
    assert_int_equal(cairn_file_read(path_of(whole, "metrics.json"), &a, &size), CAIRN_OK);
    assert_int_equal(cairn_file_read(path_of(other, "metrics.json"), &b, &size), CAIRN_OK);
    assert_string_not_equal((char *)a, (char *)b);
    free(a);
    free(b);
}

static void a_stop_after_any_step_resumes_exactly(void **state) {
    (void)state;
    for (int step = 1; step < STEPS; step++) {
        clear(other);
        steps_to_stop = step;
        assert_int_equal(run_with(other, NULL, FRESH), CAIRN_INTERRUPTED);
        cairn_checkpoint held;
        assert_int_equal(
            cairn_checkpoint_read(&held, NULL, path_of(other, "checkpoint.safetensors")), CAIRN_OK);
        assert_int_equal(held.step, step);
        assert_int_equal(held.epoch, step / 3);
        assert_int_equal(held.step_in_epoch, step % 3);
        assert_int_equal(held.stats.seen, step % 3 * 2);
        cairn_checkpoint_free(&held);
        assert_true(cairn_file_exists(path_of(other, "summary.json")));
        assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
        assert_same_run(whole, other);
    }
}

/* A stop before the first step, then after every single one; the last finishes the run. */
static void many_stops_resume_exactly(void **state) {
    (void)state;
    stop = 1;
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_INTERRUPTED);
    for (int step = 1; step <= STEPS; step++) {
        steps_to_stop = 1;
        assert_int_equal(run_with(other, NULL, RESUME),
                         step < STEPS ? CAIRN_INTERRUPTED : CAIRN_OK);
    }
    assert_same_run(whole, other);
}

/* The other backends, in every precision that they have. */
static void every_backend_resumes_exactly(void **state) {
    (void)state;
    for (const cairn_backend *const *backend = cairn_backends(); *backend; backend++)
        for (int p = CAIRN_FLOAT32; p <= CAIRN_FLOAT64; p++) {
            cairn_precision precision = (cairn_precision)p;
            if (!(*backend)->supports(precision) || (*backend)->probe())
                continue;
            char device[64], type[64];
            snprintf(device, sizeof device, "device=%s", (*backend)->name);
            snprintf(type, sizeof type, "train.precision=%s", cairn_precision_name(precision));
            const char *const overrides[] = {device, type};
            assert_int_equal(run(fast, overrides, 2, OVERWRITE), CAIRN_OK);
            for (int step = 1; step < STEPS; step++) {
                clear(other);
                steps_to_stop = step;
                assert_int_equal(run(other, overrides, 2, FRESH), CAIRN_INTERRUPTED);
                assert_int_equal(run(other, overrides, 2, RESUME), CAIRN_OK);
                assert_same_run(fast, other);
            }
        }
}

static void more_epochs_may_follow(void **state) {
    (void)state;
    assert_int_equal(run_with(other, "train.epochs=1", FRESH), CAIRN_OK);
    assert_refused(run_with(other, NULL, FRESH), "1 of 2 epochs done", "--resume");
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
    assert_same_run(whole, other);
    assert_refused(run_with(other, "train.epochs=1", RESUME), "train.epochs: 2", "now it is 1");
}

/* A schedule that has a length goes on exactly, and keeps its length. */
static void a_schedule_resumes_exactly(void **state) {
    (void)state;
    const char *const cosine[] = {"schedule.name=cosine", "schedule.warmup=2", "train.epochs=3"};
    assert_int_equal(run(fast, cosine, 3, OVERWRITE), CAIRN_OK);
    steps_to_stop = 4;
    assert_int_equal(run(other, cosine, 3, FRESH), CAIRN_INTERRUPTED);
    assert_refused(run(other, cosine, 2, RESUME), "train.epochs: 3", "now it is 2");
    assert_int_equal(run(other, cosine, 3, RESUME), CAIRN_OK);
    assert_same_run(fast, other);
    cairn_safetensors constant, moved;
    assert_int_equal(run(other, cosine + 2, 1, OVERWRITE), CAIRN_OK);
    assert_int_equal(cairn_safetensors_read(&moved, path_of(fast, "model.safetensors")), CAIRN_OK);
    assert_int_equal(cairn_safetensors_read(&constant, path_of(other, "model.safetensors")),
                     CAIRN_OK);
    assert_memory_not_equal(moved.tensor[0].values, constant.tensor[0].values,
                            moved.tensor[0].count * sizeof(float));
    cairn_safetensors_free(&constant);
    cairn_safetensors_free(&moved);
}

/* Whether the model holds what the checkpoint has under `prefix`. */
static bool is_model(const char *folder, const char *prefix) {
    cairn_safetensors model, checkpoint;
    bool same = true;
    assert_int_equal(cairn_safetensors_read(&model, path_of(folder, "model.safetensors")),
                     CAIRN_OK);
    assert_int_equal(cairn_safetensors_read(&checkpoint, path_of(folder, "checkpoint.safetensors")),
                     CAIRN_OK);
    for (size_t i = 0; i < model.tensor_count; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", prefix, model.tensor[i].name);
        const cairn_tensor *held = cairn_safetensors_find(&checkpoint, name);
        assert_non_null(held);
        same =
            same && memcmp(model.tensor[i].values, held->values, held->count * sizeof(float)) == 0;
    }
    cairn_safetensors_free(&model);
    cairn_safetensors_free(&checkpoint);
    return same;
}

/* Momentum and the average survive a stop in the middle of an epoch, whose steps are of 2 batches;
 * the average is the model. */
static void an_optimizer_resumes_exactly(void **state) {
    (void)state;
    const char *const overrides[] = {"optimizer.name=sgd",      "optimizer.momentum=0.9",
                                     "optimizer.nesterov=true", "train.lr=0.05",
                                     "train.accumulate=2",      "train.clip_norm=1",
                                     "ema.decay=0.5",           "train.epochs=1"};
    enum { COUNT = sizeof overrides / sizeof overrides[0] };
    cairn_checkpoint held;
    assert_int_equal(run(fast, overrides, COUNT, OVERWRITE), CAIRN_OK);
    steps_to_stop = 1;
    assert_int_equal(run(other, overrides, COUNT, FRESH), CAIRN_INTERRUPTED);
    assert_int_equal(cairn_checkpoint_read(&held, NULL, path_of(other, "checkpoint.safetensors")),
                     CAIRN_OK);
    assert_int_equal(held.step_in_epoch, 1);
    assert_int_equal(held.stats.seen, 4);
    cairn_checkpoint_free(&held);
    assert_refused(run(other, overrides + 1, COUNT - 1, RESUME), "optimizer.name: sgd",
                   "now it is adam");
    assert_int_equal(run(other, overrides, COUNT, RESUME), CAIRN_OK);
    assert_same_run(fast, other);
    assert_true(is_model(fast, "ema."));
    assert_false(is_model(fast, ""));
    assert_int_equal(run(other, overrides, COUNT - 2, OVERWRITE), CAIRN_OK); /* no average */
    assert_int_equal(run(other, overrides, COUNT - 2, RESUME), CAIRN_OK);
}

/* Held-out images in the test split's place, by name in every file, and exact over a stop. */
static void validation_is_never_called_test(void **state) {
    (void)state;
    const char *const held[] = {"data.validation=4", "schedule.name=plateau"};
    assert_int_equal(run(fast, held, 2, OVERWRITE), CAIRN_OK);
    steps_to_stop = 4;
    assert_int_equal(run(other, held, 2, FRESH), CAIRN_INTERRUPTED);
    assert_refused(run(other, held + 1, 1, RESUME), "data.validation: 4", "now it is 0");
    assert_int_equal(run(other, held, 2, RESUME), CAIRN_OK);
    assert_same_run(fast, other);
    static const char *const files[] = {"metrics.json", "summary.json"};
    for (int i = 0; i < 2; i++) {
        uint8_t *text;
        size_t size;
        assert_int_equal(cairn_file_read(path_of(fast, files[i]), &text, &size), CAIRN_OK);
        assert_non_null(strstr((char *)text, "val_acc"));
        assert_null(strstr((char *)text, "test_"));
        free(text);
    }
}

/* Running statistics go on as weights do, and the model's file counts its batches for PyTorch. */
static void a_normalised_net_resumes_exactly(void **state) {
    (void)state;
    const cairn_backend *backend;
    int ordinal;
    bool quick = cairn_backend_find(&backend, &ordinal, "cpu", CAIRN_FLOAT32) == CAIRN_OK;
    const char *const overrides[] = {"model.name=resnet20", "data.train_limit=4",
                                     "data.test_limit=2",
                                     quick ? "device=cpu" : "device=reference"};
    assert_int_equal(run(fast, overrides, 4, OVERWRITE), CAIRN_OK);
    steps_to_stop = 3; /* of four, two an epoch */
    assert_int_equal(run(other, overrides, 4, FRESH), CAIRN_INTERRUPTED);
    assert_int_equal(run(other, overrides, 4, RESUME), CAIRN_OK);
    assert_same_run(fast, other);
    cairn_safetensors model, checkpoint;
    assert_int_equal(cairn_safetensors_read(&model, path_of(fast, "model.safetensors")), CAIRN_OK);
    const cairn_tensor *batches = cairn_safetensors_find(&model, "bn1.num_batches_tracked");
    assert_non_null(batches);
    assert_int_equal(batches->rank, 0);
    assert_true(batches->values[0] == 2 || batches->values[0] == 4); /* the best epoch's steps */
    assert_int_equal(cairn_safetensors_read(&checkpoint, path_of(fast, "checkpoint.safetensors")),
                     CAIRN_OK);
    const cairn_tensor *variance = cairn_safetensors_find(&checkpoint, "layer3.2.bn2.running_var");
    assert_non_null(variance);
    assert_true(variance->values[0] != 1);
    assert_null(cairn_safetensors_find(&checkpoint, "adam.exp_avg.bn1.running_mean"));
    assert_non_null(cairn_safetensors_find(&checkpoint, "adam.exp_avg.bn1.weight"));
    cairn_safetensors_free(&checkpoint);
    cairn_safetensors_free(&model);
}

/* The whitening of the start is in the file; the first bias stands still from the second epoch on.
 */
static void a_whitened_net_resumes_exactly(void **state) {
    (void)state;
    const cairn_backend *backend;
    int ordinal;
    bool quick = cairn_backend_find(&backend, &ordinal, "cpu", CAIRN_FLOAT32) == CAIRN_OK;
    const char *const overrides[] = {
        "model.name=speed_cnn",   "model.whiten_bias_epochs=1",
        "ema.decay=0.5",          "optimizer.name=sgd",
        "optimizer.momentum=0.5", "optimizer.norm_bias_scale=8",
        "augment.tta=flip",       quick ? "device=cpu" : "device=reference"};
    enum { COUNT = sizeof overrides / sizeof overrides[0] };
    assert_int_equal(run(fast, overrides, COUNT, OVERWRITE), CAIRN_OK);
    for (int step = 2; step < STEPS; step += 2) { /* three an epoch */
        clear(other);
        steps_to_stop = step;
        assert_int_equal(run(other, overrides, COUNT, FRESH), CAIRN_INTERRUPTED);
        assert_int_equal(run(other, overrides, COUNT, RESUME), CAIRN_OK);
        assert_same_run(fast, other);
    }
    cairn_safetensors checkpoint;
    assert_int_equal(cairn_safetensors_read(&checkpoint, path_of(fast, "checkpoint.safetensors")),
                     CAIRN_OK);
    const cairn_tensor *weight = cairn_safetensors_find(&checkpoint, "whiten.weight");
    assert_non_null(weight);
    for (size_t i = 0; i < weight->count / 2; i++)
        assert_true(weight->values[i] == -weight->values[weight->count / 2 + i]);
    assert_null(cairn_safetensors_find(&checkpoint, "ema.whiten.weight"));
    assert_non_null(cairn_safetensors_find(&checkpoint, "ema.whiten.bias"));
    cairn_safetensors_free(&checkpoint);
}

static void a_named_recorder_resumes_exactly(void **state) {
    (void)state;
    assert_int_equal(run_with(fast, "run.recorders=jsonl", OVERWRITE), CAIRN_OK);
    steps_to_stop = 4;
    assert_int_equal(run_with(other, "run.recorders=none jsonl", FRESH), CAIRN_INTERRUPTED);
    assert_true(cairn_file_exists(path_of(other, "events.jsonl")));
    assert_int_equal(run_with(other, "run.recorders=jsonl", RESUME), CAIRN_OK);
    assert_same_run(fast, other);
    assert_same_file(path_of(fast, "events.jsonl"), path_of(other, "events.jsonl"));
    assert_int_equal(run_with(other, NULL, OVERWRITE), CAIRN_OK); /* trained again, without */
    assert_false(cairn_file_exists(path_of(other, "events.jsonl")));
}

static void unknown_recorders_are_refused(void **state) {
    (void)state;
    assert_int_equal(run_with(other, "run.recorders=none", FRESH), CAIRN_OK);
    assert_refused(run_with(other, "run.recorders=none nobody", FRESH), "'nobody'", "names: none");
    assert_refused(run_with(other, "run.recorders=non", FRESH), "'non'", "names: none");
    assert_true(cairn_file_exists(path_of(other, "metrics.json"))); /* the earlier run's */
}

#define TEST(name) cmocka_unit_test_setup(name, fresh_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_run_leaves_its_folder),
        TEST(the_same_seed_gives_the_same_bytes),
        TEST(a_stop_after_any_step_resumes_exactly),
        TEST(many_stops_resume_exactly),
        TEST(every_backend_resumes_exactly),
        TEST(more_epochs_may_follow),
        TEST(a_schedule_resumes_exactly),
        TEST(an_optimizer_resumes_exactly),
        TEST(validation_is_never_called_test),
        TEST(a_normalised_net_resumes_exactly),
        TEST(a_whitened_net_resumes_exactly),
        TEST(a_named_recorder_resumes_exactly),
        TEST(unknown_recorders_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
