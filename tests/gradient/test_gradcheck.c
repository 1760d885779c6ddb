/* Every op's gradient, and whole models', against difference quotients in float64; and proof that
 * the check sees a wrong gradient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cairn/gradcheck.h"
#include "cairn/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cairn_backend *reference(void) {
    const cairn_backend *backend = NULL;
    int ordinal = 0;
    assert_int_equal(cairn_backend_find(&backend, &ordinal, "reference", CAIRN_FLOAT64), CAIRN_OK);
    return backend;
}

static cairn_executor_options float64_options(void) {
    cairn_executor_options options = cairn_executor_defaults();
    options.precision = CAIRN_FLOAT64;
    options.threads = 1;
    options.crop_padding = 1;
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++) {
        options.mean[c] = 0.4f + 0.05f * (float)c;
        options.std[c] = 0.25f;
    }
    return options;
}

/* Fails with the table when a parameter is not ok; frees the net. */
static void check_net_with(const cairn_executor_options *options, cairn_net *net, const char *what,
                           int batch, int samples) {
    cairn_gradcheck_options check = {.batch = batch, .samples = samples, .seed = 7};
    cairn_gradcheck_row rows[CAIRN_NET_PARAMETERS_MAX];
    if (cairn_gradcheck(net, reference(), options, &check, rows))
        fail_msg("%s: %s", what, cairn_error_message());
    bool ok = true;
    for (int k = 0; k < net->parameter_count; k++) {
        ok = ok && rows[k].ok && (rows[k].checked > 0) != net->parameter[k].group.frozen;
        if (!rows[k].ok)
            print_error("%s, batch %d: %s: entry %zu of %d checked: gradient %.9g, quotient %.9g, "
                        "error %.2g, kinks %d\n",
                        what, batch, net->parameter[k].name, rows[k].worst, rows[k].checked,
                        rows[k].gradient, rows[k].quotient, rows[k].error, rows[k].kinks);
    }
    cairn_net_destroy(net);
    assert_true(ok);
}

static void check_net(cairn_net *net, const char *what, int batch, int samples) {
    cairn_executor_options options = float64_options();
    check_net_with(&options, net, what, batch, samples);
}

static void must(cairn_status status) {
    if (status)
        fail_msg("%s", cairn_error_message());
}

static const int batches[] = {1, 3, 7};

/* Two convolutions, so that the second's data gradient is seen through the first's weights; odd,
 * unequal sides, so that no axis can stand for another. */
static void test_conv2d(void **state) {
    (void)state;
    for (int kernel = 1; kernel <= 5; kernel += 2)
        for (int stride = 1; stride <= 2; stride++)
            for (int padding = 0; padding <= 2 && padding < kernel; padding++)
                for (int b = 0; b < 3; b++) {
                    char what[64];
                    snprintf(what, sizeof what, "conv kernel %d stride %d padding %d", kernel,
                             stride, padding);
                    cairn_net *net = NULL;
                    must(cairn_net_create(&net, (cairn_shape){2, 9, 7}));
                    must(cairn_net_conv2d(net, "first", 3, 3, 1, 1));
                    must(cairn_net_conv2d(net, "second", 2, kernel, stride, padding));
                    check_net(net, what, batches[b], 40);
                }
}

static void test_maxpool(void **state) {
    (void)state;
    static const int windows[][2] = {{2, 2}, {3, 2}, {3, 1}, {1, 1}, {3, 3}};
    for (int i = 0; i < 5; i++)
        for (int b = 0; b < 3; b++) {
            char what[64];
            snprintf(what, sizeof what, "maxpool %d/%d", windows[i][0], windows[i][1]);
            cairn_net *net = NULL;
            must(cairn_net_create(&net, (cairn_shape){1, 9, 7}));
            must(cairn_net_conv2d(net, "conv", 3, 3, 1, 1));
            must(cairn_net_maxpool(net, "pool", windows[i][0], windows[i][1]));
            check_net(net, what, batches[b], 40);
        }
}

static void test_linear_relu_dropout(void **state) {
    (void)state;
    for (int b = 0; b < 3; b++) {
        cairn_net *net = NULL;
        must(cairn_net_create(&net, (cairn_shape){3, 3, 5}));
        must(cairn_net_flatten(net, "flat"));
        must(cairn_net_linear(net, "in", 11));
        must(cairn_net_relu(net, "relu"));
        must(cairn_net_dropout(net, "drop", 0.3f));
        must(cairn_net_linear(net, "out", 5));
        check_net(net, "linear, relu, dropout, linear", batches[b], 1000);
    }
}

