/* The models: known numbers of parameters, names, shapes; what the builders refuse; and files of a
 * normalised model with and without PyTorch's counters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cairn/model.h"
#include "cairn/safetensors.h"
#include "cairn/model_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cairn_shape cifar = {3, 32, 32};

static cairn_net *build(const char *name) {
    static const char text[] = "data: {dir: none}\nrun: {name: r}\n"
                               "train: {epochs: 1, batch_size: 1, lr: 1}\n";
    char override[64];
    const char *const overrides[] = {override};
    cairn_config config;
    cairn_net *net = NULL;
    snprintf(override, sizeof override, "model.name=%s", name);
    if (cairn_config_parse(&config, text, sizeof text - 1, "test", overrides, 1) ||
        cairn_model_build(&net, &config, cifar, 10))
        fail_msg("%s: %s", name, cairn_error_message());
    return net;
}

/* Numbers of parameters from the papers and from PyTorch: wide and residual nets with projections.
 * Multiply-adds count as two. */
static void models_have_their_known_sizes(void **state) {
    (void)state;
    static const struct {
        const char *name, *op, *parameter;
        size_t parameters;
        double megaflops;
    } known[] = {
        {"simple_cnn", "classifier.4", "features.6.weight", 620362, 21.7},
        {"resnet20", "layer3.2.add", "layer2.0.downsample.0.weight", 272474, 81.6},
        {"resnet56", "layer3.8.add", "layer3.0.downsample.0.weight", 855770, 251.5},
        {"resnet18", "layer4.1.bn2", "layer4.0.downsample.1.running_var", 11173962, 1110.8},
        {"wideresnet-16-4", "avgpool", "block2.layer.0.convShortcut.weight", 2748890, 785.2},
        {"speed_cnn", "group3.gelu2", "group2.norm1.bias", 1971352, 236.3},
    };
    size_t count;
    const cairn_model_line *models = cairn_model_lines(&count);
    assert_int_equal(count, sizeof known / sizeof known[0]);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(models[i].name, known[i].name);
        cairn_net *net = build(known[i].name);
        bool op = false, parameter = false;
        for (int o = 0; o < net->op_count; o++) {
            op |= strcmp(net->op[o].name, known[i].op) == 0;
            for (int j = 0; j < o; j++)
                assert_string_not_equal(net->op[o].name, net->op[j].name);
        }
        for (int k = 0; k < net->parameter_count; k++)
            parameter |= strcmp(net->parameter[k].name, known[i].parameter) == 0;
        assert_true(op && parameter);
        assert_int_equal(cairn_net_parameter_total(net), known[i].parameters);
        assert_true(fabs(1e-6 * cairn_net_flops(net, 0) - known[i].megaflops) < 0.05);
        assert_int_equal(cairn_net_classes(net), 10);
        cairn_net_destroy(net);
    }
}

static void simple_cnn_takes_widths_and_depth(void **state) {
    (void)state;
    const cairn_simple_cnn options = {.widths = {4, 6}, .blocks = 2, .hidden = 5, .depth = 2};
    cairn_net *net = NULL;
    assert_int_equal(cairn_simple_cnn_build(&net, &options, cifar, 3), CAIRN_OK);
    assert_int_equal(net->op_count, 2 * 5 + 5);
    assert_string_equal(net->op[7].name, "features.7");
    assert_int_equal(net->op[7].kind, CAIRN_OP_CONV2D);
    assert_int_equal(net->op[7].in.c, 6);
    assert_int_equal(net->op[10].out.c, 6 * 8 * 8);
    cairn_net_destroy(net);
}

