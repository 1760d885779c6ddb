/* The CUDA executor on the emulator, beyond what the parity tests see: a whole epoch of the model,
 * resuming, the ring of slots going round, and what a step costs the host. */
#include "executors.h"

#include <cudnn.h>

enum { SAMPLES = 150, BATCH = 32 };

/* A net of two convolutions and two linear layers, quick to emulate. */
static cairn_net *small_net(void) {
    cairn_net *net = NULL;
    cairn_simple_cnn model = {.widths = {5, 9}, .blocks = 2, .hidden = 12, .dropout = 0.2f};
    must(cairn_simple_cnn_build(&net, &model, (cairn_shape){3, 8, 8}, 10));
    return net;
}

static cairn_executor *make_with(const cairn_backend *backend, const cairn_net *net,
                                 cairn_precision precision, const cairn_split *split,
                                 const cairn_optimizer *optimizer, int accumulate) {
    cairn_executor_options options = cairn_executor_defaults();
    options.optimizer = *optimizer;
    options.accumulate = accumulate;
    options.batch = BATCH / accumulate;
    options.precision = precision;
    return make_executor(backend, net, &options, split);
}

static cairn_executor *make(const cairn_backend *backend, const cairn_net *net,
                            cairn_precision precision, const cairn_split *split) {
    const cairn_optimizer optimizer = cairn_optimizer_defaults();
    return make_with(backend, net, precision, split, &optimizer, 1);
}

/* Steps first..last-1 of a training, the last of every epoch smaller. */
static void train(cairn_executor *executor, int first, int last, double *losses) {
    const int epoch_steps = (SAMPLES + BATCH - 1) / BATCH;
    int32_t order[SAMPLES];
    for (int t = first; t < last; t++) {
        int epoch = t / epoch_steps, at = t % epoch_steps * BATCH;
        int count = SAMPLES - at < BATCH ? SAMPLES - at : BATCH;
        const cairn_stats zero = {0};
        cairn_stats stats;
        cairn_step step = {order + at, count, (uint32_t)epoch, (uint32_t)t, 1e-3};
        cairn_sampler_order(7, (uint32_t)epoch, SAMPLES, order);
        if (losses)
            must(cairn_executor_set_stats(executor, &zero));
        must(cairn_executor_train_step(executor, &step));
        if (!losses)
            continue;
        must(cairn_executor_get_stats(executor, &stats));
        losses[t] = stats.loss / count;
    }
}

/* The model itself, step by step and evaluated, against `reference` ------------------------------
 */

static void follow(const cairn_net *net, const cairn_split *split, cairn_precision precision,
                   const double *wanted, const cairn_stats *evaluated, int steps,
                   double tolerance) {
    double losses[16];
    cairn_stats zero = {0}, stats;
    cairn_executor *executor = make(cuda_backend(), net, precision, split);
    train(executor, 0, steps, losses);
    for (int t = 0; t < steps; t++)
        if (!(fabs(losses[t] - wanted[t]) <= tolerance * wanted[t]))
            fail_msg("%s: step %d: loss %.7f, reference has %.7f", cairn_precision_name(precision),
                     t, losses[t], wanted[t]);
    must(cairn_executor_set_stats(executor, &zero));
    must(cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, 0, SAMPLES));
    must(cairn_executor_get_stats(executor, &stats));
    assert_true(loss_error(&stats, evaluated) <= tolerance);
    cairn_executor_destroy(executor);
}

/* Of twenty sets of random images one has a value so near a tie that the last bit of a sum decides
 * a ReLU or a maximum, and Adam makes a whole step of the difference: up to 6e-4 of the loss, by
 * measuring. This one has none, and all agree to 3e-8; another machine's rounding may find one. */
static void test_an_epoch_of_the_model(void **state) {
    (void)state;
    enum { STEPS = (SAMPLES + BATCH - 1) / BATCH };
    double wanted[STEPS];
    cairn_stats zero = {0}, evaluated;
    cairn_net *net = NULL;
    cairn_simple_cnn model = {.widths = {32, 64, 128}, .blocks = 3, .hidden = 256, .dropout = 0.2f};
    must(cairn_simple_cnn_build(&net, &model, (cairn_shape){3, 32, 32}, 10));
    cairn_split split = random_split(3, SAMPLES, net->input, 10, false);
    cairn_executor *reference = make(reference_backend(), net, CAIRN_FLOAT32, &split);
    train(reference, 0, STEPS, wanted);
    must(cairn_executor_set_stats(reference, &zero));
    must(cairn_executor_evaluate(reference, CAIRN_SPLIT_TEST, 0, SAMPLES));
    must(cairn_executor_get_stats(reference, &evaluated));
    cairn_executor_destroy(reference);
    follow(net, &split, CAIRN_FLOAT32, wanted, &evaluated, STEPS, 1e-3);
    follow(net, &split, CAIRN_TF32, wanted, &evaluated, STEPS, 1e-2);
    follow(net, &split, CAIRN_BF16, wanted, &evaluated, STEPS, 3e-2);
    free_split(&split);
    cairn_net_destroy(net);
}

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

