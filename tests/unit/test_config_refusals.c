/* The configuration: what is refused, and with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "configurations.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED_RANGE "it must be a whole number from 0 to 18446744073709551615"
#define NAME_FORM "it must be one folder name: no '/', not '.' or '..', at most 255 bytes"
#define TOP_LEVEL                                                                                  \
    "the top level has seed, device, data, model, train, optimizer, ema, schedule, augment, "      \
    "checkpoint, "                                                                                 \
    "tensorboard, run"

/* What follows the required keys, and the message; NULL: any. */
static const struct {
    const char *text, *message;
} after_required[] = {
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
    {"model:\n  <<: *x\n", "p.yaml:5:3: model.<<: found a merge key; write the section's keys out"},
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
    {"seed: 0X1F\n", "p.yaml:4:7: seed: found 0X1F; write 0x1f"},
    {"seed: .inf\n", "p.yaml:4:7: seed: found .inf; " SEED_RANGE},
    {"seed: 1:30\n", "p.yaml:4:7: seed: found 1:30; " SEED_RANGE},
    {"seed: 18446744073709551616\n", "p.yaml:4:7: seed: found 18446744073709551616; " SEED_RANGE},
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
    {"optimizer: {nesterov: 1}\n", "p.yaml:4:23: optimizer.nesterov: found 1; write true"},
    {"optimizer: {nesterov: Yes}\n", "p.yaml:4:23: optimizer.nesterov: found Yes; write true"},
    {"optimizer: {nesterov: off}\n", "p.yaml:4:23: optimizer.nesterov: found off; write false"},
    {"optimizer: {nesterov: tRUE}\n", "p.yaml:4:23: optimizer.nesterov: found tRUE; write true"},
    {"optimizer: {nesterov: '0'}\n",
     "p.yaml:4:23: optimizer.nesterov: found the text \"0\"; write false"},
    {"optimizer: {nesterov: 2}\n",
     "p.yaml:4:23: optimizer.nesterov: found 2; it must be true or false"},
    {"optimizer: {nesterov: }\n",
     "p.yaml:4:23: optimizer.nesterov: found nothing; it must be true or false"},
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
    {"model: {dropout: '0.5'}\n", "p.yaml:4:18: model.dropout: found the text \"0.5\"; write 0.5"},
    /* texts and choices */
    {"device: gpu\n", "p.yaml:4:9: device: found gpu; write cuda"},
    {"device: GPU:1\n", "p.yaml:4:9: device: found GPU:1; write cuda:1"},
    {"device: 0\n", "p.yaml:4:9: device: found 0; write cuda:0"},
    {"device: CUDA\n", "p.yaml:4:9: device: found CUDA; write cuda"},
    {"device: Cpu\n", "p.yaml:4:9: device: found Cpu; write cpu"},
    {"device: 00\n",
     "p.yaml:4:9: device: found 00; it must be auto, cpu, reference, cuda or cuda:N"},
    {"device: gpus\n",
     "p.yaml:4:9: device: found gpus; it must be auto, cpu, reference, cuda or cuda:N"},
    {"device: cuda:\n", NULL}, /* YAML takes it for a section */
    {"device: cuda:-1\n",
     "p.yaml:4:9: device: found cuda:-1; it must be auto, cpu, reference, cuda or cuda:N"},
    {"device: cuda:01\n",
     "p.yaml:4:9: device: found cuda:01; it must be auto, cpu, reference, cuda or cuda:N"},
    {"model: {name: resnet}\n", "p.yaml:4:15: model.name: found resnet; it must be simple_cnn, "
                                "resnet20, resnet56, resnet18, wideresnet-16-4 or speed_cnn"},
    {"model: {name: }\n", "p.yaml:4:15: model.name: found nothing; it must be simple_cnn, "
                          "resnet20, resnet56, resnet18, wideresnet-16-4 or speed_cnn"},
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
    {"seed: \xff\n", "p.yaml:4:7: not readable as UTF-8 text: invalid leading UTF-8 octet (0xff)"},
    {"seed: \xc3", "p.yaml:4:7: not readable as UTF-8 text: incomplete UTF-8 octet sequence"},
    {"seed: \x01\n",
     "p.yaml:4:7: not readable as UTF-8 text: control characters are not allowed (0x01)"},
};

static void refuses_what_follows_the_required_keys(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(after_required); i++) {
        cairn_config config;
        char text[1024];
        snprintf(text, sizeof text, "%s%s", REQUIRED, after_required[i].text);
        cairn_status status = parse(&config, text);
        if (after_required[i].message)
            assert_refused(status, after_required[i].message);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_follows_the_required_keys),
        cmocka_unit_test(refuses_whole_files),
        cmocka_unit_test(refuses_overrides),
        cmocka_unit_test(refuses_files_it_cannot_read),
        cmocka_unit_test(leaves_the_configuration_alone_when_refusing),
        cmocka_unit_test(bears_hostile_sizes),
        cmocka_unit_test(long_files_and_pipes_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
