/* Every call of the C library by which Cairn reads, writes and allocates fails in turn: the first,
 * the second, and so on until a run needs no more of them. Each time the run ends in order, with
 * one line that says why, nothing that was written before is lost, and the next one with --resume
 * ends with the unbroken run's bytes. Interrupted and short reads and writes do no harm at all.
 * Under the address sanitizer, leaks on those paths fail the test too.
 *
 * A run allocates some hundred times, so by default only every tenth of those calls fails, from a
 * fresh place on; with CAIRN_TEST_FAULTS=all, all of them; with few, every thirtieth of all calls.
 *
 * The linker puts __wrap_X before X in everything that is Cairn's (tests/CMakeLists.txt). */
#include "cairn/dataset.h"
#include "cairn/file.h"
#include "cairn/model.h"
#include "cairn/tensorboard.h"
#include "cairn/threads.h"
#include "cairn/experiment.h"
#include "cairn/executor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../unit/run_files.h"
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A training run ------------------------------------------------------------------------------- */

/* On the backend that people use. Where oneDNN is not built in, `reference` takes its place. */
static const char params[] = "seed: 7\n"
                             "data: {name: synthetic, dir: none, train_limit: 3, test_limit: 1}\n"
                             "model: {widths: 8 8 8, hidden: 16}\n"
                             "train: {epochs: 2, batch_size: 2, lr: 0.001, threads: 1}\n"
                             "checkpoint: {every_steps: 1}\n"
                             "run: {name: r, out_dir: none, recorders: jsonl}\n";
static char root[64], whole[80], other[80], file[80];
static const char *device;

static cairn_status train(const char *folder, bool resume) {
    cairn_config config;
    cairn_status status = cairn_config_read(&config, file, &device, 1);
    const cairn_experiment_options options = {.run_dir = folder, .resume = resume, .quiet = true};
    return status ? status : cairn_experiment_run(&config, &options);
}

static int set_up(void **state) {
    (void)state;
    /* In memory where that is possible: thousands of files are synced. */
    snprintf(root, sizeof root, "%s/cairn-faults-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(root))
        return -1;
    snprintf(whole, sizeof whole, "%s/whole", root);
    snprintf(other, sizeof other, "%s/other", root);
    snprintf(file, sizeof file, "%s/params.yaml", root);
    const cairn_backend *backend;
    int ordinal;
    bool fast = cairn_backend_find(&backend, &ordinal, "cpu", CAIRN_FLOAT32) == CAIRN_OK;
    device = fast ? "device=cpu" : "device=reference";
    return cairn_file_write(file, params, strlen(params)) || train(whole, false);
}

static int tear_down(void **state) {
    (void)state;
    unlink(file);
    return clear(whole) || clear(other) || rmdir(root);
}

static void a_run_survives_every_fault(void **state) {
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        int nth, failed = 0, stride = stride_of(&kinds[k], &nth);
        for (bool met = true; met; failed += met, nth += stride) {
            assert_int_equal(clear(other), 0);
            arm(&kinds[k], nth);
            cairn_status status = train(other, false);
            met = fault.met;
            disarm();
            assert_true(nth < CALLS_MAX);
            assert_told(status, &kinds[k], nth);
            if (status)
                assert_int_equal(train(other, true), CAIRN_OK);
            for (int i = 0; i < EXACT; i++)
                assert_same_file(path_of(whole, names[i]), path_of(other, names[i]));
        }
        print_message("%-14s errno %2d: %d calls failed, one a run\n", kinds[k].call,
                      kinds[k].error, failed);
    }
}

/* A resumed run ends as the unbroken one whatever fails on its way; the checkpoint that it starts
 * from stays until then. */
