/* What the CUDA executor says when something is missing or breaks: one line that tells what was
 * found and what would be right; nothing is left behind. */
#include "control.h"
#include "parity/parity.h"

#include <cublasLt.h>
#include <cudnn.h>

enum { SAMPLES = 40 };

static int reset(void **state) {
    (void)state;
    emulator_reset();
    return 0;
}

static void assert_nothing_lives(const char *after) {
    emulator_live live = emulator_count_live();
    if (live.allocations || live.pinned || live.streams || live.events || live.graphs ||
        live.graph_executables || live.cublaslt || live.cudnn)
        fail_msg("after %s: %d allocations, %d pinned, %d streams, %d events, %d graphs, %d "
                 "executables, %d of cuBLASLt, %d of cuDNN are alive",
                 after, live.allocations, live.pinned, live.streams, live.events, live.graphs,
                 live.graph_executables, live.cublaslt, live.cudnn);
}

static void assert_says(const char *words) {
    if (!strstr(cairn_error_message(), words))
        fail_msg("\"%s\" does not say \"%s\"", cairn_error_message(), words);
    assert_null(strchr(cairn_error_message(), '\n'));
}

static cairn_status find(const char *device, cairn_precision precision) {
    const cairn_backend *backend = NULL;
    int ordinal = 0;
    return cairn_backend_find(&backend, &ordinal, device, precision);
}

static cairn_net *build(void) {
    cairn_net *net = NULL;
    cairn_simple_cnn model = {.widths = {5, 9}, .blocks = 2, .hidden = 12, .dropout = 0.2f};
    must(cairn_simple_cnn_build(&net, &model, (cairn_shape){3, 8, 8}, 10));
    return net;
}

static cairn_status create(cairn_executor **executor, const cairn_net *net, int batch, int device,
                           cairn_precision precision) {
    const cairn_backend *backend = NULL;
    int ordinal = 0;
    cairn_executor_options options = cairn_executor_defaults();
    options.batch = batch;
    options.device = device;
    options.precision = precision;
    options.threads = 1;
    must(cairn_backend_find(&backend, &ordinal, "cuda", CAIRN_FLOAT32));
    return cairn_executor_create(executor, backend, net, &options);
}

/* A whole small use, stopped by its first error. */
static cairn_status use(const cairn_net *net, const cairn_split *split, cairn_precision precision) {
    cairn_executor *executor = NULL;
    cairn_stats stats;
    int32_t indices[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    float *logits = malloc(SAMPLES * 10 * sizeof *logits);
    assert_non_null(logits);
    cairn_status status = create(&executor, net, 8, 0, precision);
    if (!status)
        status = cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, split);
    if (!status)
        status = cairn_executor_upload(executor, CAIRN_SPLIT_TEST, split);
    if (!status)
        status = cairn_executor_initialise(executor, 1);
    for (uint32_t t = 0; t < 4 && !status; t++) {
        cairn_step step = {indices, 8, 0, t, 1e-3};
        status = cairn_executor_train_step(executor, &step);
    }
    if (!status)
        status = cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, 0, SAMPLES);
    if (!status)
        status = cairn_executor_get_stats(executor, &stats);
    if (!status)
        status = cairn_executor_logits(executor, CAIRN_SPLIT_TEST, 0, SAMPLES, logits);
    if (!status)
        status = cairn_executor_get(executor, CAIRN_PARAMETER, 0, logits);
    cairn_executor_destroy(executor);
    free(logits);
    return status;
}

/* The machine ------------------------------------------------------------------------------------
 */

static void test_no_driver(void **state) {
    (void)state;
    emulator_set_driver(0);
    assert_int_equal(find("cuda", CAIRN_FLOAT32), CAIRN_FAILED);
    assert_says("no NVIDIA driver");
}

static void test_old_driver(void **state) {
    (void)state;
    emulator_set_driver(11040);
    assert_int_equal(find("cuda", CAIRN_FLOAT32), CAIRN_FAILED);
    assert_says("the NVIDIA driver is for CUDA 11.4, Cairn was built with CUDA ");
    assert_says("install a newer driver");
}

