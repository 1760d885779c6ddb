/* Run folders of earlier versions: read, and gone on with, as what they were. */
#include "cairn/experiment.h"
#include "cairn/file.h"
#include "cairn/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_files.h"

static char root[64], whole[80], aged[80];

static int set_up(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/cairn-recorded-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(whole, sizeof whole, "%s/whole", root);
    snprintf(aged, sizeof aged, "%s/aged", root);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    clear(whole);
    clear(aged);
    return rmdir(root);
}

static cairn_status run(const char *folder, const cairn_config *config, bool resume) {
    const cairn_experiment_options options = {.run_dir = folder, .resume = resume, .quiet = true};
    return cairn_experiment_run(config, &options);
}

/* The text with the first `from` in it become `to`; the caller frees it. */
static char *replaced(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    size_t size = strlen(text) + strlen(to) + 1;
    char *made = malloc(size);
    assert_non_null(at);
    assert_non_null(made);
    snprintf(made, size, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return made;
}

/* Lists were texts, and "32 64 128" the default of every model's widths. */
static char *aged_params(const char *params) {
    char *widths = replaced(params, "widths: default", "widths: \"32 64 128\"");
    char *both = replaced(widths, "milestones: [30, 60, 80]", "milestones: \"30 60 80\"");
    free(widths);
    return both;
}

/* What an earlier version would have recorded. */
static void age(const char *folder) {
    cairn_safetensors checkpoint;
    const char *path = path_of(folder, "checkpoint.safetensors");
    assert_int_equal(cairn_safetensors_read(&checkpoint, path), CAIRN_OK);
    for (size_t i = 0; i < checkpoint.metadata_count; i++) {
        cairn_metadata *metadata = &checkpoint.metadata[i];
        if (strcmp(metadata->key, "params") != 0)
            continue;
        char *text = aged_params(metadata->value);
        free(metadata->value);
        metadata->value = text;
        assert_int_equal(cairn_file_write(path_of(folder, "params.yaml"), text, strlen(text)),
                         CAIRN_OK);
    }
    assert_int_equal(cairn_safetensors_write(&checkpoint, path), CAIRN_OK);
    cairn_safetensors_free(&checkpoint);
}

static void a_default_that_was_written_out_is_one_still(void **state) {
    (void)state;
    static const char params[] =
        "seed: 7\ndata: {name: synthetic, dir: none, train_limit: 4, test_limit: 2}\n"
        "model: {name: speed_cnn}\n"
        "train: {epochs: 2, batch_size: 2, lr: 0.001, threads: 1}\n"
        "run: {name: r, out_dir: none}\n";
    static const char *const shorter = "train.epochs=1";
    const char *const more[] = {"train.epochs=2", "model.widths=[32, 64, 128]"};
    cairn_config config;
    cairn_safetensors model;
    assert_int_equal(cairn_config_parse(&config, params, strlen(params), "p", NULL, 0), CAIRN_OK);
    assert_int_equal(run(whole, &config, false), CAIRN_OK);
    assert_int_equal(cairn_config_parse(&config, params, strlen(params), "p", &shorter, 1),
                     CAIRN_OK);
    assert_int_equal(run(aged, &config, false), CAIRN_OK);
    age(aged);

    assert_int_equal(cairn_config_read(&config, path_of(aged, "params.yaml"), more, 2), CAIRN_OK);
    assert_int_equal(run(aged, &config, true), CAIRN_BAD_INPUT);
    assert_non_null(
        strstr(cairn_error_message(), "had model.widths: default, now it is 32 64 128"));

    assert_int_equal(cairn_config_read(&config, path_of(aged, "params.yaml"), more, 1), CAIRN_OK);
    assert_int_equal(run(aged, &config, true), CAIRN_OK);
    for (int i = 0; i < EXACT; i++)
        assert_same_file(path_of(whole, names[i]), path_of(aged, names[i]));
    assert_int_equal(cairn_safetensors_read(&model, path_of(aged, "model.safetensors")), CAIRN_OK);
    const cairn_tensor *weight = cairn_safetensors_find(&model, "group1.conv1.weight");
    assert_non_null(weight);
    assert_int_equal(weight->dim[0], 64);
    cairn_safetensors_free(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_default_that_was_written_out_is_one_still),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
