/* The experiment on a few synthetic images: what a run folder holds, that stops and faults at every
 * point end in the unbroken run's bytes, and that no run is lost in silence.
 *
 * The linker puts __wrap_X before the real X (tests/CMakeLists.txt), so that a run can be stopped
 * after any step and any write can fail. */
#include "cairn/file.h"
#include "cairn/lock.h"
#include "cairn/model.h"
#include "cairn/safetensors.h"
#include "cairn/checkpoint.h"
#include "cairn/experiment.h"
#include "cairn/model_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Faults --------------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop;
static int steps_to_stop;    /* counted down by each step; at 0 `stop` is set; -1: never */
static int steps_to_break;   /* the step after which a weight is NaN */
static int writes_to_fail;   /* the write that fails; 0: none */
static int steps_to_kill;    /* the step after which the process kills itself; 0: none */
static int checkpoints;      /* writes of them, counted */
static useconds_t slow_disk; /* what each takes more */
static int checkpoints_read; /* counted */

cairn_status __real_cairn_executor_train_step(cairn_executor *executor, const cairn_step *step);
cairn_status __wrap_cairn_executor_train_step(cairn_executor *executor, const cairn_step *step);
cairn_status __wrap_cairn_executor_train_step(cairn_executor *executor, const cairn_step *step) {
    cairn_status status = __real_cairn_executor_train_step(executor, step);
    if (steps_to_stop > 0 && --steps_to_stop == 0)
        stop = 1;
    if (steps_to_kill > 0 && --steps_to_kill == 0)
        raise(SIGKILL);
    if (!status && steps_to_break > 0 && --steps_to_break == 0) {
        int last = executor->net->parameter_count - 1;
        float values[64];
        assert_true(executor->net->parameter[last].count <= 64);
        for (int i = 0; i < 64; i++)
            values[i] = NAN;
        status = cairn_executor_set(executor, CAIRN_PARAMETER, last, values);
    }
    return status;
}

cairn_status __real_cairn_safetensors_read(cairn_safetensors *file, const char *path);
cairn_status __wrap_cairn_safetensors_read(cairn_safetensors *file, const char *path);
cairn_status __wrap_cairn_safetensors_read(cairn_safetensors *file, const char *path) {
    checkpoints_read += strstr(path, "/checkpoint.") != NULL;
    return __real_cairn_safetensors_read(file, path);
}