static void a_resumed_run_survives_every_fault(void **state) {
    (void)state;
    static const fault_kind few[] = {{"open", EACCES, false},
                                     {"read", EIO, false},
                                     {"writev", ENOSPC, false},
                                     {"rename", EACCES, false},
                                     {"fsync", EIO, false}};
    uint8_t *checkpoint;
    size_t size;
    cairn_config config;
    const char *const override[] = {device, "train.epochs=1"};
    const cairn_experiment_options options = {.run_dir = other, .quiet = true};
    assert_int_equal(clear(other), 0);
    assert_int_equal(cairn_config_read(&config, file, override, 2), CAIRN_OK);
    assert_int_equal(cairn_experiment_run(&config, &options), CAIRN_OK);
    assert_int_equal(cairn_file_read(path_of(other, "checkpoint.safetensors"), &checkpoint, &size),
                     CAIRN_OK);
    for (size_t k = 0; k < sizeof few / sizeof few[0]; k++) {
        int nth, stride = stride_of(&few[k], &nth);
        for (bool met = true; met; nth += stride) {
            assert_int_equal(
                cairn_file_write(path_of(other, "checkpoint.safetensors"), checkpoint, size),
                CAIRN_OK);
            arm(&few[k], nth);
            cairn_status status = train(other, true);
            met = fault.met;
            disarm();
            assert_told(status, &few[k], nth);
            assert_int_equal(train(other, true), CAIRN_OK);
            for (int i = 0; i < EXACT; i++)
                assert_same_file(path_of(whole, names[i]), path_of(other, names[i]));
        }
    }
    free(checkpoint);
}

/* CIFAR-10's files, sparse: every label and pixel 0 -------------------------------------------- */

static const char *const layouts[] = {"cifar-10-batches-bin", "cifar-10-batches-py"};

static const char *batch_path(int layout, int number) {
    static char path[200];
    char name[32];
    snprintf(name, sizeof name, number ? "data_batch_%d" : "test_batch", number);
    snprintf(path, sizeof path, "%s/%s/%s%s", root, layouts[layout], name, layout ? "" : ".bin");
    return path;
}

/* A pickle as Python 2 wrote them: {"data": array, "labels": [False] * 10000}. */
static void write_pickle(FILE *made) {
    static const char head[] =
        "\x80\2}q\0(U\4data"
        "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
        "(K\1M\x10'M\0\x0c\x86"
        "cnumpy\ndtype\nU\2u1K\0K\1\x87R\x89T\0\xc0\xd4\1";
    fwrite(head, 1, sizeof head - 1, made);
    fseek(made, 10000 * 3072, SEEK_CUR);
    fputs("tbU\6labels]", made);
    for (int i = 0; i < 10; i++) {
        fputc('(', made);
        for (int label = 0; label < 1000; label++)
            fputc(0x89, made);
        fputc('e', made);
    }
    fputs("u.", made);
}

static void write_batches(int layout) {
    char folder[160];
    snprintf(folder, sizeof folder, "%s/%s", root, layouts[layout]);
    assert_int_equal(mkdir(folder, 0700), 0);
    for (int i = 0; i < 6; i++) {
        FILE *made = fopen(batch_path(layout, i), "wb");
        assert_non_null(made);
        if (layout)
            write_pickle(made);
        else
            assert_int_equal(ftruncate(fileno(made), 10000 * 3073), 0);
        fclose(made);
    }
}

static void remove_batches(int layout) {
    char folder[160];
    for (int i = 0; i < 6; i++)
        unlink(batch_path(layout, i));
    snprintf(folder, sizeof folder, "%s/%s", root, layouts[layout]);
    rmdir(folder);
}

static void reading_data_survives_every_fault(void **state) {
    (void)state;
    char dir[160];
    const char *override[] = {dir, "data.name=cifar10", "data.train_limit=100",
                              "data.test_limit=10"};
    cairn_config config;
    snprintf(dir, sizeof dir, "data.dir=%s", root);
    assert_int_equal(cairn_config_read(&config, file, override, 4), CAIRN_OK);
    for (int layout = 0; layout < 2; layout++) {
        int mapped = 0;
        write_batches(layout);
        for (int k = 0; k < KINDS; k++) {
            int nth, stride = stride_of(&kinds[k], &nth);
            if (strcmp(kinds[k].call, "mmap") == 0)
                nth = stride = 1;
            for (bool met = true; met; nth += stride) {
                cairn_dataset *data = NULL;
                arm(&kinds[k], nth);
                cairn_status status = cairn_dataset_open(&data, &config);
                met = fault.met;
                disarm();
                assert_true(nth < CALLS_MAX);
                assert_told(status, &kinds[k], nth);
                mapped += met && strcmp(kinds[k].call, "mmap") == 0;
                if (!status)
                    assert_int_equal(data->train.count, 100);
                cairn_dataset_destroy(data);
            }
        }
        assert_int_equal(mapped, layout ? 2 : 0); /* a training file and the test file */
        remove_batches(layout);
    }
}

