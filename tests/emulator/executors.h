/* For tests of the CUDA executor on the emulator: its backend, executors of the test's net, tensors
 * that must be equal, and that nothing of an executor outlives it. */
#ifndef CAIRN_EMULATOR_EXECUTORS_H
#define CAIRN_EMULATOR_EXECUTORS_H

#include "control.h"
#include "parity/parity.h"

static inline int reset(void **state) {
    (void)state;
    emulator_reset();
    return 0;
}

static inline int nothing_lives(void **state) {
    (void)state;
    emulator_live live = emulator_count_live();
    return live.allocations || live.pinned || live.streams || live.events || live.graphs ||
           live.graph_executables || live.cublaslt || live.cudnn;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, nothing_lives)

static inline const cairn_backend *cuda_backend(void) {
    const cairn_backend *backend = NULL;
    int ordinal = 0;
    must(cairn_backend_find(&backend, &ordinal, "cuda", CAIRN_FLOAT32));
    return backend;
}

/* With the split as both of its own, crops, and values about 0. */
static inline cairn_executor *make_executor(const cairn_backend *backend, const cairn_net *net,
                                            const cairn_executor_options *wanted,
                                            const cairn_split *split) {
    cairn_executor_options options = *wanted;
    cairn_executor *executor = NULL;
    options.crop_padding = 2;
    options.threads = 2;
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++) {
        options.mean[c] = 0.5f;
        options.std[c] = 0.25f;
    }
    must(cairn_executor_create(&executor, backend, net, &options));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, split));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TEST, split));
    must(cairn_executor_initialise(executor, 7));
    return executor;
}

static inline void assert_equal_tensors(cairn_executor *a, cairn_executor *b,
                                        cairn_tensor_kind kind) {
    for (int k = 0; k < a->net->parameter_count; k++) {
        float *one = get_tensor(a, kind, k), *other = get_tensor(b, kind, k);
        assert_memory_equal(one, other, a->net->parameter[k].count * sizeof *one);
        free(one);
        free(other);
    }
}

#endif
