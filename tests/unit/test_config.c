/* The configuration: what is read, which keys there are, and what its digest covers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "configurations.h"

#include <stdio.h>
#include <stdlib.h>

/* Reading ------------------------------------------------------------------------------------- */

static void reads_the_reference_file(void **state) {
    (void)state;
    cairn_config config;
    assert_int_equal(
        cairn_config_read(&config, CAIRN_TESTS_DIR "/unit/reference_params.yaml", NULL, 0),
        CAIRN_OK);
    assert_int_equal(config.seed, 42);
    assert_string_equal(config.device, "auto");
    assert_string_equal(config.data.name, "cifar10");
    assert_string_equal(config.data.dir, "data/raw");
    assert_int_equal(config.data.num_workers, 2);
    assert_int_equal(config.data.train_limit, 0);
    assert_int_equal(config.data.test_limit, 0);
    assert_int_equal(config.data.crop_padding, 4);
    assert_string_equal(config.model.name, "simple_cnn");
    assert_true(config.model.dropout == 0.2);
    assert_int_equal(config.train.epochs, 10);
    assert_int_equal(config.train.batch_size, 128);
    assert_true(config.train.lr == 0.0005);
    assert_int_equal(config.train.precision, CAIRN_FLOAT32);
    assert_int_equal(config.train.threads, 0);
    assert_string_equal(config.run.name, "exp2_low_lr_more_epochs");
    assert_string_equal(config.run.out_dir, "runs");
}

/* A key's value under each spelling that YAML and its users have. */
static const struct {
    const char *text, *key, *value;
} spellings[] = {
    {"seed: 7 # a comment\n", "seed", "7"},
    {"\"seed\": 7\n", "seed", "7"},
    {"? seed\n: 7\n", "seed", "7"},
    {"{seed: 7}\n", "seed", "7"},
    {"seed: 0x1F\n", "seed", "31"},
    {"seed: 0o17\n", "seed", "15"},
    {"seed: +7\n", "seed", "7"},
    {"seed: 0\n", "seed", "0"},
    {"seed: 9007199254740993\n", "seed", "9007199254740993"}, /* 2^53 + 1: no double */
    {"seed: 18446744073709551615\n", "seed", "18446744073709551615"},
    {"seed: &s 5\ndata: {num_workers: *s}\n", "data.num_workers", "5"},
    {"&k seed: 5\n", "seed", "5"},
    {"data: {train_limit: &n 5, test_limit: &n 6, num_workers: *n}\n", "data.num_workers", "6"},
    {"train: {lr: 1e-3}\n", "train.lr", "0.001"},
    {"train: {lr: 5.0e-4}\n", "train.lr", "0.0005"},
    {"train: {lr: .5}\n", "train.lr", "0.5"},
    {"train: {lr: 5.}\n", "train.lr", "5"},
    {"train: {lr: 1E+2}\n", "train.lr", "100"},
    {"train: {lr: 0x10}\n", "train.lr", "16"},
    {"train: {lr: 3}\n", "train.lr", "3"},
    {"train: {lr: 1e-5}\n", "train.lr", "1.0e-05"},
    {"train: {lr: 0.1000000000000000055511}\n", "train.lr", "0.1"},
    {"train: {precision: bf16}\n", "train.precision", "bf16"},
    {"train: {precision: 'float64'}\n", "train.precision", "float64"},
    {"optimizer: {nesterov: true}\n", "optimizer.nesterov", "true"},
    {"optimizer: {nesterov: True}\n", "optimizer.nesterov", "true"},
    {"optimizer: {nesterov: TRUE}\n", "optimizer.nesterov", "true"},
    {"optimizer: {nesterov: 'True'}\n", "optimizer.nesterov", "true"},
    {"train: {deterministic: False}\n", "train.deterministic", "false"},
    {"train: {deterministic: FALSE}\n", "train.deterministic", "false"},
    {"train: {deterministic: \"false\"}\n", "train.deterministic", "false"},
    {"model: {dropout: 0}\n", "model.dropout", "0"},
    {"model: {dropout: -0.0}\n", "model.dropout", "0"},
    {"model:\n  # dropout: 0.5\n", "model.dropout", "0.2"},
    {"device: cuda:3\n", "device", "cuda:3"},
    {"run: {name: 'it''s'}\n", "run.name", "it's"},
    {"run: {name: \"a\\u00e9\"}\n", "run.name", "a\xc3\xa9"},
    {"run: {name: 2024-01-31}\n", "run.name", "2024-01-31"},
    {"run: {name: 010}\n", "run.name", "010"},
    {"run: {name: 'null'}\n", "run.name", "null"},
    {"run: {name: !!str ~}\n", "run.name", "~"},
    {"run:\n  name: >-\n    two\n    words\n", "run.name", "two words"},
    {"data:\r\n  dir: a b\r\nseed: 1\r\n", "data.dir", "a b"},
    {"\xef\xbb\xbfseed: 7\n", "seed", "7"},
    {"%YAML 1.1\n---\nseed: 7\n...\n# the end\n", "seed", "7"},
};

