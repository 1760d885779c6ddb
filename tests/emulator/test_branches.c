/* Nets with branches on the CUDA executor: residual networks with batch normalisation, trained and
 * evaluated against `reference`, replayed as one graph, resumed, with frozen parameters. */
#include "executors.h"

enum { SAMPLES = 70, BATCH = 24, STEPS = 9 };

static cairn_net *resnet(void) {
    cairn_net *net = NULL;
    const cairn_resnet model = {.widths = {6, 10}, .blocks = {1, 1}, .stages = 2};
    must(cairn_resnet_build(&net, &model, (cairn_shape){3, 8, 8}, 10));
    return net;
}

static cairn_net *wideresnet(void) {
    cairn_net *net = NULL;
    must(cairn_wideresnet_build(&net, 1, 1, (cairn_shape){3, 8, 8}, 10));
    return net;
}

static cairn_executor *make(const cairn_backend *backend, const cairn_net *net,
                            cairn_precision precision, const cairn_split *split) {
    cairn_executor_options options = cairn_executor_defaults();
    options.batch = BATCH;
    options.precision = precision;
    return make_executor(backend, net, &options, split);
}

/* Steps first..last-1, each epoch's third smaller; then the mean losses of the whole split's
 * evaluation and of the steps. */
static double train(cairn_executor *executor, int first, int last, double *evaluated) {
    int32_t order[SAMPLES];
    cairn_stats zero = {0}, stats;
    must(cairn_executor_set_stats(executor, &zero));
    for (int t = first; t < last; t++) {
        int at = t % 3 * BATCH, count = SAMPLES - at < BATCH ? SAMPLES - at : BATCH;
        cairn_step step = {order + at, count, (uint32_t)t / 3, (uint32_t)t, 1e-3};
        cairn_sampler_order(7, (uint32_t)t / 3, SAMPLES, order);
        must(cairn_executor_train_step(executor, &step));
    }
    must(cairn_executor_get_stats(executor, &stats));
    double loss = last > first ? stats.loss / (double)stats.seen : 0;
    if (evaluated) {
        must(cairn_executor_set_stats(executor, &zero));
        must(cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, 0, SAMPLES));
        must(cairn_executor_get_stats(executor, &stats));
        *evaluated = stats.loss / SAMPLES;
    }
    return loss;
}

/* Rounding tips ReLUs near ties and grows along a training; a wrong gradient, or statistics of
 * another batch, are off by far more. */
static void follow(cairn_net *(*build)(void)) {
    static const cairn_precision precisions[] = {CAIRN_FLOAT32, CAIRN_TF32, CAIRN_BF16};
    static const double allowed[] = {1e-4, 1e-2, 5e-2};
    cairn_net *net = build();
    cairn_split split = random_split(11, SAMPLES, net->input, 10, false);
    double wanted[2], begun, got[2];
    cairn_executor *reference = make(reference_backend(), net, CAIRN_FLOAT64, &split);
    train(reference, 0, 0, &begun);
    wanted[0] = train(reference, 0, STEPS, &wanted[1]);
    cairn_executor_destroy(reference);
    assert_true(fabs(wanted[1] - begun) > 0.05); /* running statistics and weights did move */
    for (int p = 0; p < 3; p++) {
        cairn_executor *executor = make(cuda_backend(), net, precisions[p], &split);
        got[0] = train(executor, 0, STEPS, &got[1]);
        for (int i = 0; i < 2; i++)
            if (!(fabs(got[i] - wanted[i]) <= allowed[p] * wanted[i]))
                fail_msg("%s: %s loss %.7f, reference has %.7f",
                         cairn_precision_name(precisions[p]), i ? "evaluated" : "trained", got[i],
                         wanted[i]);
        cairn_executor_destroy(executor);
    }
    free_split(&split);
    cairn_net_destroy(net);
}

static void test_residual_nets_follow_reference(void **state) {
    (void)state;
    follow(resnet);
    follow(wideresnet);
}

/* Running statistics are in the checkpoint too; and the resumed steps are replayed graphs or not
 * at other times than the unbroken ones. */
static void test_resumed_is_unbroken(void **state) {
    (void)state;
    static const cairn_tensor_kind kinds[] = {CAIRN_PARAMETER, CAIRN_STATE_0, CAIRN_STATE_1};
    cairn_net *net = resnet();
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (int p = 0; p < 2; p++) {
        cairn_precision precision = p ? CAIRN_BF16 : CAIRN_FLOAT32;
        cairn_executor *unbroken = make(cuda_backend(), net, precision, &split);
        cairn_executor *begun = make(cuda_backend(), net, precision, &split);
        cairn_executor *resumed = make(cuda_backend(), net, precision, &split);
        train(unbroken, 0, STEPS, NULL);
        train(begun, 0, 4, NULL);
        for (int k = 0; k < net->parameter_count; k++)
            for (int i = 0; i < 3; i++) {
                float *values = get_tensor(begun, kinds[i], k);
                must(cairn_executor_set(resumed, kinds[i], k, values));
                free(values);
            }
        train(resumed, 4, STEPS, NULL);
        for (int i = 0; i < 3; i++)
            assert_equal_tensors(unbroken, resumed, kinds[i]);
        cairn_executor_destroy(unbroken);
        cairn_executor_destroy(begun);
        cairn_executor_destroy(resumed);
    }
    free_split(&split);
    cairn_net_destroy(net);
}