static void test_no_device(void **state) {
    (void)state;
    emulator_set_devices(0);
    unsetenv("CUDA_VISIBLE_DEVICES");
    assert_int_equal(find("cuda", CAIRN_FLOAT32), CAIRN_FAILED);
    assert_says("no NVIDIA GPU is visible");
    setenv("CUDA_VISIBLE_DEVICES", "-1", 1);
    assert_int_equal(find("cuda", CAIRN_FLOAT32), CAIRN_FAILED);
    assert_says("no NVIDIA GPU is visible (CUDA_VISIBLE_DEVICES is '-1')");
    unsetenv("CUDA_VISIBLE_DEVICES");
}

static void test_other_libraries(void **state) {
    (void)state;
    char words[64];
    emulator_set_cudnn(80907);
    assert_int_equal(find("cuda", CAIRN_FLOAT32), CAIRN_FAILED);
    snprintf(words, sizeof words, "cuDNN 8.9 is installed, Cairn was built with %d.%d", CUDNN_MAJOR,
             CUDNN_MINOR);
    assert_says(words);
    emulator_reset();
    emulator_set_cublaslt((size_t)(CUBLAS_VER_MAJOR + 1) * 10000);
    assert_int_equal(find("cuda", CAIRN_FLOAT32), CAIRN_FAILED);
    assert_says("cuBLAS ");
}

static void test_auto_says_why_not(void **state) {
    (void)state;
    const cairn_backend *backend = NULL;
    int ordinal = 0;
    must(cairn_backend_find(&backend, &ordinal, "auto", CAIRN_FLOAT32));
    assert_string_equal(backend->name, "cuda");
    assert_string_equal(cairn_error_message(), "");
    emulator_set_devices(0);
    must(cairn_backend_find(&backend, &ordinal, "auto", CAIRN_FLOAT32));
    assert_string_not_equal(backend->name, "cuda");
    assert_says("no NVIDIA GPU is visible");
}

static void test_other_device(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_executor *executor = NULL;
    emulator_set_devices(2);
    must(create(&executor, net, 8, 1, CAIRN_FLOAT32));
    cairn_executor_destroy(executor);
    assert_int_equal(create(&executor, net, 8, 2, CAIRN_FLOAT32), CAIRN_FAILED);
    assert_says("cuda:2 is not here; the last is cuda:1");
    assert_nothing_lives("a device that is not there");
    assert_int_equal(cudaGetLastError(), cudaSuccess); /* for whoever asks next */
    cairn_net_destroy(net);
}

static void test_old_device(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_executor *executor = NULL;
    emulator_set_capability(7, 5);
    must(create(&executor, net, 8, 0, CAIRN_FLOAT32));
    cairn_executor_destroy(executor);
    assert_int_equal(find("cuda", CAIRN_BF16), CAIRN_BAD_INPUT);
    assert_says("train.precision: backend cuda does not compute in bf16 here");
    cairn_net_destroy(net);
}

/* Memory -----------------------------------------------------------------------------------------
 */

static void test_batch_that_would_fit(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_executor *executor = NULL;
    int fits = 0;
    emulator_set_memory(16 << 20);
    assert_int_equal(create(&executor, net, 60000, 0, CAIRN_FLOAT32), CAIRN_FAILED);
    assert_says("train.batch_size: out of GPU memory: a batch of 60000 asks for ");
    const char *last = strrchr(cairn_error_message(), ';');
    assert_int_equal(sscanf(last, "; %d would fit", &fits), 1);
    assert_true(fits > 100 && fits < 60000);
    assert_nothing_lives("too large a batch");
    must(create(&executor, net, fits, 0, CAIRN_FLOAT32)); /* and it does */
    cairn_executor_destroy(executor);
    assert_int_equal(create(&executor, net, 2 * fits, 0, CAIRN_FLOAT32), CAIRN_FAILED);
    cairn_net_destroy(net);
}

static void test_images_that_do_not_fit(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_executor *executor = NULL;
    cairn_split split = random_split(test_seed(), 20000, net->input, 10, false);
    emulator_set_memory(3 << 20);
    must(create(&executor, net, 8, 0, CAIRN_FLOAT32));
    assert_int_equal(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &split), CAIRN_FAILED);
    assert_says("out of GPU memory: the images ask for ");
    cairn_executor_destroy(executor);
    assert_nothing_lives("images that do not fit");
    free_split(&split);
    cairn_net_destroy(net);
}

/* Faults -----------------------------------------------------------------------------------------
 */

/* Every call that can fail, failing in turn wherever it is made: an error each time, no leak but of
 * what the failing call itself should have destroyed. */