static cairn_net *small_cnn(void) {
    cairn_net *net = NULL;
    cairn_simple_cnn options = {.widths = {3, 5}, .blocks = 2, .hidden = 7, .dropout = 0.2f};
    must(cairn_simple_cnn_build(&net, &options, (cairn_shape){3, 12, 8}, 4));
    return net;
}

static void test_simple_cnn(void **state) {
    (void)state;
    for (int b = 0; b < 3; b++)
        check_net(small_cnn(), "simple_cnn", batches[b], 60);
}

/* Targets that are smoothed, mixed, and both. */
static void test_soft_targets(void **state) {
    (void)state;
    for (int kind = 1; kind <= 3; kind++) {
        cairn_executor_options options = float64_options();
        options.label_smoothing = kind & 1 ? 0.2 : 0;
        options.augment.mixup = options.augment.cutmix = kind >> 1;
        options.augment.mix_share = CAIRN_ONE;
        cairn_beta_quantiles(1, options.augment.mixup_quantile);
        cairn_beta_quantiles(1, options.augment.cutmix_quantile);
        check_net_with(&options, small_cnn(), "simple_cnn with soft targets", 7, 20);
    }
}

/* conv's output goes to branch, and to relu, which leads nowhere and must add nothing. */
static void test_output_with_two_readers(void **state) {
    (void)state;
    cairn_net *net = NULL;
    must(cairn_net_create(&net, (cairn_shape){2, 5, 5}));
    must(cairn_net_conv2d(net, "conv", 3, 3, 1, 1));
    must(cairn_net_relu(net, "relu"));
    cairn_net_branch(net, 0);
    must(cairn_net_conv2d(net, "branch", 3, 3, 1, 1));
    check_net(net, "two readers", 3, 60);
}

/* A convolution before, so that the op's data gradient is seen through its weights. */
static void test_smooth_ops(void **state) {
    (void)state;
    for (int b = 0; b < 3; b++) {
        cairn_net *net = NULL;
        must(cairn_net_create(&net, (cairn_shape){2, 6, 5}));
        must(cairn_net_conv2d_unbiased(net, "conv", 3, 3, 1, 1));
        must(cairn_net_batchnorm(net, "norm"));
        must(cairn_net_conv2d(net, "next", 4, 1, 1, 0));
        must(cairn_net_gelu(net, "gelu"));
        must(cairn_net_avgpool(net, "avg", 3, 2));
        must(cairn_net_silu(net, "silu"));
        must(cairn_net_flatten(net, "flat"));
        must(cairn_net_linear_unbiased(net, "linear", 5));
        check_net(net, "norm, gelu, avgpool, silu", batches[b], 60);
    }
}

/* A frozen weight's gradient stays zero, and it does not stop those behind and before it. */
static void test_frozen_weight(void **state) {
    (void)state;
    cairn_net *net = NULL;
    must(cairn_net_create(&net, (cairn_shape){2, 5, 5}));
    must(cairn_net_conv2d(net, "first", 3, 3, 1, 1));
    must(cairn_net_conv2d(net, "frozen", 3, 3, 1, 1));
    must(cairn_net_gelu(net, "gelu"));
    must(cairn_net_batchnorm(net, "norm"));
    must(cairn_net_flatten(net, "flat"));
    must(cairn_net_linear(net, "last", 4));
    net->parameter[net->op[1].weight].group.frozen = true;
    net->parameter[net->op[3].weight].group.frozen = true;
    check_net(net, "frozen", 3, 60);
}

/* A 2x2 convolution that is frozen but for its bias, windows that leave a border over, frozen
 * scales, a scaled product. */
static void test_speed_cnn(void **state) {
    (void)state;
    const cairn_speed_cnn options = {.widths = {5, 7}, .groups = 2, .whiten_bias_epochs = 3};
    for (int b = 1; b < 3; b++) {
        cairn_net *net = NULL;
        must(cairn_speed_cnn_build(&net, &options, (cairn_shape){1, 14, 13}, 4));
        check_net(net, "speed_cnn", batches[b], 40);
    }
}