/* Which parameters are frozen, start as the identity, go by another rate. */
static void speed_cnn_begins_as_its_paper_has_it(void **state) {
    (void)state;
    const cairn_speed_cnn options = {.widths = {40, 5}, .groups = 2, .whiten_bias_epochs = 5};
    cairn_net *net = NULL;
    assert_int_equal(cairn_speed_cnn_build(&net, &options, (cairn_shape){3, 12, 32}, 3),
                     CAIRN_BAD_INPUT);
    assert_non_null(
        strstr(cairn_error_message(), "2 groups takes images of at least 13x13 pixels, not 12x32"));
    assert_int_equal(cairn_speed_cnn_build(&net, &options, (cairn_shape){3, 13, 14}, 3), CAIRN_OK);
    int early = 0, frozen = 0;
    for (int k = 0; k < net->parameter_count; k++) {
        const cairn_parameter *parameter = &net->parameter[k];
        early += parameter->group.trained_until_epoch == 5;
        frozen += parameter->group.frozen;
    }
    assert_int_equal(early, 1);
    assert_int_equal(frozen, 1 + 4 * 3);
    const cairn_op *conv = &net->op[2];
    const cairn_parameter *weight = &net->parameter[conv->weight];
    float values[40 * 24 * 9];
    assert_string_equal(weight->name, "group1.conv1.weight");
    assert_int_equal(weight->count, 40 * 24 * 9);
    cairn_parameter_initialise(net, conv->weight, 1, values);
    for (int o = 0; o < 24; o++)
        for (int i = 0; i < 24 * 9; i++)
            assert_true(values[o * 24 * 9 + i] == (i == 9 * o + 4 ? 1 : 0));
    int zeros = 0;
    for (int i = 24 * 24 * 9; i < 40 * 24 * 9; i++)
        zeros += values[i] == 0;
    assert_true(zeros < 10);
    assert_true(net->op[net->op_count - 1].scale == 1.0f / 9);
    cairn_net_destroy(net);
}

static void impossible_nets_are_refused(void **state) {
    (void)state;
    cairn_net *net = NULL;
    const cairn_resnet small = {{4, 8}, {1, 1}, 2};
    assert_int_equal(cairn_resnet_build(&net, &small, (cairn_shape){3, 8, 4}, 3), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "square images"));
    assert_int_equal(cairn_net_create(&net, cifar), CAIRN_OK);
    assert_int_equal(cairn_net_conv2d_unbiased(net, "conv", 3, 3, 2, 1), CAIRN_OK);
    assert_int_equal(cairn_net_add(net, "sum", CAIRN_NET_INPUT), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "sum: cannot add 3x16x16 and 3x32x32"));
    cairn_net_destroy(net);
}

static void running_statistics_start_as_pytorch_has_them(void **state) {
    (void)state;
    cairn_net *net = NULL;
    float values[3];
    static const float first[] = {1, 0, 0, 1}; /* weight, bias, mean, variance */
    assert_int_equal(cairn_net_create(&net, cifar), CAIRN_OK);
    assert_int_equal(cairn_net_batchnorm(net, "norm"), CAIRN_OK);
    assert_int_equal(net->parameter_count, 4);
    for (int k = 0; k < 4; k++) {
        cairn_parameter_initialise(net, k, 1, values);
        assert_true(values[0] == first[k] && values[2] == first[k]);
        assert_int_equal(net->parameter[k].group.frozen, k >= 2);
    }
    assert_int_equal(cairn_net_parameter_total(net), 6);
    cairn_net_destroy(net);
}