static void test_every_call_may_fail(void **state) {
    (void)state;
    static const struct {
        const char *function;
        int code;
    } calls[] = {
        {"cudaMalloc", cudaErrorUnknown},
        {"cudaMalloc", cudaErrorMemoryAllocation},
        {"cudaHostAlloc", cudaErrorMemoryAllocation},
        {"cudaHostGetDevicePointer", cudaErrorInvalidValue},
        {"cudaEventCreateWithFlags", cudaErrorMemoryAllocation},
        {"cudaStreamCreateWithFlags", cudaErrorMemoryAllocation},
        {"cudaMemsetAsync", cudaErrorInvalidValue},
        {"cudaMemcpyAsync", cudaErrorInvalidValue},
        {"cudaMemcpy2DAsync", cudaErrorInvalidValue},
        {"cudaSetDevice", cudaErrorDevicesUnavailable},
        {"cudaStreamBeginCapture", cudaErrorIllegalState},
        {"cudaGraphGetNodes", cudaErrorInvalidValue},
        {"cudaGraphInstantiate", cudaErrorMemoryAllocation},
        {"cudaGraphLaunch", cudaErrorMemoryAllocation},
        {"cudnnCreate", CUDNN_STATUS_NOT_INITIALIZED},
        {"cudnnSetStream", CUDNN_STATUS_BAD_PARAM},
        {"cudnnCreateTensorDescriptor", CUDNN_STATUS_ALLOC_FAILED},
        {"cudnnSetTensor4dDescriptor", CUDNN_STATUS_BAD_PARAM},
        {"cudnnSetFilter4dDescriptor", CUDNN_STATUS_BAD_PARAM},
        {"cudnnSetConvolution2dDescriptor", CUDNN_STATUS_BAD_PARAM},
        {"cudnnGetConvolutionForwardAlgorithm_v7", CUDNN_STATUS_INTERNAL_ERROR},
        {"cudnnGetConvolutionBackwardFilterAlgorithm_v7", CUDNN_STATUS_INTERNAL_ERROR},
        {"cudnnGetConvolutionBackwardDataAlgorithm_v7", CUDNN_STATUS_INTERNAL_ERROR},
        {"cudnnConvolutionForward", CUDNN_STATUS_EXECUTION_FAILED},
        {"cudnnConvolutionBackwardFilter", CUDNN_STATUS_EXECUTION_FAILED},
        {"cudnnConvolutionBackwardData", CUDNN_STATUS_EXECUTION_FAILED},
        {"cublasLtCreate", CUBLAS_STATUS_NOT_INITIALIZED},
        {"cublasLtMatmulDescCreate", CUBLAS_STATUS_ALLOC_FAILED},
        {"cublasLtMatrixLayoutCreate", CUBLAS_STATUS_ALLOC_FAILED},
        {"cublasLtMatmul", CUBLAS_STATUS_EXECUTION_FAILED},
    };
    cairn_net *net = build();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        emulator_reset();
        must(use(net, &split, CAIRN_BF16));
        int times = emulator_calls(calls[i].function), tried = 0;
        if (times == 0)
            fail_msg("%s is never called", calls[i].function);
        for (int nth = 1; nth <= times; nth += 1 + times / 12, tried++) {
            char what[96];
            emulator_reset();
            emulator_fail(calls[i].function, nth, calls[i].code);
            snprintf(what, sizeof what, "%s failing at call %d", calls[i].function, nth);
            /* A weight gradient that cuBLAS cannot do with the bias's is done without. */
            if (use(net, &split, CAIRN_BF16) == CAIRN_OK &&
                strncmp(calls[i].function, "cublasLtMat", 11) != 0 &&
                strcmp(calls[i].function, "cudaSetDevice") != 0)
                fail_msg("%s went unseen", what);
            assert_nothing_lives(what);
        }
        assert_true(tried > 0);
    }
    free_split(&split);
    cairn_net_destroy(net);
}