/* Before a file is written: the fault that is due. */
static cairn_status meet_write(const char *path) {
    if (writes_to_fail > 0 && --writes_to_fail == 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot write: no space left", path);
    if (strstr(path, "/checkpoint.safetensors")) {
        checkpoints++;
        usleep(slow_disk);
        slow_disk = 0;
    }
    return CAIRN_OK;
}

cairn_status __real_cairn_file_write(const char *path, const void *data, size_t size);
cairn_status __wrap_cairn_file_write(const char *path, const void *data, size_t size);
cairn_status __wrap_cairn_file_write(const char *path, const void *data, size_t size) {
    cairn_status status = meet_write(path);
    return status ? status : __real_cairn_file_write(path, data, size);
}

cairn_status __real_cairn_file_write_parts(const char *path, struct iovec *parts, size_t count);
cairn_status __wrap_cairn_file_write_parts(const char *path, struct iovec *parts, size_t count);
cairn_status __wrap_cairn_file_write_parts(const char *path, struct iovec *parts, size_t count) {
    cairn_status status = meet_write(path);
    return status ? status : __real_cairn_file_write_parts(path, parts, count);
}

/* Runs ----------------------------------------------------------------------------------------- */

/* Five images in batches of 2, 2 and 1, twice: six steps. */
enum { STEPS = 6 };
static const char base[] = "seed: 7\ndevice: reference\n"
                           "data: {name: synthetic, dir: none, train_limit: 5, test_limit: 3}\n"
                           "model: {widths: 8 8 8, hidden: 16}\n"
                           "train: {epochs: 2, batch_size: 2, lr: 0.001, threads: 1}\n"
                           "run: {name: r, out_dir: none}\n";
static char root[64], whole[80], other[80], fast[80]; /* `whole` holds the unbroken run */

static cairn_config configured(const char *const *overrides, size_t count) {
    cairn_config config;
    assert_int_equal(cairn_config_parse(&config, base, strlen(base), "base", overrides, count),
                     CAIRN_OK);
    return config;
}

enum { FRESH, RESUME, OVERWRITE };

static cairn_status run(const char *folder, const char *const *overrides, size_t count, int how) {
    cairn_config config = configured(overrides, count);
    const cairn_experiment_options options = {.run_dir = folder,
                                              .resume = how == RESUME,
                                              .overwrite = how == OVERWRITE,
                                              .quiet = true,
                                              .stop = &stop};
    cairn_status status = cairn_experiment_run(&config, &options);
    stop = 0;
    steps_to_stop = steps_to_break = writes_to_fail = 0;
    slow_disk = 0;
    return status;
}

static cairn_status run_with(const char *folder, const char *override, int how) {
    return run(folder, &override, override != NULL, how);
}

/* All but the times: seven equal files, the checkpoint by its tensors and position. */
static void assert_same_run(const char *a, const char *b) {
    cairn_safetensors x, y;
    for (int i = 0; i < EXACT; i++)
        assert_same_file(path_of(a, names[i]), path_of(b, names[i]));
    assert_true(cairn_file_exists(path_of(b, "summary.json")));
    assert_int_equal(cairn_safetensors_read(&x, path_of(a, "checkpoint.safetensors")), CAIRN_OK);
    assert_int_equal(cairn_safetensors_read(&y, path_of(b, "checkpoint.safetensors")), CAIRN_OK);
    assert_int_equal(x.tensor_count, y.tensor_count);
    for (size_t i = 0; i < x.tensor_count; i++) {
        assert_string_equal(x.tensor[i].name, y.tensor[i].name);
        assert_memory_equal(x.tensor[i].values, y.tensor[i].values,
                            x.tensor[i].count * sizeof(float));
    }
    static const char *const keys[] = {"params", "rows", "epoch", "step_in_epoch",
                                       "step",   "loss", "seen"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_string_equal(cairn_safetensors_metadata(&x, keys[i]),
                            cairn_safetensors_metadata(&y, keys[i]));
    cairn_safetensors_free(&x);
    cairn_safetensors_free(&y);
}

/* The status is BAD_INPUT and the message holds every one of the texts. */
static void assert_refused(cairn_status status, const char *first, const char *second) {
    assert_int_equal(status, CAIRN_BAD_INPUT);
    if (!strstr(cairn_error_message(), first) || !strstr(cairn_error_message(), second))
        fail_msg("expected '%s' and '%s' in: %s", first, second, cairn_error_message());
}

/* Rewrites the checkpoint in `other` with one metadata value replaced. */
static void change_checkpoint(const char *key, const char *value) {
    const char *path = path_of(other, "checkpoint.safetensors");
    cairn_safetensors file;
    assert_int_equal(cairn_safetensors_read(&file, path), CAIRN_OK);
    for (size_t i = 0; i < file.metadata_count; i++)
        if (strcmp(file.metadata[i].key, key) == 0) {
            free(file.metadata[i].value);
            file.metadata[i].value = strdup(value);
        }
    assert_int_equal(cairn_safetensors_write(&file, path), CAIRN_OK);
    cairn_safetensors_free(&file);
}

static void copy_file(const char *from, const char *to) {
    uint8_t *bytes;
    size_t size;
    assert_int_equal(cairn_file_read(from, &bytes, &size), CAIRN_OK);
    assert_int_equal(cairn_file_write(to, bytes, size), CAIRN_OK);
    free(bytes);
}

static int set_up(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/cairn-train-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(whole, sizeof whole, "%s/whole", root);
    snprintf(other, sizeof other, "%s/other", root);
    snprintf(fast, sizeof fast, "%s/fast", root);
    return (int)run_with(whole, NULL, FRESH);
}

static int tear_down(void **state) {
    (void)state;
    clear(whole);
    clear(other);
    clear(fast);
    return rmdir(root); /* fails when a temporary file was left */
}

static int fresh_folder(void **state) {
    (void)state;
    clear(other);
    return 0;
}

/* Tests ---------------------------------------------------------------------------------------- */

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
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_OK); /* finished: trained again */
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

static void no_run_is_lost_in_silence(void **state) {
    (void)state;
    steps_to_stop = 2;
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_INTERRUPTED);
    assert_refused(run_with(other, NULL, FRESH), "unfinished run", "--overwrite");
    for (int how = FRESH; how <= RESUME; how++) {
        assert_refused(run_with(other, "train.lr=0.002", how), "train.lr: 0.001",
                       "now it is 0.002");
        assert_refused(run_with(other, "data.train_limit=4", how), "data.train_limit",
                       "now it is 4");
    }
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK); /* all of it is still there */
    assert_same_run(whole, other);

    unlink(path_of(other, "checkpoint.safetensors"));
    unlink(path_of(other, "checkpoint.previous.safetensors"));
    for (int how = FRESH; how <= RESUME; how++)
        assert_refused(run_with(other, NULL, how), "without a checkpoint", "--overwrite");

    /* Nothing of the old run stays beside a new one. */
    steps_to_stop = 1;
    assert_int_equal(run_with(other, "train.lr=0.002", OVERWRITE), CAIRN_INTERRUPTED);
    assert_false(cairn_file_exists(path_of(other, "metrics.json")));
    assert_false(cairn_file_exists(path_of(other, "model.safetensors")));
    assert_false(cairn_file_exists(path_of(other, "predictions.csv")));
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
        writes_to_fail = last == 4 ? 3 : 0; /* after params.yaml and metrics.json */
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

/* What a killed process left half-written goes; a user's own files stay. */
static void half_written_files_are_swept(void **state) {
    (void)state;
    char stray[200], own[200];
    steps_to_stop = 2;
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_INTERRUPTED);
    snprintf(stray, sizeof stray, "%s/checkpoint.safetensors.tmp-Ab12_9", other);
    snprintf(own, sizeof own, "%s/checkpoint.safetensors.backup", other);
    copy_file(path_of(other, "params.yaml"), stray);
    copy_file(path_of(other, "params.yaml"), own);
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
    assert_false(cairn_file_exists(stray));
    assert_int_equal(unlink(own), 0);
    assert_same_run(whole, other);
}