/* Resuming ---------------------------------------------------------------------------------------
 */

static void copy_tensors(cairn_executor *from, cairn_executor *to) {
    static const cairn_tensor_kind kinds[] = {CAIRN_PARAMETER, CAIRN_FIRST_MOMENT,
                                              CAIRN_SECOND_MOMENT};
    for (int k = 0; k < from->net->parameter_count; k++)
        for (int i = 0; i < 3; i++) {
            float *values = malloc(from->net->parameter[k].count * sizeof *values);
            assert_non_null(values);
            must(cairn_executor_get(from, kinds[i], k, values));
            must(cairn_executor_set(to, kinds[i], k, values));
            free(values);
        }
}

static void test_resumed_is_unbroken(void **state) {
    (void)state;
    static const cairn_precision precisions[] = {CAIRN_FLOAT32, CAIRN_TF32, CAIRN_BF16};
    cairn_net *net = small_net();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (int p = 0; p < 3; p++) {
        cairn_executor *unbroken = make(cuda_backend(), net, precisions[p], &split);
        cairn_executor *begun = make(cuda_backend(), net, precisions[p], &split);
        cairn_executor *resumed = make(cuda_backend(), net, precisions[p], &split);
        train(unbroken, 0, 14, NULL);
        train(begun, 0, 8, NULL);
        copy_tensors(begun, resumed);
        train(resumed, 8, 14, NULL);
        assert_equal_tensors(unbroken, resumed, CAIRN_PARAMETER);
        assert_equal_tensors(unbroken, resumed, CAIRN_SECOND_MOMENT);
        cairn_executor_destroy(unbroken);
        cairn_executor_destroy(begun);
        cairn_executor_destroy(resumed);
    }
    free_split(&split);
    cairn_net_destroy(net);
}

/* What a step costs the host ---------------------------------------------------------------------
 */

/* A graph for every batch of a step, and nothing else. */
static void check_graphs(const cairn_optimizer *optimizer, int accumulate, int steps) {
    static const char *const never[] = {"cudaMalloc",
                                        "cudaFree",
                                        "cudaHostAlloc",
                                        "cudaMemcpyAsync",
                                        "cudaMemsetAsync",
                                        "cudaStreamSynchronize",
                                        "cudaDeviceSynchronize",
                                        "cudaStreamBeginCapture",
                                        "cudaGraphInstantiate",
                                        "cudnnConvolutionForward",
                                        "cublasLtMatmul",
                                        "cublasLtMatmulAlgoGetHeuristic"};
    enum { NEVER = sizeof never / sizeof never[0], WARM = 10 };
    int before[NEVER];
    cairn_net *net = small_net();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    cairn_executor *executor =
        make_with(cuda_backend(), net, CAIRN_BF16, &split, optimizer, accumulate);
    train(executor, 0, WARM, NULL);
    for (int i = 0; i < NEVER; i++)
        before[i] = emulator_calls(never[i]);
    int launches = emulator_calls("cudaGraphLaunch");
    train(executor, WARM, WARM + steps, NULL);
    for (int i = 0; i < NEVER; i++)
        if (emulator_calls(never[i]) != before[i])
            fail_msg("%s was called in a step", never[i]);
    assert_int_equal(emulator_calls("cudaGraphLaunch") - launches, steps * accumulate);
    cairn_executor_destroy(executor);
    free_split(&split);
    cairn_net_destroy(net);
}

static void test_a_step_is_one_graph(void **state) {
    (void)state;
    cairn_optimizer optimizer = cairn_optimizer_defaults();
    check_graphs(&optimizer, 1, 40);
    optimizer.name = CAIRN_SGD;
    optimizer.momentum = optimizer.average = 0.9;
    optimizer.weight_decay = 0.1;
    optimizer.decay_exclude = CAIRN_EXCLUDE_NORMS_AND_BIASES;
    optimizer.clip_norm = 1;
    check_graphs(&optimizer, 1, 10);
    check_graphs(&optimizer, 2, 10);
}

/* More steps than the ring has slots, none waited for: each still gets its own indices. */
static void test_the_ring_goes_round(void **state) {
    (void)state;
    enum { STEPS = 170 };
    cairn_net *net = small_net();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    cairn_executor *hasty = make(cuda_backend(), net, CAIRN_FLOAT32, &split);
    cairn_executor *patient = make(cuda_backend(), net, CAIRN_FLOAT32, &split);
    double losses[STEPS];
    train(hasty, 0, STEPS, NULL);
    train(patient, 0, STEPS, losses);
    assert_true(emulator_calls("cudaEventSynchronize") > 0);
    assert_equal_tensors(hasty, patient, CAIRN_PARAMETER);
    cairn_executor_destroy(hasty);
    cairn_executor_destroy(patient);
    free_split(&split);
    cairn_net_destroy(net);
}

