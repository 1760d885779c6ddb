/* What the CUDA executor measures before it chooses: convolutions' algorithms, ways of pooling and
 * of dropout. */
#include "small_net.h"

#include <cudnn.h>

/* Told that it need not be deterministic, it measures cuDNN's algorithms, once a plan. */
static void test_measured_algorithms(void **state) {
    (void)state;
    cairn_net *net = small_net();
    cairn_split split = random_split(3, SAMPLES, net->input, 10, false);
    cairn_executor_options options = cairn_executor_defaults();
    cairn_executor *measured = NULL;
    cairn_executor *plain = make(cuda_backend(), net, CAIRN_FLOAT32, &split);
    double losses[2][4];
    char choices[512];
    assert_int_equal(emulator_calls("cudnnFindConvolutionForwardAlgorithmEx"), 0);
    options = plain->options;
    options.deterministic = false;
    must(cairn_executor_create(&measured, cuda_backend(), net, &options));
    must(cairn_executor_upload(measured, CAIRN_SPLIT_TRAIN, &split));
    must(cairn_executor_initialise(measured, 7));
    assert_int_equal(emulator_calls("cudnnFindConvolutionForwardAlgorithmEx"), 2);
    assert_int_equal(emulator_calls("cudnnFindConvolutionBackwardDataAlgorithmEx"), 1);
    assert_int_equal(emulator_calls("cudnnFindConvolutionBackwardFilterAlgorithmEx"), 2);
    train(measured, 0, 4, losses[0]);
    train(plain, 0, 4, losses[1]);
    for (int t = 0; t < 4; t++)
        assert_true(fabs(losses[0][t] - losses[1][t]) < 1e-3);
    measured->ops->choices(measured, choices, sizeof choices);
    assert_non_null(strstr(choices, "features.0 forward "));
    assert_non_null(strstr(choices, "features.3 data gradient "));
    assert_null(strstr(choices, "features.0 data gradient")); /* nobody wants it */
    cairn_executor_destroy(measured);
    cairn_executor_destroy(plain);
    free_split(&split);
    cairn_net_destroy(net);
}

/* A deterministic weight gradient has one algorithm, here with a workspace of 36 MiB: a float for
 * each weight. */
static void test_large_workspace(void **state) {
    (void)state;
    static const cairn_precision precisions[] = {CAIRN_FLOAT32, CAIRN_BF16};
    cairn_net *net = build_ops("conv 1024 3 1 1, flat, linear 10", (cairn_shape){1024, 2, 2});
    for (int p = 0; p < 2; p++) {
        cairn_executor_options options = cairn_executor_defaults();
        cairn_executor *executor = NULL;
        char choices[512];
        options.batch = 1;
        options.precision = precisions[p];
        options.deterministic = true;
        must(cairn_executor_create(&executor, cuda_backend(), net, &options));
        executor->ops->choices(executor, choices, sizeof choices);
        assert_non_null(strstr(choices, "weight gradient 1"));
        cairn_executor_destroy(executor);
    }
    cairn_net_destroy(net);
}

/* Pooling by cuDNN: only where it proved faster, and only in a training that need not be
 * deterministic. The losses are those of our kernels, but for who wins among equals. */
static void test_measured_pooling(void **state) {
    (void)state;
    static const char *const kernels[] = {"(pool_forward<T, V, NHWC, 2>)", "cudnnPoolingForward"};
    cairn_net *net = small_net();
    cairn_split split = random_split(3, SAMPLES, net->input, 10, false);
    double losses[2][4];
    for (int cudnns = 0; cudnns < 2; cudnns++) /* are faster */
        for (int p = 0; p < 2; p++) {
            cairn_precision precision = p ? CAIRN_BF16 : CAIRN_FLOAT32;
            emulator_reset();
            cairn_executor *plain = make(cuda_backend(), net, precision, &split), *free = NULL;
            cairn_executor_options options = plain->options;
            char choices[2048];
            cairn_stats zero = {0}, stats[2];
            options.deterministic = false;
            emulator_slow(kernels[!cudnns]);
            must(cairn_executor_create(&free, cuda_backend(), net, &options));
            must(cairn_executor_upload(free, CAIRN_SPLIT_TRAIN, &split));
            must(cairn_executor_upload(free, CAIRN_SPLIT_TEST, &split));
            must(cairn_executor_initialise(free, 7));
            int measured = emulator_calls("cudnnPoolingBackward");
            train(free, 0, 4, losses[0]);
            assert_int_equal(emulator_calls("cudnnPoolingBackward") > measured, cudnns);
            train(plain, 0, 4, losses[1]);
            for (int t = 0; t < 4; t++)
                assert_true(fabs(losses[0][t] - losses[1][t]) < (p ? 3e-2 : 1e-3));
            free->ops->choices(free, choices, sizeof choices);
            assert_non_null(
                strstr(choices, cudnns ? "pooling by cuDNN (ours " : "pooling by ours (ours "));
            cairn_executor *both[] = {free, plain};
            for (int e = 0; e < 2; e++) {
                must(cairn_executor_set_stats(both[e], &zero));
                must(cairn_executor_evaluate(both[e], CAIRN_SPLIT_TEST, 0, SAMPLES));
                must(cairn_executor_get_stats(both[e], &stats[e]));
            }
            assert_true(loss_error(&stats[0], &stats[1]) < (p ? 3e-2 : 1e-3));
            plain->ops->choices(plain, choices, sizeof choices);
            assert_null(strstr(choices, "pooling"));
            cairn_executor_destroy(free);
            cairn_executor_destroy(plain);
        }
    free_split(&split);
    cairn_net_destroy(net);
}