static void reads_every_spelling(void **state) {
    (void)state;
    static const char *const rest[] = {"data.dir=d", "run.name=r", "train.epochs=1",
                                       "train.batch_size=1", "train.lr=1"};
    for (size_t i = 0; i < COUNT(spellings); i++) {
        cairn_config config;
        const char *overrides[COUNT(rest)];
        size_t count = 0;
        for (size_t j = 0; j < COUNT(rest); j++) /* all that is required but the key itself */
            if (strncmp(rest[j], spellings[i].key, strlen(spellings[i].key)) != 0)
                overrides[count++] = rest[j];
        if (cairn_config_parse(&config, spellings[i].text, strlen(spellings[i].text), "p.yaml",
                               overrides, count))
            fail_msg("%s: %s", spellings[i].text, cairn_error_message());
        assert_value(&config, spellings[i].key, spellings[i].value);
    }
}

static void overrides_win(void **state) {
    (void)state;
    cairn_config config;
    static const char *const overrides[] = {
        "train.lr=1e-2", "train.epochs=7",      "train.epochs=8", "run.name=a=b",
        "seed='9'x",     "run.out_dir=\"3 4\"", "device=cpu",
    };
    assert_int_equal(
        cairn_config_parse(&config, REQUIRED, strlen(REQUIRED), "p.yaml", overrides, 4), CAIRN_OK);
    assert_true(config.train.lr == 0.01);
    assert_int_equal(config.train.epochs, 8); /* the last one */
    assert_string_equal(config.run.name, "a=b");
    assert_int_equal(config.train.batch_size, 128); /* the file's */
    assert_int_equal(
        cairn_config_parse(&config, REQUIRED, strlen(REQUIRED), "p.yaml", overrides + 5, 2),
        CAIRN_OK);
    assert_string_equal(config.run.out_dir, "3 4");
    assert_string_equal(config.device, "cpu");
}

/* Digest and comparison ----------------------------------------------------------------------- */

static const struct {
    const char *assignment;
    bool shapes;
} shaping[] = {
    {"seed=7", true},
    {"data.name=synthetic", true},
    {"data.train_limit=10", true},
    {"data.test_limit=10", true},
    {"data.validation=10", true},
    {"data.crop_padding=3", true},
    {"data.resize=crop", true},
    {"model.dropout=0.3", true},
    {"train.epochs=4", true},
    {"train.batch_size=64", true},
    {"train.lr=0.25", true},
    {"train.precision=bf16", true},
    {"schedule.name=cosine", true},
    {"schedule.gamma=0.2", true},
    {"train.label_smoothing=0.1", true},
    {"augment.flip=alternating", true},
    {"augment.cutmix=0.5", true},
    {"augment.tta=flip", true},
    {"train.clip_norm=1", true},
    {"train.accumulate=2", true},
    {"optimizer.name=sgd", true},
    {"optimizer.beta1=0.8", true},
    {"optimizer.beta2=0.99", true},
    {"optimizer.epsilon=1e-6", true},
    {"optimizer.momentum=0.9", true},
    {"optimizer.nesterov=true", true},
    {"optimizer.weight_decay=0.1", true},
    {"optimizer.decay_exclude=norms_and_biases", true},
    {"optimizer.norm_bias_scale=64", true},
    {"model.whiten_bias_epochs=1", true},
    {"ema.decay=0.99", true},
    {"device=cpu", false},
    {"data.dir=elsewhere", false},
    {"data.num_workers=0", false},
    {"train.threads=1", false},
    {"train.deterministic=false", false},
    {"run.name=other", false},
    {"run.out_dir=elsewhere", false},
};

