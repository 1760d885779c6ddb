/* The schema: the one table of everything that can be configured. Reading, writing, digests, error
 * messages and `cairn params` all work from its rows; a new key is a row here and a field in
 * cairn_config. */
#include "parts.h"

#include <string.h>

#define AT(field) offsetof(cairn_config, field)

/* auto, a backend's name, or one of several GPUs: cuda:N with N below 1000. */
static bool accepts_device(const char *text) {
    static const char *const names[] = {"auto", "cpu", "reference", "cuda"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0)
            return true;
    if (strncmp(text, "cuda:", 5) != 0)
        return false;
    const char *ordinal = text + 5;
    size_t digits = strspn(ordinal, "0123456789");
    return digits >= 1 && digits <= 3 && ordinal[digits] == '\0' &&
           (digits == 1 || ordinal[0] != '0');
}

/* 255 bytes is the limit of Linux's file systems. */
static bool accepts_folder_name(const char *text) {
    return *text && !strchr(text, '/') && strcmp(text, ".") != 0 && strcmp(text, "..") != 0 &&
           strlen(text) <= 255;
}

static bool accepts_path(const char *text) {
    return *text != '\0';
}

static const cairn_key keys[] = {
    {.name = "seed",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(seed),
     .fallback = "42",
     .high = 0x1p64, /* every uint64_t: the largest rounds up to this */
     .shapes_result = true,
     .help = "of every random number: weights, shuffling, crops, dropout, synthetic data"},
    {.name = "device",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(device),
     .fallback = "auto",
     .accepts = accepts_device,
     .form = "auto, cpu, reference, cuda or cuda:N",
     .help = "where to compute; auto takes the fastest backend that can run here"},
    {.name = "data.name",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(data.name),
     .fallback = "cifar10",
     .choices = "cifar10|synthetic",
     .shapes_result = true,
     .help = "data set; synthetic is computed from the seed and needs no files"},
    {.name = "data.dir",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(data.dir),
     .accepts = accepts_path,
     .form = "a folder's path",
     .help = "folder that holds cifar-10-batches-bin or cifar-10-batches-py"},
    {.name = "data.num_workers",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(data.num_workers),
     .fallback = "2",
     .high = 1024,
     .help = "accepted and not used: batches are assembled beside the data, without processes"},
    {.name = "data.train_limit",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(data.train_limit),
     .fallback = "0",
     .high = INT32_MAX,
     .shapes_result = true,
     .help = "train on the first so many images; 0: all"},
    {.name = "data.test_limit",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(data.test_limit),
     .fallback = "0",
     .high = INT32_MAX,
     .shapes_result = true,
     .help = "evaluate on the first so many images; 0: all"},
    {.name = "data.crop_padding",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(data.crop_padding),
     .fallback = "4",
     .high = 32, /* more could leave nothing of a 32x32 image */
     .shapes_result = true,
     .help = "zero pixels added on each side before the random crop; 0: no crop"},
    {.name = "model.name",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(model.name),
     .fallback = "simple_cnn",
     .choices = "simple_cnn",
     .shapes_result = true,
     .help = "the network"},
    {.name = "model.dropout",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(model.dropout),
     .fallback = "0.2",
     .high = 0.999, /* survivors are scaled by 1 / (1 - p), in float32 */
     .shapes_result = true,
     .help = "probability of dropping a hidden feature in training"},
    {.name = "train.epochs",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(train.epochs),
     .low = 1,
     .high = 10000, /* steps are counted in 32 bits: 50,000 an epoch at batch size 1 */
     .shapes_result = true,
     .help = "passes over the training set"},
    {.name = "train.batch_size",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(train.batch_size),
     .low = 1,
     .high = 65536,
     .shapes_result = true,
     .help = "images a step; an epoch's last batch may be smaller"},
    {.name = "train.lr",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(train.lr),
     .low = 0,
     .low_open = true,
     .high = 1000,
     .shapes_result = true,
     .help = "Adam's learning rate, constant over the run"},
    {.name = "train.precision",
     .type = CAIRN_KEY_CHOICE,
     .offset = AT(train.precision),
     .fallback = "float32",
     .choices = "float32|bf16|float64", /* in the order of cairn_precision */
     .shapes_result = true,
     .help = "of activations; float64 is for the reference backend"},
    {.name = "train.threads",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(train.threads),
     .fallback = "0",
     .high = 1024,
     .help = "of a CPU backend; 0: one for every core that the process may use"},
    {.name = "train.on_nan",
     .type = CAIRN_KEY_CHOICE,
     .offset = AT(train.on_nan),
     .fallback = "stop",
     .choices = "stop|continue", /* in the order of cairn_on_nan */
     .help = "when the loss is no number any more: stop with the last good checkpoint, or go on"},
    {.name = "checkpoint.every_steps",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(checkpoint.every_steps),
     .fallback = "0",
     .high = INT32_MAX,
     .help = "save after so many steps, besides the end of every epoch; 0: do not count them"},
    {.name = "checkpoint.every_seconds",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(checkpoint.every_seconds),
     .fallback = "60",
     .high = 86400,
     .help = "save when so many seconds have passed since the last time; 0: do not look"},
    {.name = "run.name",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(run.name),
     .accepts = accepts_folder_name,
     .form = "one folder name: no '/', not '.' or '..', at most 255 bytes",
     .help = "the run's folder inside run.out_dir"},
    {.name = "run.out_dir",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(run.out_dir),
     .fallback = "runs",
     .accepts = accepts_path,
     .form = "a folder's path",
     .help = "folder of all runs; made when missing"},
};

_Static_assert(sizeof keys / sizeof keys[0] <= CAIRN_KEYS_MAX, "raise CAIRN_KEYS_MAX");

const cairn_key *cairn_config_keys(size_t *count) {
    *count = sizeof keys / sizeof keys[0];
    return keys;
}

const char *cairn_precision_name(cairn_precision precision) {
    static const char *const names[] = {"float32", "bf16", "float64"};
    return names[precision];
}
