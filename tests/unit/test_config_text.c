/* The configuration: its way back to text, from which it is read as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "configurations.h"

#include <stdlib.h>

static const char whole[] = "seed: 42\n"
                            "device: auto\n"
                            "data:\n"
                            "  name: cifar10\n"
                            "  dir: data/raw\n"
                            "  image_size: 0\n"
                            "  resize: stretch\n"
                            "  num_workers: 2\n"
                            "  train_limit: 0\n"
                            "  test_limit: 0\n"
                            "  validation: 0\n"
                            "  crop_padding: 4\n"
                            "model:\n"
                            "  name: simple_cnn\n"
                            "  dropout: 0.2\n"
                            "  widths: default\n"
                            "  depth: 1\n"
                            "  hidden: 256\n"
                            "  whiten_bias_epochs: 3\n"
                            "train:\n"
                            "  epochs: 10\n"
                            "  batch_size: 128\n"
                            "  lr: 0.0005\n"
                            "  precision: float32\n"
                            "  threads: 0\n"
                            "  deterministic: true\n"
                            "  on_nan: stop\n"
                            "  label_smoothing: 0\n"
                            "  clip_norm: 0\n"
                            "  accumulate: 1\n"
                            "optimizer:\n"
                            "  name: adam\n"
                            "  beta1: 0.9\n"
                            "  beta2: 0.999\n"
                            "  epsilon: 1.0e-08\n"
                            "  momentum: 0\n"
                            "  nesterov: false\n"
                            "  weight_decay: 0\n"
                            "  decay_exclude: none\n"
                            "  norm_bias_scale: 1\n"
                            "ema:\n"
                            "  decay: 0\n"
                            "schedule:\n"
                            "  name: constant\n"
                            "  per: step\n"
                            "  warmup: 0\n"
                            "  warmup_start: 0.01\n"
                            "  step_size: 30\n"
                            "  milestones: [30, 60, 80]\n"
                            "  gamma: 0.1\n"
                            "  min_lr: 0\n"
                            "  end_factor: 0\n"
                            "  power: 1\n"
                            "  pct_start: 0.3\n"
                            "  div_factor: 25\n"
                            "  final_div_factor: 10000\n"
                            "  patience: 10\n"
                            "  threshold: 0.0001\n"
                            "augment:\n"
                            "  padding: zero\n"
                            "  flip: none\n"
                            "  cutout: 0\n"
                            "  erasing: 0\n"
                            "  erasing_area: 0.33\n"
                            "  brightness: 0\n"
                            "  contrast: 0\n"
                            "  saturation: 0\n"
                            "  rotation: 0\n"
                            "  translation: 0\n"
                            "  randaugment: 0\n"
                            "  magnitude: 9\n"
                            "  mixup: 0\n"
                            "  cutmix: 0\n"
                            "  mix_share: 1\n"
                            "  tta: none\n"
                            "  tta_shift: 1\n"
                            "checkpoint:\n"
                            "  every_steps: 0\n"
                            "  every_seconds: 60\n"
                            "tensorboard:\n"
                            "  enabled: false\n"
                            "  every_steps: 100\n"
                            "  every_epochs: 1\n"
                            "run:\n"
                            "  name: exp2_low_lr_more_epochs\n"
                            "  out_dir: runs\n"
                            "  recorders: none\n";

static void writes_the_whole_configuration(void **state) {
    (void)state;
    cairn_config config;
    char *text;
    assert_int_equal(
        cairn_config_read(&config, CAIRN_TESTS_DIR "/unit/reference_params.yaml", NULL, 0),
        CAIRN_OK);
    assert_int_equal(cairn_config_format(&config, &text), CAIRN_OK);
    assert_string_equal(text, whole);
    free(text);
}

static void reads_back_what_it_writes(void **state) {
    (void)state;
    static const char *const texts[] = {
        "3",
        "1e3",
        "true",
        "No",
        "~",
        "null",
        "it's \"quoted\"",
        "# x",
        "a: b",
        "a #b",
        " lead",
        "trail ",
        "-",
        "- a",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "a\\b",
        "{a}",
        "[a]",
        "a,b",
        "?",
        "=",
        "<<",
        "2024-01-31",
        "\xc3\xa9t",
        "0x10",
        "1:30",
        "\xe2\x80\xa6",
        "\xef\xbf\xbd",
        "\xf0\x9f\x98\x80",
        "---",
    };
    static const double numbers[] = {0.1,   1.0 / 3, 1e-5,  1e-300, 4.9e-324, 999.9999999999999,
                                     1e-10, 0x1p-40, 123.0, 2.5e-7, 1000};
    cairn_config config;
    assert_int_equal(parse(&config, REQUIRED), CAIRN_OK);
    for (size_t i = 0; i < COUNT(texts); i++) {
        memset(config.run.name, 0, sizeof config.run.name);
        strcpy(config.run.name, texts[i]);
        assert_round_trip(&config);
    }
    for (size_t i = 0; i < COUNT(numbers); i++) {
        config.train.lr = numbers[i];
        assert_round_trip(&config);
    }
    config.seed = UINT64_MAX;
    config.train.precision = CAIRN_FLOAT64;
    memset(config.data.dir, 'x', CAIRN_TEXT_MAX - 1);
    assert_round_trip(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_whole_configuration),
        cmocka_unit_test(reads_back_what_it_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