static void digest_covers_what_shapes_the_result(void **state) {
    (void)state;
    cairn_config base, changed;
    char base_hex[CAIRN_DIGEST_HEX], hex[CAIRN_DIGEST_HEX];
    assert_int_equal(parse(&base, REQUIRED), CAIRN_OK);
    assert_int_equal(cairn_config_digest(&base, base_hex), CAIRN_OK);
    assert_null(cairn_config_difference(&base, &base));
    for (size_t i = 0; i < COUNT(shaping); i++) {
        assert_int_equal(override(&changed, shaping[i].assignment), CAIRN_OK);
        assert_int_equal(cairn_config_digest(&changed, hex), CAIRN_OK);
        const cairn_key *difference = cairn_config_difference(&base, &changed);
        if (shaping[i].shapes) {
            assert_string_not_equal(hex, base_hex);
            assert_non_null(difference);
            assert_memory_equal(difference->name, shaping[i].assignment, strlen(difference->name));
        } else {
            assert_string_equal(hex, base_hex);
            assert_null(difference);
        }
    }
}

/* Recorded runs carry the digest: it must not drift. The bytes digested are
 * seed=42 data.name=cifar10 data.train_limit=0 data.test_limit=0 data.crop_padding=4
 * model.name=simple_cnn model.dropout=0.2 train.epochs=10 train.batch_size=128 train.lr=0.0005
 * train.precision=float32, each followed by a newline. */
static void digest_is_stable(void **state) {
    (void)state;
    cairn_config config;
    char hex[CAIRN_DIGEST_HEX];
    assert_int_equal(
        cairn_config_read(&config, CAIRN_TESTS_DIR "/unit/reference_params.yaml", NULL, 0),
        CAIRN_OK);
    assert_int_equal(cairn_config_digest(&config, hex), CAIRN_OK);
    assert_string_equal(hex, "87008a85303f5057a256d2c46bd7922ee2aa17d182f5ffda611e4afdad8cf9c5");
}

static void schema_is_consistent(void **state) {
    (void)state;
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        char expected[256];
        assert_true(strlen(keys[i].help) > 0);
        assert_true(strlen(cairn_config_expected(&keys[i], expected, sizeof expected)) > 0);
        const cairn_choice *choice = keys[i].choices;
        assert_true(choice || keys[i].type != CAIRN_KEY_CHOICE);
        for (; choice && choice->text; choice++) { /* no text twice, and no value */
            assert_ptr_equal(cairn_choice_find(keys[i].choices, choice->text), choice);
            if (keys[i].type == CAIRN_KEY_CHOICE)
                assert_ptr_equal(cairn_choice_text(keys[i].choices, choice->value), choice->text);
        }
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(keys[i].name, keys[j].name);
            assert_true(keys[i].offset != keys[j].offset);
        }
    }
    assert_string_equal(cairn_precision_name(CAIRN_FLOAT32), "float32");
    assert_string_equal(cairn_precision_name(CAIRN_BF16), "bf16");
    assert_string_equal(cairn_precision_name(CAIRN_FLOAT64), "float64");
    assert_string_equal(cairn_precision_name(CAIRN_TF32), "tf32");
}