/* Memory for an executor, on every backend that trains on the CPU. */
static void making_an_executor_survives_every_fault(void **state) {
    (void)state;
    cairn_config config;
    cairn_net *net;
    cairn_executor_options options = cairn_executor_defaults();
    options.batch = 2;
    options.threads = 1;
    assert_int_equal(cairn_config_read(&config, file, NULL, 0), CAIRN_OK);
    assert_int_equal(cairn_model_build(&net, &config, (cairn_shape){3, 32, 32}, 10), CAIRN_OK);
    for (const cairn_backend *const *backend = cairn_backends(); *backend; backend++) {
        if (!(*backend)->immediate || (*backend)->probe())
            continue;
        for (int k = 0; kinds[k].error == ENOMEM && kinds[k].call; k++) {
            int nth, stride = stride_of(&kinds[k], &nth);
            for (bool met = true; met; nth += stride) {
                cairn_executor *executor = NULL;
                arm(&kinds[k], nth);
                cairn_status status = cairn_executor_create(&executor, *backend, net, &options);
                met = fault.met;
                disarm();
                assert_true(nth < CALLS_MAX);
                assert_told(status, &kinds[k], nth);
                if (!status)
                    cairn_executor_destroy(executor);
            }
        }
    }
    cairn_net_destroy(net);
}

/* OpenMP would end the program. */
static void a_thread_that_cannot_start_is_told(void **state) {
    (void)state;
    static const fault_kind kind = {"pthread_create", EAGAIN, false};
    int count = 0;
    for (int nth = 1; nth <= 3; nth++) {
        arm(&kind, nth);
        cairn_status status = cairn_threads_resolve(4, &count);
        disarm();
        assert_int_equal(status, CAIRN_FAILED);
        assert_told(status, &kind, nth);
        assert_non_null(strstr(cairn_error_message(), "train.threads"));
    }
    assert_int_equal(cairn_threads_resolve(4, &count), CAIRN_OK);
    assert_int_equal(count, 4);
}

/* TensorBoard's files ------------------------------------------------------------------------- */

#ifdef CAIRN_WITH_PROTOBUF
/* A record of every kind. */
static cairn_status write_events(void) {
    static const float values[3] = {1, 2, 3};
    static uint8_t pixels[4 * 3];
    const cairn_drawing drawing = {2, 2, pixels};
    const cairn_hparam parameters[] = {{"train.lr", NULL, 0.1}, {"model.name", "m", 0}};
    cairn_events *events = NULL;
    cairn_status status = cairn_events_open(&events, other, 0);
    if (!status)
        status = cairn_events_parameters(events, parameters, 2);
    if (!status)
        status = cairn_events_scalar(events, "loss", 1, 0.5);
    if (!status)
        status = cairn_events_histogram(events, "weights", 1, values, 3);
    if (!status)
        status = cairn_events_image(events, "picture", 1, &drawing);
    if (!status)
        status = cairn_events_finish(events, 1);
    cairn_events_close(events);
    return status;
}

/* Removes the event files; the size of the last. */
static off_t remove_events(void) {
    off_t size = 0;
    DIR *entries = opendir(other);
    for (struct dirent *entry; (entry = readdir(entries));) {
        struct stat info;
        if (strncmp(entry->d_name, "events", 6) == 0 &&
            fstatat(dirfd(entries), entry->d_name, &info, 0) == 0) {
            size = info.st_size;
            unlinkat(dirfd(entries), entry->d_name, 0);
        }
    }
    closedir(entries);
    return size;
}

static void event_files_survive_every_fault(void **state) {
    (void)state;
    assert_int_equal(clear(other), 0);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(write_events(), CAIRN_OK);
    off_t whole_size = remove_events();
    assert_true(whole_size > 100);
    for (int k = 0; k < KINDS; k++) {
        int nth = 0, failed = 0;
        for (bool met = true; met; failed += met) {
            arm(&kinds[k], ++nth);
            cairn_status status = write_events();
            met = fault.met;
            disarm();
            off_t size = remove_events();
            assert_told(status, &kinds[k], nth);
            if (!status)
                assert_int_equal(size, whole_size);
        }
        if (strcmp(kinds[k].call, "write") == 0)
            assert_true(failed >= 6); /* one for each record */
    }
    assert_int_equal(rmdir(other), 0);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_that_cannot_start_is_told),
        cmocka_unit_test(making_an_executor_survives_every_fault),
#ifdef CAIRN_WITH_PROTOBUF
        cmocka_unit_test(event_files_survive_every_fault),
#endif
        cmocka_unit_test(a_run_survives_every_fault),
        cmocka_unit_test(a_resumed_run_survives_every_fault),
        cmocka_unit_test(reading_data_survives_every_fault),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
