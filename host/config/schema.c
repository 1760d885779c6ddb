/* The schema: the one table of everything that can be configured. Reading, writing, digests, error
 * messages and `cairn params` all work from its rows; a new key is a row here and a field in
 * cairn_config. */
#include "parts.h"

#include <stdlib.h>
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

/* Rising whole numbers, with blanks between. */
static bool accepts_milestones(const char *text) {
    long last = 0;
    for (const char *at = text; *at;) {
        size_t digits = strspn(at, "0123456789");
        long milestone = digits >= 1 && digits <= 9 ? strtol(at, NULL, 10) : 0;
        if (milestone <= last || (at[digits] && at[digits] != ' '))
            return false;
        last = milestone;
        at += digits;
        at += strspn(at, " ");
    }
    return last > 0;
}

/* One to eight numbers from 1 to 4096, with single blanks between. */
static bool accepts_widths(const char *text) {
    int count = 0;
    for (bool more = true; more; count++) {
        size_t digits = strspn(text, "0123456789");
        long width = digits >= 1 && digits <= 4 ? strtol(text, NULL, 10) : 0;
        if (width < 1 || width > 4096 || *text == '0')
            return false;
        text += digits;
        more = *text == ' ';
        text += more;
    }
    return *text == '\0' && count <= 8;
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
     .choices = "cifar10|cifar100|folder|synthetic",
     .shapes_result = true,
     .help = "data set; folder: images in train/<class>/ and test/<class>/; synthetic is computed "
             "from the seed and needs no files"},
    {.name = "data.dir",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(data.dir),
     .accepts = accepts_path,
     .form = "a folder's path",
     .help = "folder that holds cifar-10-batches-bin or cifar-10-batches-py, cifar-100-binary, or "
             "train and test"},
    {.name = "data.image_size",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(data.image_size),
     .fallback = "0",
     .high = 1024,
     .shapes_result = true,
     .later = true,
     .help = "folder: resize all images to so many pixels a side; 0: they have one size already"},
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
    {.name = "data.validation",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(data.validation),
     .fallback = "0",
     .high = 49999, /* one image stays to train on */
     .shapes_result = true,
     .later = true,
     .help = "hold the last so many training images out, and evaluate on those instead of the test "
             "split; 0: none"},
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
     .choices = "simple_cnn|resnet20|resnet18|wideresnet-16-4",
     .shapes_result = true,
     .help = "the network; `cairn model NAME` shows it"},
    {.name = "model.dropout",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(model.dropout),
     .fallback = "0.2",
     .high = 0.999, /* survivors are scaled by 1 / (1 - p), in float32 */
     .shapes_result = true,
     .help = "simple_cnn: probability of dropping a hidden feature in training"},
    {.name = "model.widths",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(model.widths),
     .fallback = "32 64 128",
     .accepts = accepts_widths,
     .form = "one to eight numbers from 1 to 4096 with a blank between, such as 32 64 128",
     .shapes_result = true,
     .later = true,
     .help = "simple_cnn: the channels of each block"},
    {.name = "model.depth",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(model.depth),
     .fallback = "1",
     .low = 1,
     .high = 8,
     .shapes_result = true,
     .later = true,
     .help = "simple_cnn: convolutions in each block"},
    {.name = "model.hidden",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(model.hidden),
     .fallback = "256",
     .low = 1,
     .high = 65536,
     .shapes_result = true,
     .later = true,
     .help = "simple_cnn: features of the hidden layer"},
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
     .help = "Adam's learning rate; schedule.name says how it moves"},
    {.name = "train.precision",
     .type = CAIRN_KEY_CHOICE,
     .offset = AT(train.precision),
     .fallback = "float32",
     .choices = "float32|bf16|float64|tf32", /* in the order of cairn_precision */
     .shapes_result = true,
     .help = "of activations; float64 is for the reference backend, tf32 for cuda"},
    {.name = "train.threads",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(train.threads),
     .fallback = "0",
     .high = 1024,
     .help = "of a CPU backend; 0: one for every core that the process may use"},
    {.name = "train.deterministic",
     .type = CAIRN_KEY_CHOICE,
     .offset = AT(train.deterministic),
     .fallback = "true",
     .choices = "false|true",
     .help =
         "the same bytes every time; false lets cuda take whichever algorithm measures fastest"},
    {.name = "train.on_nan",
     .type = CAIRN_KEY_CHOICE,
     .offset = AT(train.on_nan),
     .fallback = "stop",
     .choices = "stop|continue", /* in the order of cairn_on_nan */
     .help = "when the loss is no number any more: stop with the last good checkpoint, or go on"},
    {.name = "schedule.name",
     .type = CAIRN_KEY_CHOICE,
     .offset = AT(schedule.name),
     .fallback = "constant",
     /* in the order of cairn_schedule */
     .choices = "constant|step|multistep|exponential|cosine|linear|polynomial|onecycle|plateau",
     .shapes_result = true,
     .later = true,
     .help = "how the learning rate moves; `cairn params --plot-lr` shows it"},
    {.name = "schedule.per",
     .type = CAIRN_KEY_CHOICE,
     .offset = AT(schedule.per),
     .fallback = "step",
     .choices = "step|epoch", /* in the order of cairn_schedule_per */
     .shapes_result = true,
     .later = true,
     .help = "the unit in which it moves, and in which the lengths below are counted"},
    {.name = "schedule.warmup",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(schedule.warmup),
     .fallback = "0",
     .high = INT32_MAX,
     .shapes_result = true,
     .later = true,
     .help = "units in which the rate first rises in a line, before the schedule begins"},
    {.name = "schedule.warmup_start",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.warmup_start),
     .fallback = "0.01",
     .high = 1,
     .shapes_result = true,
     .later = true,
     .help = "the share of train.lr at which warm-up begins"},
    {.name = "schedule.step_size",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(schedule.step_size),
     .fallback = "30",
     .low = 1,
     .high = INT32_MAX,
     .shapes_result = true,
     .later = true,
     .help = "step: units from one fall to the next"},
    {.name = "schedule.milestones",
     .type = CAIRN_KEY_TEXT,
     .offset = AT(schedule.milestones),
     .fallback = "30 60 80",
     .accepts = accepts_milestones,
     .form = "rising whole numbers with blanks between, such as 30 60 80",
     .shapes_result = true,
     .later = true,
     .help = "multistep: units after which the rate falls"},
    {.name = "schedule.gamma",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.gamma),
     .fallback = "0.1",
     .low_open = true,
     .high = 1,
     .shapes_result = true,
     .later = true,
     .help = "step, multistep, exponential, plateau: what a fall multiplies the rate by"},
    {.name = "schedule.min_lr",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.min_lr),
     .fallback = "0",
     .high = 1000,
     .shapes_result = true,
     .later = true,
     .help = "cosine, plateau: the least rate"},
    {.name = "schedule.end_factor",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.end_factor),
     .fallback = "0",
     .high = 1,
     .shapes_result = true,
     .later = true,
     .help = "linear: the share of train.lr at the end"},
    {.name = "schedule.power",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.power),
     .fallback = "1",
     .low_open = true,
     .high = 100,
     .shapes_result = true,
     .later = true,
     .help = "polynomial: the exponent"},
    {.name = "schedule.pct_start",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.pct_start),
     .fallback = "0.3",
     .high = 1,
     .shapes_result = true,
     .later = true,
     .help = "onecycle: the share of the run in which the rate rises to train.lr"},
    {.name = "schedule.div_factor",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.div_factor),
     .fallback = "25",
     .low = 1,
     .high = 1e9,
     .shapes_result = true,
     .later = true,
     .help = "onecycle: train.lr over the first rate"},
    {.name = "schedule.final_div_factor",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.final_div_factor),
     .fallback = "10000",
     .low = 1,
     .high = 1e9,
     .shapes_result = true,
     .later = true,
     .help = "onecycle: the first rate over the last"},
    {.name = "schedule.patience",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(schedule.patience),
     .fallback = "10",
     .high = INT32_MAX,
     .shapes_result = true,
     .later = true,
     .help = "plateau: epochs without a lower test loss that are borne"},
    {.name = "schedule.threshold",
     .type = CAIRN_KEY_NUMBER,
     .offset = AT(schedule.threshold),
     .fallback = "0.0001",
     .high = 1,
     .shapes_result = true,
     .later = true,
     .help = "plateau: the share by which a test loss must be lower to count"},
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
    {.name = "tensorboard.enabled",
     .type = CAIRN_KEY_CHOICE,
     .offset = AT(tensorboard.enabled),
     .fallback = "false",
     .choices = "false|true",
     .later = true,
     .help = "write TensorBoard's event files into the run folder"},
    {.name = "tensorboard.every_steps",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(tensorboard.every_steps),
     .fallback = "100",
     .high = INT32_MAX,
     .later = true,
     .help = "loss, accuracy, rate and images/s of every so-manyth step; 0: of epochs alone"},
    {.name = "tensorboard.every_epochs",
     .type = CAIRN_KEY_INTEGER,
     .offset = AT(tensorboard.every_epochs),
     .fallback = "1",
     .high = INT32_MAX,
     .later = true,
     .help = "histograms and pictures after every so many epochs; 0: never"},
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
    static const char *const names[] = {"float32", "bf16", "float64", "tf32"};
    return names[precision];
}