/* A block in the manner of He et al.: two normalised convolutions beside a projection, summed. */
static void test_residual_net(void **state) {
    (void)state;
    for (int b = 0; b < 3; b++) {
        cairn_net *net = NULL;
        must(cairn_net_create(&net, (cairn_shape){2, 7, 6}));
        must(cairn_net_conv2d_unbiased(net, "stem", 3, 3, 1, 1));
        int stem = cairn_net_last(net);
        must(cairn_net_conv2d_unbiased(net, "a", 4, 3, 2, 1));
        must(cairn_net_batchnorm(net, "a_norm"));
        must(cairn_net_gelu(net, "a_gelu"));
        must(cairn_net_conv2d_unbiased(net, "b", 4, 3, 1, 1));
        must(cairn_net_batchnorm(net, "b_norm"));
        int block = cairn_net_last(net);
        cairn_net_branch(net, stem);
        must(cairn_net_conv2d_unbiased(net, "projection", 4, 1, 2, 0));
        must(cairn_net_add(net, "sum", block));
        int sum = cairn_net_last(net);
        must(cairn_net_conv2d(net, "c", 4, 3, 1, 1));
        must(cairn_net_add(net, "sum2", sum));
        must(cairn_net_avgpool(net, "pool", 3, 3));
        must(cairn_net_flatten(net, "flat"));
        must(cairn_net_linear(net, "fc", 5));
        check_net(net, "residual", batches[b], 40);
    }
}

/* Mutations ---------------------------------------------------------------------------------------
 * A backend that is `reference` but for one gradient, which get() spoils. */

typedef enum { SCALE_TENSOR, ZERO_TENSOR, FLIP_ONE, NAN_ONE, MUTATIONS } mutation;

static struct {
    mutation kind;
    int ordinal;
    const cairn_executor_ops *inner;
    cairn_executor_ops ops;
} spoiled;

static cairn_status spoiled_get(cairn_executor *executor, cairn_tensor_kind kind, int ordinal,
                                float *values) {
    cairn_status status = spoiled.inner->get(executor, kind, ordinal, values);
    if (kind != CAIRN_GRADIENT || ordinal != spoiled.ordinal)
        return status;
    size_t count = executor->net->parameter[ordinal].count, largest = 0;
    for (size_t i = 0; i < count; i++)
        if (fabsf(values[i]) > fabsf(values[largest]))
            largest = i;
    for (size_t i = 0; i < count; i++)
        if (spoiled.kind == SCALE_TENSOR)
            values[i] *= 1.001f;
        else if (spoiled.kind == ZERO_TENSOR)
            values[i] = 0;
        else if (i == largest)
            values[i] = spoiled.kind == FLIP_ONE ? -values[i] : NAN;
    return status;
}

static cairn_status spoiled_create(cairn_executor **executor, const cairn_net *net,
                                   const cairn_executor_options *options) {
    cairn_status status = reference()->create(executor, net, options);
    if (status)
        return status;
    spoiled.inner = (*executor)->ops;
    spoiled.ops = *spoiled.inner;
    spoiled.ops.get = spoiled_get;
    (*executor)->ops = &spoiled.ops;
    return CAIRN_OK;
}

static void test_wrong_gradient_is_caught(void **state) {
    (void)state;
    cairn_backend backend = *reference();
    backend.create = spoiled_create;
    cairn_executor_options options = float64_options();
    cairn_gradcheck_options check = {.batch = 3, .samples = 600, .seed = 7};
    cairn_gradcheck_row rows[CAIRN_NET_PARAMETERS_MAX];
    cairn_net *net = small_cnn();
    for (int kind = 0; kind < MUTATIONS; kind++)
        for (int k = 0; k < net->parameter_count; k++) {
            spoiled.kind = (mutation)kind;
            spoiled.ordinal = k;
            must(cairn_gradcheck(net, &backend, &options, &check, rows));
            for (int other = 0; other < net->parameter_count; other++)
                if (rows[other].ok == (other == k))
                    fail_msg("mutation %d of %s: %s is %s", kind, net->parameter[k].name,
                             net->parameter[other].name, rows[other].ok ? "ok" : "not ok");
        }
    cairn_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv2d),
        cmocka_unit_test(test_maxpool),
        cmocka_unit_test(test_linear_relu_dropout),
        cmocka_unit_test(test_simple_cnn),
        cmocka_unit_test(test_soft_targets),
        cmocka_unit_test(test_output_with_two_readers),
        cmocka_unit_test(test_smooth_ops),
        cmocka_unit_test(test_frozen_weight),
        cmocka_unit_test(test_speed_cnn),
        cmocka_unit_test(test_residual_net),
        cmocka_unit_test(test_wrong_gradient_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
