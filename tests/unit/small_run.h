/* A small experiment on synthetic images, which takes little time, can be stopped after any step,
 * and whose writes can fail: the linker puts __wrap_X before the real X (tests/CMakeLists.txt). */
#ifndef CAIRN_TESTS_UNIT_SMALL_RUN_H
#define CAIRN_TESTS_UNIT_SMALL_RUN_H

#include "cairn/checkpoint.h"
#include "cairn/executor.h"
#include "cairn/experiment.h"
#include "cairn/file.h"
#include "cairn/safetensors.h"

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
static inline cairn_status meet_write(const char *path) {
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

static inline cairn_config configured(const char *const *overrides, size_t count) {
    cairn_config config;
    assert_int_equal(cairn_config_parse(&config, base, strlen(base), "base", overrides, count),
                     CAIRN_OK);
    return config;
}

enum { FRESH, RESUME, OVERWRITE };

static inline cairn_status run(const char *folder, const char *const *overrides, size_t count,
                               int how) {
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

static inline cairn_status run_with(const char *folder, const char *override, int how) {
    return run(folder, &override, override != NULL, how);
}

/* All but the times: seven equal files, the checkpoint by its tensors and position. */
static inline void assert_same_run(const char *a, const char *b) {
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
static inline void assert_refused(cairn_status status, const char *first, const char *second) {
    assert_int_equal(status, CAIRN_BAD_INPUT);
    if (!strstr(cairn_error_message(), first) || !strstr(cairn_error_message(), second))
        fail_msg("expected '%s' and '%s' in: %s", first, second, cairn_error_message());
}

/* Rewrites the checkpoint in `other` with one metadata value replaced. */
static inline void change_checkpoint(const char *key, const char *value) {
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

static inline void copy_file(const char *from, const char *to) {
    uint8_t *bytes;
    size_t size;
    assert_int_equal(cairn_file_read(from, &bytes, &size), CAIRN_OK);
    assert_int_equal(cairn_file_write(to, bytes, size), CAIRN_OK);
    free(bytes);
}

static inline int set_up(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/cairn-train-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(whole, sizeof whole, "%s/whole", root);
    snprintf(other, sizeof other, "%s/other", root);
    snprintf(fast, sizeof fast, "%s/fast", root);
    return (int)run_with(whole, NULL, FRESH);
}

static inline int tear_down(void **state) {
    (void)state;
    clear(whole);
    clear(other);
    clear(fast);
    return rmdir(root); /* fails when a temporary file was left */
}

static inline int fresh_folder(void **state) {
    (void)state;
    clear(other);
    return 0;
}

#endif