/* A file keeps the counters; one without them, as older PyTorch had it, does as well. */
static void counters_are_kept_and_not_needed(void **state) {
    (void)state;
    const cairn_resnet small = {{2}, {1}, 1};
    char path[64];
    cairn_net *net = NULL;
    cairn_executor *executor = NULL;
    const cairn_backend *backend = NULL;
    cairn_executor_options options = cairn_executor_defaults();
    cairn_safetensors file = {0}, without = {0};
    options.batch = 1;
    snprintf(path, sizeof path, "/tmp/cairn-model-%d.safetensors", (int)getpid());
    assert_int_equal(cairn_resnet_build(&net, &small, (cairn_shape){3, 4, 4}, 3), CAIRN_OK);
    assert_int_equal(cairn_backend_find(&backend, &options.device, "reference", CAIRN_FLOAT32), 0);
    assert_int_equal(cairn_executor_create(&executor, backend, net, &options), CAIRN_OK);
    assert_int_equal(cairn_executor_initialise(executor, 1), CAIRN_OK);
    cairn_executor_set_trained(executor, 391);
    assert_int_equal(cairn_model_save(executor, NULL, path), CAIRN_OK);
    cairn_executor_set_trained(executor, 0);
    assert_int_equal(cairn_model_load(executor, path), CAIRN_OK);
    assert_int_equal(executor->trained, 391);

    assert_int_equal(cairn_safetensors_read(&file, path), CAIRN_OK);
    for (size_t i = 0; i < file.tensor_count; i++) {
        const cairn_tensor *tensor = &file.tensor[i];
        float *values;
        if (strstr(tensor->name, "num_batches_tracked"))
            continue;
        assert_int_equal(
            cairn_safetensors_add(&without, tensor->name, tensor->rank, tensor->dim, &values), 0);
        memcpy(values, tensor->values, tensor->count * sizeof *values);
    }
    assert_int_equal(file.tensor_count - without.tensor_count, 3); /* its normalisations */
    assert_int_equal(cairn_safetensors_write(&without, path), CAIRN_OK);
    assert_int_equal(cairn_model_load(executor, path), CAIRN_OK);
    cairn_safetensors_free(&without);
    cairn_safetensors_free(&file);
    cairn_executor_destroy(executor);
    cairn_net_destroy(net);
    unlink(path);
}

/* A step that was refused, plain or profiled, is none that the model has gone through. */
static void refused_steps_do_not_count(void **state) {
    (void)state;
    uint8_t pixels[3] = {1, 2, 3}, label = 0;
    const cairn_split split = {1, 3, 1, 1, pixels, &label};
    const int32_t here = 0, beyond = 1;
    const cairn_step taken = {.indices = &here, .count = 1, .step = 4},
                     refused = {.indices = &beyond, .count = 1, .step = 7};
    cairn_executor_options options = cairn_executor_defaults();
    const cairn_backend *backend = NULL;
    cairn_executor *executor = NULL;
    cairn_net *net = NULL;
    cairn_timing rows[8];
    int count = 0;
    options.batch = 1;
    assert_int_equal(cairn_net_create(&net, (cairn_shape){3, 1, 1}), CAIRN_OK);
    assert_int_equal(cairn_net_linear(net, "fc", 2), CAIRN_OK);
    assert_int_equal(cairn_backend_find(&backend, &options.device, "reference", CAIRN_FLOAT32), 0);
    assert_int_equal(cairn_executor_create(&executor, backend, net, &options), CAIRN_OK);
    assert_int_equal(cairn_executor_initialise(executor, 1), CAIRN_OK);
    assert_int_equal(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &split), CAIRN_OK);
    assert_int_equal(cairn_executor_train_step(executor, &refused), CAIRN_FAILED);
    assert_int_equal(executor->trained, 0);
    assert_int_equal(cairn_executor_train_step(executor, &taken), CAIRN_OK);
    assert_int_equal(cairn_executor_profile_step(executor, &refused, rows, 8, &count),
                     CAIRN_FAILED);
    assert_int_equal(executor->trained, 5);
    assert_int_equal(cairn_executor_profile_step(executor, &taken, rows, 8, &count), CAIRN_OK);
    assert_int_equal(executor->trained, 5);
    cairn_executor_destroy(executor);
    cairn_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_have_their_known_sizes),
        cmocka_unit_test(simple_cnn_takes_widths_and_depth),
        cmocka_unit_test(speed_cnn_begins_as_its_paper_has_it),
        cmocka_unit_test(impossible_nets_are_refused),
        cmocka_unit_test(running_statistics_start_as_pytorch_has_them),
        cmocka_unit_test(counters_are_kept_and_not_needed),
        cmocka_unit_test(refused_steps_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