/* A kernel that fails shows at the next call that waits, and at every later one. */
static void test_sticky_error(void **state) {
    (void)state;
    static const int codes[] = {cudaErrorIllegalAddress, cudaErrorECCUncorrectable};
    static const char *const words[] = {"a kernel failed", "the GPU was lost"};
    cairn_net *net = build();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (int i = 0; i < 2; i++) {
        int32_t indices[8] = {0};
        float values[512];
        cairn_stats stats;
        cairn_step step = {indices, 8, 0, 0, 1e-3};
        cairn_executor *executor = NULL;
        emulator_reset();
        must(create(&executor, net, 8, 0, CAIRN_FLOAT32));
        must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &split));
        must(cairn_executor_train_step(executor, &step));
        emulator_fail_work(3, codes[i]);
        assert_int_equal(cairn_executor_get_stats(executor, &stats), CAIRN_FAILED);
        assert_says(words[i]);
        assert_says("--resume");
        assert_int_equal(cairn_executor_get(executor, CAIRN_PARAMETER, 0, values), CAIRN_FAILED);
        cairn_executor_destroy(executor); /* does not hang or crash */
    }
    free_split(&split);
    cairn_net_destroy(net);
}

/* cuDNN and cuBLAS tell of a broken device only that they could not go on. The advice has to come
 * all the same, where the runtime has not heard of it yet; and where nothing broke, their own
 * words. */
static void test_library_on_a_broken_device(void **state) {
    (void)state;
    static const struct {
        const char *function;
        int code;
    } calls[] = {{"cudnnConvolutionForward", CUDNN_STATUS_EXECUTION_FAILED},
                 {"cublasLtMatmul", CUBLAS_STATUS_EXECUTION_FAILED}};
    cairn_net *net = build();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (int i = 0; i < 2; i++)
        for (int breaks = 0; breaks < 2; breaks++)
            for (int captured = 0; captured < 2; captured++) {
                int32_t indices[8] = {0};
                cairn_step step = {indices, 8, 0, 0, 1e-3};
                cairn_stats stats;
                cairn_executor *executor = NULL;
                emulator_reset();
                must(create(&executor, net, 8, 0, CAIRN_FLOAT32));
                must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &split));
                if (captured) { /* the second run is */
                    must(cairn_executor_train_step(executor, &step));
                    must(cairn_executor_get_stats(executor, &stats));
                }
                if (breaks && captured)
                    emulator_lose_device(cudaErrorIllegalAddress);
                else if (breaks)
                    emulator_fail_work(1, cudaErrorIllegalAddress);
                emulator_fail(calls[i].function, 1, calls[i].code);
                assert_int_equal(cairn_executor_train_step(executor, &step), CAIRN_FAILED);
                assert_says(breaks ? "the last checkpoint is intact" : " says: ");
                cairn_executor_destroy(executor);
            }
    free_split(&split);
    cairn_net_destroy(net);
}

/* A row of cuBLAS's that says of itself that it is not valid: the product with the bias's gradient
 * has another way, the others have not. */
static void test_algorithm_that_is_none(void **state) {
    (void)state;
    enum { PRODUCTS = 6 }; /* two forward, then each layer's by weight and data, the last first */
    cairn_net *net = build();
    for (int nth = 1; nth <= 2 * PRODUCTS; nth++) { /* of both compilations */
        cairn_executor *executor = NULL;
        int place = (nth - 1) % PRODUCTS;
        bool spare = place == 2 || place == 4;
        emulator_reset();
        emulator_fail("cublasLtMatmulHeuristicResult_t", nth, CUBLAS_STATUS_NOT_SUPPORTED);
        cairn_status status = create(&executor, net, 8, 0, CAIRN_FLOAT32);
        if (status != (spare ? CAIRN_OK : CAIRN_FAILED))
            fail_msg("row %d: status %d, %s", nth, status, cairn_error_message());
        if (status)
            assert_says("cublasLtMatmulAlgoGetHeuristic: cuBLAS says: ");
        cairn_executor_destroy(executor);
        assert_nothing_lives("a row that is not valid");
    }
    cairn_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_no_driver, reset),
        cmocka_unit_test_setup(test_old_driver, reset),
        cmocka_unit_test_setup(test_no_device, reset),
        cmocka_unit_test_setup(test_other_libraries, reset),
        cmocka_unit_test_setup(test_auto_says_why_not, reset),
        cmocka_unit_test_setup(test_other_device, reset),
        cmocka_unit_test_setup(test_old_device, reset),
        cmocka_unit_test_setup(test_batch_that_would_fit, reset),
        cmocka_unit_test_setup(test_images_that_do_not_fit, reset),
        cmocka_unit_test_setup(test_every_call_may_fail, reset),
        cmocka_unit_test_setup(test_sticky_error, reset),
        cmocka_unit_test_setup(test_library_on_a_broken_device, reset),
        cmocka_unit_test_setup(test_algorithm_that_is_none, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
