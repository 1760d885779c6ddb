/* The run folder of a small experiment: that no run is lost in silence, and what is refused. */
#include "small_run.h"

#include "cairn/lock.h"
#include "cairn/model.h"
#include "cairn/model_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void no_run_is_lost_in_silence(void **state) {
    (void)state;
    steps_to_stop = 2;
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_INTERRUPTED);
    assert_refused(run_with(other, NULL, FRESH), "0 of 2 epochs done", "--overwrite");
    for (int how = FRESH; how <= RESUME; how++) {
        assert_refused(run_with(other, "train.lr=0.002", how), "train.lr: 0.001",
                       "now it is 0.002");
        assert_refused(run_with(other, "data.train_limit=4", how), "data.train_limit",
                       "now it is 4");
    }
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK); /* all of it is still there */
    assert_same_run(whole, other);
    assert_refused(run_with(other, NULL, FRESH), "holds this run already", "--overwrite");
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

/* A run by its name alone, run.name and nothing else. */
static cairn_status run_named(const char *override) {
    char out_dir[sizeof root + 16];
    snprintf(out_dir, sizeof out_dir, "run.out_dir=%s", root);
    const char *const overrides[] = {out_dir, "run.name=other", override};
    return run(NULL, overrides, override ? 3 : 2, FRESH);
}

/* Every kind of folder that a run finds under its name; the new one is beside it, and that is as it
 * was. */
static void a_run_by_name_alone_is_numbered(void **state) {
    (void)state;
    char second[sizeof other + 2], third[sizeof other + 2];
    snprintf(second, sizeof second, "%s-2", other);
    snprintf(third, sizeof third, "%s-3", other);
    steps_to_stop = 2;
    assert_int_equal(run_with(other, NULL, FRESH), CAIRN_INTERRUPTED);
    assert_int_equal(run_named("train.lr=0.002"), CAIRN_OK);
    steps_to_stop = 5;
    assert_int_equal(run_named(NULL), CAIRN_INTERRUPTED);
    assert_int_equal(run_with(other, NULL, RESUME), CAIRN_OK);
    assert_same_run(whole, other);
    assert_int_equal(run_with(third, NULL, RESUME), CAIRN_OK);
    assert_same_run(whole, third);
    assert_int_equal(clear(third), 0);

    /* A checkpoint that cannot be read is somebody's as well. */
    assert_int_equal(truncate(path_of(second, "checkpoint.safetensors"), 100), 0);
    unlink(path_of(second, "checkpoint.previous.safetensors"));
    assert_int_equal(run_named(NULL), CAIRN_OK);
    assert_int_equal(clear(third), 0);

    /* A failure before anything is written leaves no folder. */
    writes_to_fail = 1;
    assert_int_equal(run_named(NULL), CAIRN_FAILED);
    assert_false(cairn_folder_exists(third));
    assert_int_equal(clear(second), 0);
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
    assert_refused(cairn_model_load(executor, path), "wrong.safetensors",
                   "'features.0.bias' has the shape [1, 8], the model's is [8]");
    bias->rank = 1;
    bias->dim[0] = 8;
    strcpy(bias->name, "features.1.bias");
    assert_int_equal(cairn_safetensors_write(&file, path), CAIRN_OK);
    assert_refused(cairn_model_load(executor, path), "'features.1.bias'", "none of the model's");
    strcpy(bias->name, "adam.other");
    assert_int_equal(cairn_safetensors_write(&file, path), CAIRN_OK);
    assert_refused(cairn_model_load(executor, path), "'adam.other'", "none of the model's");
    /* what a checkpoint has beside a model is passed over */
    static const char *const states[] = {"adam.exp_avg.other", "adam.exp_avg_sq.other",
                                         "sgd.momentum_buffer.other", "ema.other"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        strcpy(bias->name, states[i]);
        assert_int_equal(cairn_safetensors_write(&file, path), CAIRN_OK);
        assert_refused(cairn_model_load(executor, path), "has no tensor 'features.0.bias'",
                       "wrong");
    }
    cairn_safetensors_free(&file);
    cairn_executor_destroy(executor);
    cairn_net_destroy(net);
    unlink(path);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(no_run_is_lost_in_silence),     TEST(a_run_by_name_alone_is_numbered),
        TEST(half_written_files_are_swept),  TEST(a_folder_in_use_is_refused_with_its_pid),
        TEST(unusable_data_leave_no_folder), TEST(wrong_models_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
