/* ONNX files of small nets of every op: onnxruntime computes the logits that `reference` does, and
 * ONNX's own checker finds nothing to say. Skipped where they are not installed. */
#include "parity.h"

#include "cairn/file.h"
#include "cairn/onnx.h"
#include "cairn/safetensors.h"

#ifdef CAIRN_WITH_PROTOBUF

#include "../unit/folder.h"

enum { COUNT = 5 };

static const struct {
    const char *ops; /* see build_ops */
    cairn_shape input;
} cases[] = {
    {"conv 4 3 1 1, relu, pool 2 2, flat, linear 7, relu, drop 20, linear 5", {3, 8, 8}},
    {"convn 6 3 2 1, norm, gelu, avg 2 2, flat, linearn 5", {3, 8, 8}},
    {"conv 4 1 1 0, conv 4 3 1 1, norm, add 0, relu, avg 6 6, linear 5", {1, 6, 6}},
    {"conv 6 6 1 0, at 0, flat, add 0, norm, at 2, gelu, add 3, linear 3", {3, 6, 6}},
    {"conv 4 3 1 1, add 0, at 0, drop 50, add 1, pool 2 1, avg 3 2", {3, 6, 5}},
    {"flat, linear 300", {3, 4, 4}},
    {"conv 8 2 1 0, gelu, pool 2 2, norm, pool 3 3, flat, linear 5, scale 9", {1, 8, 8}},
    {"conv 5 4 4 0, gelu", {3, 4, 4}},
    {"conv 5 3 1 1, silu, flat, linear 4, silu", {3, 5, 5}},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static cairn_dataset *make_description(cairn_shape shape, int classes) {
    cairn_dataset *data = calloc(1, sizeof *data);
    assert_non_null(data);
    strcpy(data->name, "folder");
    data->test = (cairn_split){.channels = shape.c, .height = shape.h, .width = shape.w};
    data->classes = classes < CAIRN_CLASSES_MAX ? classes : CAIRN_CLASSES_MAX;
    for (int i = 0; i < data->classes; i++)
        snprintf(data->class_names[i], sizeof data->class_names[i], "the \"%d\"", i);
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++) {
        data->mean[c] = 0.4f + 0.05f * (float)c;
        data->std[c] = 0.2f + 0.1f * (float)c;
    }
    return data;
}

/* <number>.onnx, and in <number>.safetensors images and the logits that they should have. */
static void write_case(int number, uint64_t seed) {
    cairn_net *net = build_ops(cases[number].ops, cases[number].input);
    const int classes = cairn_net_classes(net);
    cairn_dataset *data = make_description(net->input, classes);
    cairn_split split = random_split(seed, COUNT, net->input, classes, false);
    cairn_executor_options options = cairn_executor_defaults();
    cairn_executor *executor = NULL;
    char path[sizeof folder + 32];
    options.batch = COUNT;
    memcpy(options.mean, data->mean, sizeof options.mean);
    memcpy(options.std, data->std, sizeof options.std);
    must(cairn_executor_create(&executor, reference_backend(), net, &options));
    set_weights(executor, seed);
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TEST, &split));

    cairn_safetensors file = {0};
    const int image_dim[] = {COUNT, net->input.c, net->input.h, net->input.w};
    const int logit_dim[] = {COUNT, classes};
    float *images, *logits;
    must(cairn_safetensors_add(&file, "images", 4, image_dim, &images));
    must(cairn_safetensors_add(&file, "logits", 2, logit_dim, &logits));
    for (size_t i = 0; i < COUNT * cairn_shape_count(net->input); i++)
        images[i] = split.images[i];
    must(cairn_executor_logits(executor, CAIRN_SPLIT_TEST, 0, COUNT, logits));
    snprintf(path, sizeof path, "%s/%d.safetensors", folder, number);
    must(cairn_safetensors_write(&file, path));
    snprintf(path, sizeof path, "%s/%d.onnx", folder, number);
    must(cairn_onnx_write(executor, data, path));

    cairn_safetensors_free(&file);
    cairn_executor_destroy(executor);
    cairn_net_destroy(net);
    free_split(&split);
    free(data);
}

static void onnxruntime_gives_the_same_logits(void **state) {
    (void)state;
    for (int i = 0; i < CASES; i++)
        write_case(i, test_seed() + (uint64_t)i);
    if (system(CAIRN_PYTHON " -c 'import onnx, onnxruntime' 2>/dev/null") != 0) {
        print_message("skipped: no onnxruntime: scripts/setup-dvc.sh --test installs it\n");
        skip();
    }
    char command[sizeof folder + 256];
    snprintf(command, sizeof command, CAIRN_PYTHON " %s/parity/check_onnx.py %s", CAIRN_TESTS_DIR,
             folder);
    assert_int_equal(system(command), 0);
}

/* Nothing in a file depends on time or place; a folder that is not there is named. */
static void the_same_model_gives_the_same_bytes(void **state) {
    (void)state;
    char path[sizeof folder + 32];
    uint8_t *bytes[2];
    size_t size[2];
    snprintf(path, sizeof path, "%s/0.onnx", folder);
    for (int i = 0; i < 2; i++) {
        write_case(0, 7);
        must(cairn_file_read(path, &bytes[i], &size[i]));
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_model_gives_the_same_bytes),
        cmocka_unit_test(onnxruntime_gives_the_same_logits),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

#else

int main(void) {
    puts("skipped: built without libprotobuf-c");
    return 0;
}

#endif