static void reads_widths(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "\"\"", "0",   "32 0", "\"32,64\"",         "-1",      "1.5",  "5000",
        "wide", "032", "[]",   "1 2 3 4 5 6 7 8 9", "[32, a]", "[-1]", "\"[32]\""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cairn_config config;
        char text[256];
        snprintf(text, sizeof text, "%smodel: {widths: %s}\n", REQUIRED, wrong[i]);
        assert_int_equal(parse(&config, text), CAIRN_BAD_INPUT);
        if (!strstr(cairn_error_message(), "model.widths: found") ||
            !strstr(cairn_error_message(), "one to eight numbers"))
            fail_msg("%s: %s", wrong[i], cairn_error_message());
    }
    static const struct {
        const char *given, *read;
    } right[] = {
        {"32", "32"},
        {"8 16", "8 16"},
        {"\" 8  16 \"", "8 16"},
        {"[8, 16]", "8 16"},
        {"\n  - 8\n  - 16\n", "8 16"},
        {"[\"8\"]", "8"},
        {"1 2 3 4 5 6 7 4096", "1 2 3 4 5 6 7 4096"},
        {"32 64 128", "default"}, /* the own ones of simple_cnn */
        {"default", "default"},
    };
    for (size_t i = 0; i < COUNT(right); i++) {
        cairn_config config;
        char text[256];
        snprintf(text, sizeof text, "%smodel:\n  widths: %s\n", REQUIRED, right[i].given);
        assert_int_equal(parse(&config, text), CAIRN_OK);
        assert_string_equal(config.model.widths, right[i].read);
        assert_round_trip(&config);
    }
}

/* A whole file without a list: it had "32 64 128" for the default, which meant a model's own. */
static void knows_what_earlier_versions_recorded(void **state) {
    (void)state;
    static const char path[] = CAIRN_TESTS_DIR "/unit/recorded_speed_cnn.yaml";
    static const char *const names[] = {"model.name=simple_cnn", "model.name=resnet18"};
    static const char *const widths[] = {"model.widths=32 64 128", "model.widths=[64, 256, 256]"};
    cairn_config config;
    char hex[CAIRN_DIGEST_HEX], *text;
    assert_int_equal(cairn_config_read(&config, path, NULL, 0), CAIRN_OK);
    assert_string_equal(config.model.widths, "default");
    assert_string_equal(cairn_config_widths(&config), "64 256 256");
    assert_int_equal(cairn_config_digest(&config, hex), CAIRN_OK); /* as in that run's summary */
    assert_string_equal(hex, "8a0a4403ae7a524d400e04678229fd3dab64ff9552227bb8a45d226b615c2eb3");
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(cairn_config_read(&config, path, &names[i], 1), CAIRN_OK);
        assert_string_equal(config.model.widths, "default");
    }
    assert_int_equal(cairn_config_read(&config, path, &widths[1], 1), CAIRN_OK);
    assert_string_equal(config.model.widths, "default");

    /* Asked for now, they are what they say, and stay it when they are recorded. */
    assert_int_equal(cairn_config_read(&config, path, widths, 1), CAIRN_OK);
    assert_string_equal(cairn_config_widths(&config), "32 64 128");
    assert_int_equal(cairn_config_format(&config, &text), CAIRN_OK);
    assert_non_null(strstr(text, "widths: [32, 64, 128]"));
    free(text);
    assert_round_trip(&config);
    const char *few = REQUIRED "model: {name: speed_cnn, widths: 32 64 128}\n";
    assert_int_equal(parse(&config, few), CAIRN_OK);
    assert_string_equal(cairn_config_widths(&config), "32 64 128");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_widths),
        cmocka_unit_test(knows_what_earlier_versions_recorded),
        cmocka_unit_test(reads_the_reference_file),
        cmocka_unit_test(reads_every_spelling),
        cmocka_unit_test(overrides_win),
        cmocka_unit_test(digest_covers_what_shapes_the_result),
        cmocka_unit_test(digest_is_stable),
        cmocka_unit_test(schema_is_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