/* What cuDNN cannot do is ours, and no failure: forward or backward. */
static void test_refused_pooling(void **state) {
    (void)state;
    static const char *const refusing[] = {"cudnnPoolingForward", "cudnnPoolingBackward"};
    cairn_net *net = small_net();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (int i = 0; i < 2; i++) {
        cairn_executor_options options = cairn_executor_defaults();
        cairn_executor *executor = NULL;
        cairn_timing rows[8];
        int count = 0;
        options.batch = BATCH;
        options.deterministic = false;
        emulator_reset();
        emulator_slow("(pool_forward<T, V, NHWC, 2>)"); /* cuDNN's would be faster */
        emulator_fail(refusing[i], 1, CUDNN_STATUS_NOT_SUPPORTED_LAYOUT); /* of the first pooling */
        must(cairn_executor_create(&executor, cuda_backend(), net, &options));
        emulator_fail(refusing[i], 1, CUDNN_STATUS_NOT_SUPPORTED);
        must(executor->ops->compare(executor, rows, 8, &count));
        assert_int_equal(count, 5);
        assert_string_equal(rows[0].name, "features.2 pooling, ours");
        assert_string_equal(rows[1].name, "features.5 pooling, ours");
        assert_string_equal(rows[2].name, "features.5 pooling, cuDNN");
        must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &split));
        must(cairn_executor_initialise(executor, 7));
        int before = emulator_calls("cudnnPoolingBackward");
        train(executor, 0, 1, NULL);
        assert_int_equal(emulator_calls("cudnnPoolingBackward"), before + 1); /* the second's */
        assert_string_equal(cairn_error_message(), "");
        cairn_executor_destroy(executor);
        executor = NULL;
        emulator_fail(refusing[i], 1, CUDNN_STATUS_INTERNAL_ERROR); /* that is one */
        assert_int_equal(cairn_executor_create(&executor, cuda_backend(), net, &options),
                         CAIRN_FAILED);
        cairn_error_set(CAIRN_OK, "%s", "");
    }
    free_split(&split);
    cairn_net_destroy(net);
}

/* A bench sees both ways of pooling and dropout, but of bf16, which cuDNN's dropout does not take;
 * the training beside it goes on as if it had not. */
static void test_autotuning(void **state) {
    (void)state;
    static const char *const names[] = {
        "features.2 pooling, ours",  "features.2 pooling, cuDNN",  "features.5 pooling, ours",
        "features.5 pooling, cuDNN", "classifier.3 dropout, ours", "classifier.3 dropout, cuDNN"};
    static const cairn_precision precisions[] = {CAIRN_FLOAT32, CAIRN_TF32, CAIRN_BF16};
    cairn_net *net = small_net();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (int p = 0; p < 3; p++) {
        cairn_executor *watched = make(cuda_backend(), net, precisions[p], &split);
        cairn_executor *plain = make(cuda_backend(), net, precisions[p], &split);
        cairn_timing rows[8];
        int count = 0;
        train(watched, 0, 3, NULL);
        must(watched->ops->compare(watched, rows, 8, &count));
        assert_int_equal(count, precisions[p] == CAIRN_BF16 ? 5 : 6);
        for (int i = 0; i < count; i++) {
            assert_string_equal(rows[i].name, names[i]);
            assert_true(rows[i].seconds > 0);
        }
        train(watched, 3, 6, NULL);
        train(plain, 0, 6, NULL);
        assert_equal_tensors(watched, plain, CAIRN_PARAMETER);
        cairn_executor_destroy(watched);
        cairn_executor_destroy(plain);
    }
    free_split(&split);
    cairn_net_destroy(net);
}

/* Short runs are timed many in a row, long ones each alone; either time is that of one. */
static void test_timing_in_a_row(void **state) {
    (void)state;
    enum { ALONE = 2 + 5 }; /* warming up, the first measurement, and the rounds */
    cairn_net *net = small_net();
    cairn_executor_options options = cairn_executor_defaults();
    options.batch = 1;
    options.deterministic = false;
    for (int slow = 0; slow < 2; slow++) {
        cairn_executor *executor = NULL;
        cairn_timing rows[8];
        int count = 0;
        emulator_reset();
        if (slow)
            emulator_slow("cudnnPoolingBackward");
        must(cairn_executor_create(&executor, cuda_backend(), net, &options));
        int before = emulator_calls("cudnnPoolingBackward");
        must(executor->ops->compare(executor, rows, 8, &count));
        int runs = emulator_calls("cudnnPoolingBackward") - before;
        assert_int_equal(count, 6);
        if (slow)
            assert_int_equal(runs, 2 * ALONE);
        else
            assert_true(runs > 2 * ALONE);
        assert_true(slow ? rows[1].seconds >= 1 && rows[1].seconds < 2 : rows[1].seconds < 1);
        cairn_executor_destroy(executor);
    }
    cairn_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_large_workspace), TEST(test_measured_algorithms), TEST(test_measured_pooling),
        TEST(test_refused_pooling), TEST(test_autotuning),          TEST(test_timing_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
