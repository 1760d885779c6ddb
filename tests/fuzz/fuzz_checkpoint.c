/* checkpoint.safetensors: the position in its metadata, its tensors for a net of one weight and
 * one bias, and the same file as a model. */
#include "cairn/checkpoint.h"
#include "cairn/model_file.h"
#include "fuzz.h"

static cairn_executor *make_executor(void) {
    cairn_net *net = NULL;
    cairn_executor *executor = NULL;
    const cairn_backend *backend = NULL;
    int ordinal;
    cairn_executor_options options = cairn_executor_defaults();
    options.batch = 1;
    options.threads = 1;
    bool made = !cairn_net_create(&net, (cairn_shape){1, 1, 1}) &&
                !cairn_net_linear(net, "fc", 2) &&
                !cairn_backend_find(&backend, &ordinal, "reference", CAIRN_FLOAT32) &&
                !cairn_executor_create(&executor, backend, net, &options);
    fuzz_check(made, "an executor can be made");
    return executor;
}

/* What the file says of its data; where it says nothing, the configuration's. */
static void check_description(const char *path) {
    const cairn_config config = {.data = {.name = "synthetic"}};
    cairn_dataset *data = NULL;
    cairn_status status = cairn_model_describe(&data, &config, path);
    fuzz_check_status(status);
    if (status)
        return;
    fuzz_check(data->classes >= 1 && data->classes <= CAIRN_CLASSES_MAX, "classes are counted");
    for (int i = 0; i < data->classes; i++)
        for (const char *at = data->class_names[i]; *at; at++)
            fuzz_check((unsigned char)*at >= 0x20 && *at != 0x7f, "names are printable");
    for (int c = 0; c < data->test.channels; c++)
        fuzz_check(data->std[c] > 0, "deviations divide");
    fuzz_check_status(cairn_model_match(data, path));
    cairn_dataset_destroy(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static cairn_executor *executor; /* with its net, for as long as the program runs */
    if (!executor)
        executor = make_executor();
    const char *path = fuzz_file(data, size);
    cairn_checkpoint held = {0};
    cairn_safetensors tensors = {0};
    cairn_status status = cairn_checkpoint_read(&held, &tensors, path);
    fuzz_check_status(status);
    double sum = 0;
    for (uint32_t i = 0; !status && i < held.epoch; i++) {
        fuzz_check(held.rows[i].epoch == (int)i + 1, "epochs count from 1");
        sum += held.rows[i].train_loss;
    }
    fuzz_check(sum <= sum || sum != sum, "rows can be read");
    if (!status)
        fuzz_check_status(cairn_checkpoint_restore(executor, &held, &tensors, path));
    cairn_checkpoint_free(&held);
    cairn_safetensors_free(&tensors);
    fuzz_check_status(cairn_model_load(executor, path));
    check_description(path);
    return 0;
}

#ifdef CAIRN_FUZZ
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
    return fuzz_mutate_safetensors(data, size, capacity, seed);
}
#endif