/* A process of its own runs in the folder; a pipe says when it has begun, another lets it end. */
static void a_folder_in_use_is_refused_with_its_pid(void **state) {
    (void)state;
    int begun[2], end[2];
    char byte = 0, pid[32], path[160];
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_OK);
    snprintf(path, sizeof path, "%s/.lock", other);
    assert_true(pipe(begun) == 0 && pipe(end) == 0);
    pid_t child = fork();
    if (child == 0) {
        cairn_lock lock = {0};
        byte = cairn_lock_take(&lock, path) == CAIRN_OK;
        byte = write(begun[1], &byte, 1) == 1 && read(end[0], &byte, 1) == 1;
        _exit(0); /* as a killed process: the lock's file stays, the lock does not */
    }
    assert_int_equal(read(begun[0], &byte, 1), 1);
    assert_int_equal(byte, 1);
    snprintf(pid, sizeof pid, "process %ld", (long)child);
    for (int how = FRESH; how <= OVERWRITE; how++)
        assert_refused(run_with(other, NULL, how), "another run is writing here", pid);
    assert_int_equal(write(end[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
    assert_same_run(whole, other);
    assert_false(cairn_file_exists(path));
    close(begun[0]);
    close(begun[1]);
    close(end[0]);
    close(end[1]);
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

static void unusable_data_leave_no_folder(void **state) {
    (void)state;
    assert_int_equal(run_with(other, "data.name=cifar10", FRESH), CAIRN_BAD_INPUT);
    assert_false(cairn_folder_exists(other));
}

static void wrong_models_are_refused(void **state) {
    (void)state;
    char path[160];
    snprintf(path, sizeof path, "%s/wrong.safetensors", root);
    cairn_config config = configured(NULL, 0);
    const cairn_backend *backend;
    cairn_executor_options options = cairn_executor_defaults();
    cairn_net *net;
    cairn_executor *executor;
    cairn_safetensors file;
    options.batch = 1;
    assert_int_equal(cairn_backend_find(&backend, &options.device, "reference", CAIRN_FLOAT32),
                     CAIRN_OK);
    assert_int_equal(cairn_model_build(&net, &config, (cairn_shape){3, 32, 32}, 10), CAIRN_OK);
    assert_int_equal(cairn_executor_create(&executor, backend, net, &options), CAIRN_OK);
    assert_int_equal(cairn_model_load(executor, path_of(whole, "checkpoint.safetensors")),
                     CAIRN_OK);

    assert_int_equal(cairn_safetensors_read(&file, path_of(whole, "model.safetensors")), CAIRN_OK);
    cairn_tensor *bias = cairn_safetensors_find(&file, "features.0.bias");
    bias->rank = 2;
    bias->dim[0] = 1;
    bias->dim[1] = 8;
    assert_int_equal(cairn_safetensors_write(&file, path), CAIRN_OK);
    assert_refused(cairn_model_load(executor, path), "wrong.safetensors", "'features.0.bias'");
    bias->rank = 1;
    bias->dim[0] = 8;
    strcpy(bias->name, "features.1.bias");
    assert_int_equal(cairn_safetensors_write(&file, path), CAIRN_OK);
    assert_refused(cairn_model_load(executor, path), "'features.1.bias'", "none of the model's");
    strcpy(bias->name, "adam.other");
    assert_int_equal(cairn_safetensors_write(&file, path), CAIRN_OK);
    assert_refused(cairn_model_load(executor, path), "has no tensor 'features.0.bias'", "wrong");
    cairn_safetensors_free(&file);
    cairn_executor_destroy(executor);
    cairn_net_destroy(net);
    unlink(path);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_run_leaves_its_folder),
        TEST(the_same_seed_gives_the_same_bytes),
        TEST(a_stop_after_any_step_resumes_exactly),
        TEST(a_resume_reads_its_checkpoint_once),
        TEST(an_older_checkpoint_goes_on),
        TEST(many_stops_resume_exactly),
        TEST(every_backend_resumes_exactly),
        TEST(a_failed_write_anywhere_is_survived),
        TEST(more_epochs_may_follow),
        TEST(a_schedule_resumes_exactly),
        TEST(an_optimizer_resumes_exactly),
        TEST(validation_is_never_called_test),
        TEST(a_normalised_net_resumes_exactly),
        TEST(a_whitened_net_resumes_exactly),
        TEST(no_run_is_lost_in_silence),
        TEST(bad_checkpoints_are_refused),
        TEST(the_checkpoint_before_stands_in),
        TEST(the_checkpoint_before_stays_until_a_save),
        TEST(epochs_that_wait_to_be_saved_are_not_lost),
        TEST(half_written_files_are_swept),
        TEST(a_folder_in_use_is_refused_with_its_pid),
        TEST(divergence_may_go_on),
        TEST(divergence_keeps_the_last_good_state),
        TEST(unusable_data_leave_no_folder),
        TEST(wrong_models_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