/* Another split in a split's place ends the graphs that hold its address. */
static void test_a_split_is_replaced(void **state) {
    (void)state;
    cairn_net *net = small_net();
    cairn_split first = random_split(test_seed(), SAMPLES, net->input, 10, false);
    cairn_split second = random_split(test_seed() + 1, SAMPLES, net->input, 10, false);
    cairn_executor *replaced = make(cuda_backend(), net, CAIRN_FLOAT32, &first);
    cairn_executor *fresh = make(cuda_backend(), net, CAIRN_FLOAT32, &second);
    double losses[2][3];
    for (int i = 0; i < 3; i++)
        must(cairn_executor_evaluate(replaced, CAIRN_SPLIT_TEST, 0, SAMPLES));
    must(cairn_executor_upload(replaced, CAIRN_SPLIT_TEST, &second));
    for (int i = 0; i < 3; i++) {
        cairn_executor *both[] = {replaced, fresh};
        for (int e = 0; e < 2; e++) {
            cairn_stats stats = {0};
            must(cairn_executor_set_stats(both[e], &stats));
            must(cairn_executor_evaluate(both[e], CAIRN_SPLIT_TEST, 0, SAMPLES));
            must(cairn_executor_get_stats(both[e], &stats));
            losses[e][i] = stats.loss;
        }
    }
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    cairn_executor_destroy(replaced);
    cairn_executor_destroy(fresh);
    free_split(&first);
    free_split(&second);
    cairn_net_destroy(net);
}

/* Logits leave the sums of a training under way alone. */
static void test_logits_keep_the_stats(void **state) {
    (void)state;
    cairn_net *net = small_net();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    cairn_executor *executor = make(cuda_backend(), net, CAIRN_BF16, &split);
    cairn_stats before, after;
    float logits[SAMPLES][10];
    train(executor, 0, 3, NULL);
    must(cairn_executor_get_stats(executor, &before));
    must(cairn_executor_logits(executor, CAIRN_SPLIT_TEST, 0, SAMPLES, logits[0]));
    must(cairn_executor_get_stats(executor, &after));
    assert_int_equal(before.seen, 3 * BATCH);
    assert_memory_equal(&before, &after, sizeof before);
    cairn_executor_destroy(executor);
    free_split(&split);
    cairn_net_destroy(net);
}

/* A number that is none has to reach the loss from wherever it is: a ReLU that made it 0 would hide
 * that a training diverged. */
static void test_nan_reaches_the_loss(void **state) {
    (void)state;
    static const cairn_precision precisions[] = {CAIRN_FLOAT32, CAIRN_TF32, CAIRN_BF16};
    cairn_net *net =
        build_ops("conv 4 3 1 1, relu, conv 4 3 1 1, relu, pool 2 2, norm, relu, flat, "
                  "linear 12, relu, linear 12, relu, drop 20, linear 10",
                  (cairn_shape){3, 8, 8});
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (int p = 0; p < 3; p++)
        for (int k = 0; k < net->parameter_count; k++) {
            const cairn_op *op = owner_of(net, k);
            if (k != op->weight && k != op->bias)
                continue;
            cairn_executor *executor = make(cuda_backend(), net, precisions[p], &split);
            float *values = get_tensor(executor, CAIRN_PARAMETER, k);
            cairn_stats stats[2], zero = {0};
            for (size_t i = 0; i < net->parameter[k].count; i++)
                values[i] = NAN;
            must(cairn_executor_set(executor, CAIRN_PARAMETER, k, values));
            must(cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, 0, 5));
            must(cairn_executor_get_stats(executor, &stats[0]));
            must(cairn_executor_set_stats(executor, &zero));
            train(executor, 0, 1, NULL);
            must(cairn_executor_get_stats(executor, &stats[1]));
            for (int i = 0; i < 2; i++)
                if (!isnan(stats[i].loss))
                    fail_msg("%s: %s hides NaN in %s", cairn_precision_name(precisions[p]),
                             i ? "training" : "evaluation", net->parameter[k].name);
            free(values);
            cairn_executor_destroy(executor);
        }
    free_split(&split);
    cairn_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_an_epoch_of_the_model), TEST(test_large_workspace),
        TEST(test_measured_algorithms),   TEST(test_measured_pooling),
        TEST(test_refused_pooling),       TEST(test_autotuning),
        TEST(test_timing_in_a_row),       TEST(test_resumed_is_unbroken),
        TEST(test_a_step_is_one_graph),   TEST(test_the_ring_goes_round),
        TEST(test_a_split_is_replaced),   TEST(test_logits_keep_the_stats),
        TEST(test_nan_reaches_the_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