/* Every second weight, bias and normalisation is frozen: its values stay, its gradient and moments
 * are zeros, and those of the others are what `reference` has. */
static void test_frozen_parameters(void **state) {
    (void)state;
    static const cairn_precision precisions[] = {CAIRN_FLOAT32, CAIRN_BF16};
    cairn_net *net = build_ops("conv 6 3 1 1, norm, gelu, conv 6 3 1 1, norm, add 2, gelu, "
                               "flat, linear 12, gelu, linear 10",
                               (cairn_shape){3, 6, 6});
    for (int k = 0; k < net->parameter_count; k += 2)
        net->parameter[k].group.frozen = true;
    net->parameter[0].group.frozen = net->parameter[1].group.frozen =
        true; /* nothing before op 1 */
    cairn_split split = random_split(13, SAMPLES, net->input, 10, false);
    cairn_executor *reference = make(reference_backend(), net, CAIRN_FLOAT64, &split);
    train(reference, 0, 1, NULL);
    for (int p = 0; p < 2; p++) {
        cairn_executor *executor = make(cuda_backend(), net, precisions[p], &split);
        train(executor, 0, 1, NULL);
        for (int k = 0; k < net->parameter_count; k++) {
            const size_t count = net->parameter[k].count;
            float *want = get_tensor(reference, CAIRN_GRADIENT, k);
            float *got = get_tensor(executor, CAIRN_GRADIENT, k);
            double error = relative_error(count, got, want, 1e-3);
            if (!(error <= 10 * op_tolerance(precisions[p])))
                fail_msg("%s: gradient of %s: relative error %g",
                         cairn_precision_name(precisions[p]), net->parameter[k].name, error);
            free(got);
            free(want);
        }
        train(executor, 1, 5, NULL);
        for (int k = 0; k < net->parameter_count; k++) {
            const size_t count = net->parameter[k].count;
            const cairn_op *op = owner_of(net, k);
            if (!net->parameter[k].group.frozen || k == op->mean || k == op->variance)
                continue;
            float *start = malloc(count * sizeof *start);
            float *now = get_tensor(executor, CAIRN_PARAMETER, k);
            float *moment = get_tensor(executor, CAIRN_STATE_1, k);
            assert_non_null(start);
            cairn_parameter_initialise(net, k, 7, start);
            assert_memory_equal(now, start, count * sizeof *start);
            for (size_t i = 0; i < count; i++)
                assert_true(moment[i] == 0);
            free(start);
            free(now);
            free(moment);
        }
        cairn_executor_destroy(executor);
    }
    cairn_executor_destroy(reference);
    free_split(&split);
    cairn_net_destroy(net);
}

/* Evaluation keeps only what still has a reader: its memory does not grow with the depth. */
static void test_evaluation_reuses_memory(void **state) {
    (void)state;
    size_t bytes[2];
    for (int deep = 0; deep < 2; deep++) {
        cairn_net *net = NULL;
        const cairn_resnet model = {.widths = {6}, .blocks = {deep ? 8 : 2}, .stages = 1};
        must(cairn_resnet_build(&net, &model, (cairn_shape){3, 8, 8}, 10));
        cairn_split split = random_split(5, 1000, net->input, 10, false);
        cairn_executor_options options = cairn_executor_defaults();
        cairn_executor *executor = NULL;
        options.batch = 1; /* the training's memory is small */
        must(cairn_executor_create(&executor, cuda_backend(), net, &options));
        must(cairn_executor_upload(executor, CAIRN_SPLIT_TEST, &split));
        must(cairn_executor_initialise(executor, 1));
        size_t before = emulator_count_live().bytes;
        must(cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, 0, 1000));
        bytes[deep] = emulator_count_live().bytes - before;
        cairn_executor_destroy(executor);
        free_split(&split);
        cairn_net_destroy(net);
    }
    assert_true(bytes[0] > 0);
    assert_int_equal(bytes[0], bytes[1]);
}

/* Features and a flattened map lie differently in memory. */
static void test_sums_of_maps_and_features_are_refused(void **state) {
    (void)state;
    cairn_net *net = build_ops("conv 4 3 1 1, flat, linear 16, add 1", (cairn_shape){3, 2, 2});
    cairn_executor_options options = cairn_executor_defaults();
    cairn_executor *executor = NULL;
    options.precision = CAIRN_BF16;
    assert_int_equal(cairn_executor_create(&executor, cuda_backend(), net, &options), CAIRN_FAILED);
    assert_non_null(strstr(cairn_error_message(), "3: the cuda backend cannot add features"));
    cairn_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_residual_nets_follow_reference),
        TEST(test_resumed_is_unbroken),
        TEST(test_frozen_parameters),
        TEST(test_evaluation_reuses_memory),
        TEST(test_sums_of_maps_and_features_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
