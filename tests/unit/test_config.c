/* The configuration: what is read, what is refused and with which words, and the way back to text.
 */
#include "cairn/config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Everything required, on three lines; cases begin on line 4. */
#define REQUIRED                                                                                   \
    "data: {dir: d}\n"                                                                             \
    "run: {name: r}\n"                                                                             \
    "train: {epochs: 3, batch_size: 128, lr: 0.5}\n"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static cairn_status parse(cairn_config *config, const char *text) {
    return cairn_config_parse(config, text, strlen(text), "p.yaml", NULL, 0);
}

static cairn_status override(cairn_config *config, const char *assignment) {
    return cairn_config_parse(config, REQUIRED, strlen(REQUIRED), "p.yaml", &assignment, 1);
}

static const cairn_key *find_key(const char *name) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    fail_msg("no key %s", name);
    return NULL;
}

static void assert_value(const cairn_config *config, const char *name, const char *expected) {
    char value[CAIRN_TEXT_MAX];
    assert_string_equal(cairn_config_value(config, find_key(name), value, sizeof value), expected);
}

static void assert_refused(cairn_status status, const char *message) {
    assert_int_equal(status, CAIRN_BAD_INPUT);
    assert_string_equal(cairn_error_message(), message);
    assert_null(strchr(cairn_error_message(), '\n'));
}

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
static void reads_every_spelling(void **state) {
    (void)state;
    static const struct {
        const char *text, *key, *value;
    } cases[] = {
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
    static const char *const rest[] = {"data.dir=d", "run.name=r", "train.epochs=1",
                                       "train.batch_size=1", "train.lr=1"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        cairn_config config;
        const char *overrides[COUNT(rest)];
        size_t count = 0;
        for (size_t j = 0; j < COUNT(rest); j++) /* all that is required but the key itself */
            if (strncmp(rest[j], cases[i].key, strlen(cases[i].key)) != 0)
                overrides[count++] = rest[j];
        if (cairn_config_parse(&config, cases[i].text, strlen(cases[i].text), "p.yaml", overrides,
                               count))
            fail_msg("%s: %s", cases[i].text, cairn_error_message());
        assert_value(&config, cases[i].key, cases[i].value);
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

/* Refusing ------------------------------------------------------------------------------------ */

#define SEED_RANGE "it must be a whole number from 0 to 18446744073709551615"
#define NAME_FORM "it must be one folder name: no '/', not '.' or '..', at most 255 bytes"
#define TOP_LEVEL                                                                                  \
    "the top level has seed, device, data, model, train, optimizer, ema, schedule, augment, "      \
    "checkpoint, "                                                                                 \
    "tensorboard, run"

static void refuses_what_follows_the_required_keys(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        /* names */
        {"sead: 1\n", "p.yaml:4:1: sead: unknown key; did you mean seed?"},
        {"trian: {lr: 1}\n", "p.yaml:4:1: trian: unknown key; did you mean train?"},
        {"lr: 1\n", "p.yaml:4:1: lr: unknown key; did you mean train.lr?"},
        {"epoch: 1\n", "p.yaml:4:1: epoch: unknown key; did you mean train.epochs?"},
        {"Seed: 1\n", "p.yaml:4:1: Seed: unknown key; did you mean seed?"},
        {"solver: x\n", "p.yaml:4:1: solver: unknown key; " TOP_LEVEL},
        {"model: {\n  drop_out: 1}\n",
         "p.yaml:5:3: model.drop_out: unknown key; did you mean model.dropout?"},
        {"model: {layers: 1}\n",
         "p.yaml:4:9: model.layers: unknown key; model has name, dropout, widths, depth, hidden, "
         "whiten_bias_epochs"},
        {"model: {model.name: x}\n",
         "p.yaml:4:9: model.model.name: unknown key; did you mean model.name?"},
        {"train.lr: 1\n", "p.yaml:4:1: train.lr: found a dotted name; write lr: under train:"},
        {"? [a]\n: 1\n", "p.yaml:4:3: found a list as a key; a key must be a name"},
        {"? {a: b}\n: 1\n", "p.yaml:4:3: found a section as a key; a key must be a name"},
        {"\"a\\nb\": 1\n", "p.yaml:4:1: a\\x0ab: unknown key; " TOP_LEVEL},
        {"<<: {seed: 1}\n", "p.yaml:4:1: <<: found a merge key; write the section's keys out"},
        {"model:\n  <<: *x\n",
         "p.yaml:5:3: model.<<: found a merge key; write the section's keys out"},
        /* duplicates */
        {"seed: 1\nseed: 1\n", "p.yaml:5:1: seed: found a second time, first on line 4; keep one"},
        {"run: {out_dir: x}\n", "p.yaml:4:1: run: found a second time, first on line 2; keep one"},
        {"model: {dropout: 0, dropout: 0}\n",
         "p.yaml:4:21: model.dropout: found a second time, first on line 4; keep one"},
        /* integers */
        {"seed: abc\n", "p.yaml:4:7: seed: found abc; " SEED_RANGE},
        {"seed: true\n", "p.yaml:4:7: seed: found true; " SEED_RANGE},
        {"seed: -1\n", "p.yaml:4:7: seed: found -1; " SEED_RANGE},
        {"seed: 1.5\n", "p.yaml:4:7: seed: found 1.5; " SEED_RANGE},
        {"seed: 1:30\n", "p.yaml:4:7: seed: found 1:30; " SEED_RANGE},
        {"seed: 18446744073709551616\n",
         "p.yaml:4:7: seed: found 18446744073709551616; " SEED_RANGE},
        {"seed: 0x10000000000000000\n", "p.yaml:4:7: seed: found 0x10000000000000000; " SEED_RANGE},
        {"seed: 1e30\n", "p.yaml:4:7: seed: found 1e30; " SEED_RANGE},
        {"seed: 0x\n", "p.yaml:4:7: seed: found 0x; " SEED_RANGE},
        {"seed: 0b1\n", "p.yaml:4:7: seed: found 0b1; " SEED_RANGE},
        {"seed:\n", "p.yaml:4:6: seed: found nothing; " SEED_RANGE},
        {"seed: ~\n", "p.yaml:4:7: seed: found nothing; " SEED_RANGE},
        {"seed: \"3\"\n", "p.yaml:4:7: seed: found the text \"3\"; write 3"},
        {"seed: '3'\n", "p.yaml:4:7: seed: found the text \"3\"; write 3"},
        {"seed: !!str 3\n", "p.yaml:4:7: seed: found the text \"3\"; write 3"},
        {"seed: 1e3\n", "p.yaml:4:7: seed: found 1e3; write 1000"},
        {"seed: 5.0\n", "p.yaml:4:7: seed: found 5.0; write 5"},
        {"seed: 1_000\n", "p.yaml:4:7: seed: found 1_000; write 1000"},
        {"seed: 010\n", "p.yaml:4:7: seed: found 010; write 10"},
        {"data: {train_limit: 2147483648}\n", NULL}, /* a second `data` */
        {"seed: !!int 3\n",
         "p.yaml:4:7: found the tag tag:yaml.org,2002:int; write the value without a tag"},
        /* numbers */
        {"optimizer: {name: lyon}\n",
         "p.yaml:4:19: optimizer.name: found lyon; it must be adam, adamw, sgd or lion"},
        {"optimizer: {beta1: 1}\n",
         "p.yaml:4:20: optimizer.beta1: found 1; it must be a number from 0 to 0.999999"},
        {"optimizer: {beta2: -0.1}\n",
         "p.yaml:4:20: optimizer.beta2: found -0.1; it must be a number from 0 to 0.999999"},
        {"optimizer: {epsilon: 0}\n",
         "p.yaml:4:22: optimizer.epsilon: found 0; it must be a number above 0, at most 1"},
        {"optimizer: {momentum: 1}\n",
         "p.yaml:4:23: optimizer.momentum: found 1; it must be a number from 0 to 0.999999"},
        {"optimizer: {nesterov: 1}\n",
         "p.yaml:4:23: optimizer.nesterov: found 1; it must be true or false"},
        {"optimizer: {weight_decay: -1}\n",
         "p.yaml:4:27: optimizer.weight_decay: found -1; it must be a number from 0 to 100"},
        {"optimizer: {decay_exclude: bias}\n",
         "p.yaml:4:28: optimizer.decay_exclude: found bias; it must be none or norms_and_biases"},
        {"ema: {decay: 1}\n",
         "p.yaml:4:14: ema.decay: found 1; it must be a number from 0 to 0.999999"},
        {"model: {dropout: 1}\n",
         "p.yaml:4:18: model.dropout: found 1; it must be a number from 0 to 0.999"},
        {"model: {dropout: -0.1}\n",
         "p.yaml:4:18: model.dropout: found -0.1; it must be a number from 0 to 0.999"},
        {"model: {dropout: .nan}\n",
         "p.yaml:4:18: model.dropout: found .nan; it must be a number from 0 to 0.999"},
        {"model: {dropout: nan}\n",
         "p.yaml:4:18: model.dropout: found nan; it must be a number from 0 to 0.999"},
        {"model: {dropout: .inf}\n",
         "p.yaml:4:18: model.dropout: found .inf; it must be a number from 0 to 0.999"},
        {"model: {dropout: 1e999}\n",
         "p.yaml:4:18: model.dropout: found 1e999; it must be a number from 0 to 0.999"},
        {"model: {dropout: 1e-999}\n",
         "p.yaml:4:18: model.dropout: found 1e-999; it must be a number from 0 to 0.999"},
        {"model: {dropout: 0x.8}\n",
         "p.yaml:4:18: model.dropout: found 0x.8; it must be a number from 0 to 0.999"},
        {"model: {dropout: 1e}\n",
         "p.yaml:4:18: model.dropout: found 1e; it must be a number from 0 to 0.999"},
        {"model: {dropout: .}\n",
         "p.yaml:4:18: model.dropout: found .; it must be a number from 0 to 0.999"},
        {"model: {dropout: '0.5'}\n",
         "p.yaml:4:18: model.dropout: found the text \"0.5\"; write 0.5"},
        /* texts and choices */
        {"device: gpu\n",
         "p.yaml:4:9: device: found gpu; it must be auto, cpu, reference, cuda or cuda:N"},
        {"device: cuda:\n", NULL}, /* YAML takes it for a section */
        {"device: cuda:-1\n",
         "p.yaml:4:9: device: found cuda:-1; it must be auto, cpu, reference, cuda or cuda:N"},
        {"device: cuda:01\n",
         "p.yaml:4:9: device: found cuda:01; it must be auto, cpu, reference, cuda or cuda:N"},
        {"model: {name: resnet}\n", "p.yaml:4:15: model.name: found resnet; it must be simple_cnn, "
                                    "resnet20, resnet18, wideresnet-16-4 or speed_cnn"},
        {"model: {name: }\n", "p.yaml:4:15: model.name: found nothing; it must be simple_cnn, "
                              "resnet20, resnet18, wideresnet-16-4 or speed_cnn"},
        /* structure */
        {"seed: {a: 1}\n", "p.yaml:4:7: seed: found a section; " SEED_RANGE},
        {"seed: [1]\n", "p.yaml:4:7: seed: found a list; " SEED_RANGE},
        {"model: 3\n", "p.yaml:4:8: model: found 3; it must be a section with name, dropout, "
                       "widths, depth, hidden, whiten_bias_epochs"},
        {"model: [3]\n", "p.yaml:4:8: model: found a list; it must be a section with name, "
                         "dropout, widths, depth, hidden, whiten_bias_epochs"},
        {"seed: *b\n", "p.yaml:4:7: found the alias *b; no value before it has the anchor &b"},
        {"model: &m {name: simple_cnn}\nseed: *m\n",
         "p.yaml:5:7: found the alias *m; no value before it has the anchor &m"},
        {"---\nseed: 1\n", "p.yaml:4:1: found a second document; a configuration is one document"},
        /* syntax */
        {"model:\n\tname: x\n", "p.yaml:5:1: not YAML: found a tab; indent with spaces"},
        {"seed: 'x\n",
         "p.yaml:5:1: not YAML: found unexpected end of stream while scanning a quoted scalar"},
        {"seed: @x\n", "p.yaml:4:7: not YAML: found character that cannot start any token while "
                       "scanning for the next token"},
        {"seed: \xff\n",
         "p.yaml:4:7: not readable as UTF-8 text: invalid leading UTF-8 octet (0xff)"},
        {"seed: \x01\n",
         "p.yaml:4:7: not readable as UTF-8 text: control characters are not allowed (0x01)"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cairn_config config;
        char text[1024];
        snprintf(text, sizeof text, "%s%s", REQUIRED, cases[i].text);
        cairn_status status = parse(&config, text);
        if (cases[i].message)
            assert_refused(status, cases[i].message);
        else
            assert_int_equal(status, CAIRN_BAD_INPUT);
    }
}

static void refuses_whole_files(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "p.yaml:1:1: found no keys; `cairn params` lists those that a configuration has"},
        {"# all commented out\n",
         "p.yaml:1:1: found no keys; `cairn params` lists those that a configuration has"},
        {"---\n",
         "p.yaml:2:1: found nothing; the top level must be keys and sections, such as seed: 42"},
        {"- seed\n",
         "p.yaml:1:1: found a list; the top level must be keys and sections, such as seed: 42"},
        {"seed 42\n",
         "p.yaml:1:1: found seed 42; the top level must be keys and sections, such as seed: 42"},
        {"\xff\xfes\0", "p.yaml:1:1: found UTF-16 text; save the file as UTF-8"},
        {"\xef\xbb\xbf# \xc3\xa9\xff\n",
         "p.yaml:1:4: not readable as UTF-8 text: invalid leading UTF-8 octet (0xff)"},
        {"{}\n", "p.yaml: missing data.dir, train.epochs, train.batch_size, train.lr, run.name; "
                 "add to the file or give -S key=value"},
        {"train:\n  lr: 0.1\nrun:\n  name: x\n",
         "p.yaml: missing data.dir, train.epochs, train.batch_size; add to the file or give -S "
         "key=value"},
        {"data: {name: cifar}\n",
         "p.yaml:1:14: data.name: found cifar; it must be cifar10, cifar100, folder or "
         "synthetic"},
        {"data: {train_limit: 2147483648}\n", "p.yaml:1:21: data.train_limit: found 2147483648; it "
                                              "must be a whole number from 0 to 2147483647"},
        {"data: {validation: 50000}\n",
         "p.yaml:1:20: data.validation: found 50000; it must be a whole number from 0 to 49999"},
        {"data: {resize: fit}\n",
         "p.yaml:1:16: data.resize: found fit; it must be stretch or crop"},
        {"data: {dir: ''}\n",
         "p.yaml:1:13: data.dir: found the text \"\"; it must be a folder's path"},
        {"train: {epochs: 0}\n",
         "p.yaml:1:17: train.epochs: found 0; it must be a whole number from 1 to 10000"},
        {"train: {lr: 0}\n",
         "p.yaml:1:13: train.lr: found 0; it must be a number above 0, at most 1000"},
        {"train: {lr: 1000.1}\n",
         "p.yaml:1:13: train.lr: found 1000.1; it must be a number above 0, at most 1000"},
        {"train: {precision: fp16}\n",
         "p.yaml:1:20: train.precision: found fp16; it must be float32, bf16, float64 or tf32"},
        {"train: {precision: 0}\n",
         "p.yaml:1:20: train.precision: found 0; it must be float32, bf16, float64 or tf32"},
        {"run: {name: a/b}\n", "p.yaml:1:13: run.name: found a/b; " NAME_FORM},
        {"run: {name: .}\n", "p.yaml:1:13: run.name: found .; " NAME_FORM},
        {"run: {name: ..}\n", "p.yaml:1:13: run.name: found ..; " NAME_FORM},
        {"run: {name: ''}\n", "p.yaml:1:13: run.name: found the text \"\"; " NAME_FORM},
        {"run: {name: }\n", "p.yaml:1:13: run.name: found nothing; " NAME_FORM},
        {"run: {name: \"a\\nb\"}\n", "p.yaml:1:13: run.name: found 'a\\x0ab'; it must be one "
                                     "line of printable text"},
        {"run: {name: \"a\\0b\"}\n",
         "p.yaml:1:13: found a zero byte in a text; it must be printable text"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cairn_config config;
        assert_refused(parse(&config, cases[i].text), cases[i].message);
    }
}

static void refuses_overrides(void **state) {
    (void)state;
    static const struct {
        const char *assignment, *message;
    } cases[] = {
        {"train.lr=abc", "-S train.lr=abc: found abc; it must be a number above 0, at most 1000"},
        {"train.lr=", "-S train.lr=: found nothing; it must be a number above 0, at most 1000"},
        {"train.lr='1'", "-S train.lr='1': found the text \"1\"; write 1"},
        {"train.lr={a: 1}",
         "-S train.lr={a: 1}: found a section; it must be a number above 0, at most 1000"},
        {"train.lr=[1]",
         "-S train.lr=[1]: found a list; it must be a number above 0, at most 1000"},
        {"train.lr=*a", "-S train.lr=*a: found the alias *a; no value before it has the anchor &a"},
        {"train.lr=1 # x\n--- 2", "-S train.lr=1 # x\\x0a--- 2: found a second document; a "
                                  "configuration is one document"},
        {"train.lr", "-S train.lr: found no '='; write -S key=value"},
        {"lr=1", "-S lr=1: unknown key; did you mean train.lr?"},
        {"train.learning_rate=1",
         "-S train.learning_rate=1: unknown key; `cairn params` lists them"},
        {"=1", "-S =1: unknown key; `cairn params` lists them"},
        {"train=1", "-S train=1: train is a section; set one of its keys: epochs, batch_size, lr, "
                    "precision, threads, deterministic, on_nan, label_smoothing, "
                    "clip_norm, accumulate"},
        {"augment.flip=sometimes",
         "-S augment.flip=sometimes: found sometimes; it must be none, random or alternating"},
        {"augment.erasing=1.5",
         "-S augment.erasing=1.5: found 1.5; it must be a number from 0 to 1"},
        {"augment.cutout=-1",
         "-S augment.cutout=-1: found -1; it must be a whole number from 0 to 1024"},
        {"augment.mixup=5", "-S augment.mixup=5: found 5; it must be a number from 0 to 4"},
        {"augment.rotation=181",
         "-S augment.rotation=181: found 181; it must be a number from 0 to 180"},
        {"augment.randaugment=5",
         "-S augment.randaugment=5: found 5; it must be a whole number from 0 to 4"},
        {"augment.magnitude=31",
         "-S augment.magnitude=31: found 31; it must be a whole number from 0 to 30"},
        {"augment.tta_shift=0",
         "-S augment.tta_shift=0: found 0; it must be a whole number from 1 to 32"},
        {"model.whiten_bias_epochs=-1",
         "-S model.whiten_bias_epochs=-1: found -1; it must be a whole number from 0 to 10000"},
        {"optimizer.norm_bias_scale=0",
         "-S optimizer.norm_bias_scale=0: found 0; it must be a number above 0, at most 10000"},
        {"train.label_smoothing=1",
         "-S train.label_smoothing=1: found 1; it must be a number from 0 to 0.999"},
        {"run.name=@", "-S run.name=@: not YAML: found character that cannot start any token while "
                       "scanning for the next token"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cairn_config config;
        assert_refused(override(&config, cases[i].assignment), cases[i].message);
    }
}

static void refuses_files_it_cannot_read(void **state) {
    (void)state;
    cairn_config config;
    assert_refused(cairn_config_read(&config, "/no/such.yaml", NULL, 0),
                   "/no/such.yaml: no such file; name a configuration with --params FILE, or write "
                   "one (`cairn params` lists the keys)");
    assert_refused(cairn_config_read(&config, "/tmp", NULL, 0), "/tmp: is not a regular file");
}

static void leaves_the_configuration_alone_when_refusing(void **state) {
    (void)state;
    cairn_config config, before;
    memset(&config, 0x5a, sizeof config);
    before = config;
    assert_int_equal(override(&config, "train.lr=abc"), CAIRN_BAD_INPUT);
    assert_int_equal(parse(&config, "{}"), CAIRN_BAD_INPUT);
    assert_memory_equal(&config, &before, sizeof config);
}

/* Long and deep input is refused, or read, at no more than linear cost. */
static void bears_hostile_sizes(void **state) {
    (void)state;
    static const char *const starts[] = {"", "? ", "seed: ", "run: {name: ", "seed: &a ", "'"};
    static const char fills[] = "[{-?a:&*#!\" \n";
    const size_t size = 200000;
    char *text = malloc(size + 1);
    assert_non_null(text);
    text[size] = '\0';
    for (size_t i = 0; i < COUNT(starts); i++) {
        for (const char *fill = fills; *fill; fill++) {
            cairn_config config;
            memset(text, *fill, size);
            memcpy(text, starts[i], strlen(starts[i]));
            assert_int_equal(cairn_config_parse(&config, text, size, "p.yaml", NULL, 0),
                             CAIRN_BAD_INPUT);
        }
    }
    cairn_config config;
    memset(text, 'a', size);
    memcpy(text, "run: {name: ", 12);
    memcpy(text + 12 + 1024, "}\n#", 3);
    assert_refused(
        cairn_config_parse(&config, text, size, "p.yaml", NULL, 0),
        "p.yaml:1:13: run.name: found a text of 1024 bytes; at most 1023 would be right");
    free(text);
    static char huge[(1 << 20) + 1];
    assert_refused(cairn_config_parse(&config, huge, sizeof huge, "p.yaml", NULL, 0),
                   "p.yaml: found 1048577 bytes; a configuration has at most 1048576");
}

/* A file's length is looked at before memory is taken for it, and nothing is waited for. */
static void long_files_and_pipes_cost_nothing(void **state) {
    (void)state;
    char path[] = "/tmp/cairn-params-XXXXXX";
    cairn_config config;
    struct rusage before, after;
    const int fd = mkstemp(path);
    assert_int_equal(ftruncate(fd, (off_t)900 << 20), 0);
    close(fd);
    getrusage(RUSAGE_SELF, &before);
    assert_int_equal(cairn_config_read(&config, path, NULL, 0), CAIRN_BAD_INPUT);
    getrusage(RUSAGE_SELF, &after);
    assert_non_null(strstr(cairn_error_message(), "is 943718400 bytes long; at most 1048576"));
    assert_in_range(after.ru_maxrss - before.ru_maxrss, 0, 2048); /* KiB */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(20);
    assert_int_equal(cairn_config_read(&config, path, NULL, 0), CAIRN_BAD_INPUT);
    alarm(0);
    assert_non_null(strstr(cairn_error_message(), "is not a regular file"));
    unlink(path);
}

/* Back to text -------------------------------------------------------------------------------- */

static void writes_the_whole_configuration(void **state) {
    (void)state;
    cairn_config config;
    char *text;
    assert_int_equal(
        cairn_config_read(&config, CAIRN_TESTS_DIR "/unit/reference_params.yaml", NULL, 0),
        CAIRN_OK);
    assert_int_equal(cairn_config_format(&config, &text), CAIRN_OK);
    assert_string_equal(text, "seed: 42\n"
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
                              "  recorders: none\n");
    free(text);
}

static void assert_round_trip(const cairn_config *config) {
    cairn_config again;
    char *text;
    assert_int_equal(cairn_config_format(config, &text), CAIRN_OK);
    if (parse(&again, text))
        fail_msg("%s in\n%s", cairn_error_message(), text);
    assert_memory_equal(config, &again, sizeof again);
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

/* Digest and comparison ----------------------------------------------------------------------- */

static void digest_covers_what_shapes_the_result(void **state) {
    (void)state;
    static const struct {
        const char *assignment;
        bool shapes;
    } cases[] = {
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
    cairn_config base, changed;
    char base_hex[CAIRN_DIGEST_HEX], hex[CAIRN_DIGEST_HEX];
    assert_int_equal(parse(&base, REQUIRED), CAIRN_OK);
    assert_int_equal(cairn_config_digest(&base, base_hex), CAIRN_OK);
    assert_null(cairn_config_difference(&base, &base));
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(override(&changed, cases[i].assignment), CAIRN_OK);
        assert_int_equal(cairn_config_digest(&changed, hex), CAIRN_OK);
        const cairn_key *difference = cairn_config_difference(&base, &changed);
        if (cases[i].shapes) {
            assert_string_not_equal(hex, base_hex);
            assert_non_null(difference);
            assert_memory_equal(difference->name, cases[i].assignment, strlen(difference->name));
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
        cmocka_unit_test(refuses_what_follows_the_required_keys),
        cmocka_unit_test(refuses_whole_files),
        cmocka_unit_test(refuses_overrides),
        cmocka_unit_test(refuses_files_it_cannot_read),
        cmocka_unit_test(leaves_the_configuration_alone_when_refusing),
        cmocka_unit_test(bears_hostile_sizes),
        cmocka_unit_test(long_files_and_pipes_cost_nothing),
        cmocka_unit_test(writes_the_whole_configuration),
        cmocka_unit_test(reads_back_what_it_writes),
        cmocka_unit_test(digest_covers_what_shapes_the_result),
        cmocka_unit_test(digest_is_stable),
        cmocka_unit_test(schema_is_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
