/* The schema: the one table of everything that can be configured. Reading, writing, digests, error
 * messages and `cairn params` all work from its rows; a new key is a row here and a field in
 * cairn_config. */
#include "keys.h"

/* A field of cairn_config and the key of its name. */
#define KEY(field, kind) .name = #field, .type = kind, .offset = offsetof(cairn_config, field)

static const cairn_choice data_sets[] = {
    {0, "cifar10"}, {0, "cifar100"}, {0, "folder"}, {0, "synthetic"}, {0, NULL},
};

static const cairn_choice models[] = {
    {0, "simple_cnn"},      {0, "resnet20"},  {0, "resnet18"},
    {0, "wideresnet-16-4"}, {0, "speed_cnn"}, {0, NULL},
};

static const cairn_key keys[] = {
    {KEY(seed, CAIRN_KEY_INTEGER), .fallback = "42",
     .high = 0x1p64, /* every uint64_t: the largest rounds up to this */
     .always_digested = true,
     .help = "of every random number: weights, shuffling, crops, dropout, synthetic data"},
    {KEY(device, CAIRN_KEY_TEXT), .fallback = "auto", .accepts = cairn_accepts_device,
     .form = "auto, cpu, reference, cuda or cuda:N", .idle = true,
     .help = "where to compute; auto takes the fastest backend that can run here"},

    {KEY(data.name, CAIRN_KEY_TEXT), .fallback = "cifar10", .choices = data_sets,
     .always_digested = true,
     .help = "data set; folder: images in train/<class>/ and test/<class>/; synthetic is computed "
             "from the seed and needs no files"},
    {KEY(data.dir, CAIRN_KEY_TEXT), .accepts = cairn_accepts_path, .form = "a folder's path",
     .idle = true,
     .help = "folder that holds cifar-10-batches-bin or cifar-10-batches-py, cifar-100-binary, or "
             "train and test"},
    {KEY(data.image_size, CAIRN_KEY_INTEGER), .fallback = "0", .high = 1024,
     .help = "folder: resize all images to so many pixels a side; 0: they have one size already"},
    {KEY(data.resize, CAIRN_KEY_CHOICE), .fallback = "stretch", .choices = cairn_resize_choices,
     .help = "folder, and what cairn predict is given: stretch the whole image, or crop the middle "
             "of it that has the right proportions"},
    {KEY(data.num_workers, CAIRN_KEY_INTEGER), .fallback = "2", .high = 1024, .idle = true,
     .help = "accepted and not used: batches are assembled beside the data, without processes"},
    {KEY(data.train_limit, CAIRN_KEY_INTEGER), .fallback = "0", .high = INT32_MAX,
     .always_digested = true, .help = "train on the first so many images; 0: all"},
    {KEY(data.test_limit, CAIRN_KEY_INTEGER), .fallback = "0", .high = INT32_MAX,
     .always_digested = true, .help = "evaluate on the first so many images; 0: all"},
    {KEY(data.validation, CAIRN_KEY_INTEGER), .fallback = "0",
     .high = 49999, /* one image stays to train on */
     .help = "hold the last so many training images out, and evaluate on those instead of the test "
             "split; 0: none"},
    {KEY(data.crop_padding, CAIRN_KEY_INTEGER), .fallback = "4",
     .high = 32, /* more could leave nothing of a 32x32 image */
     .always_digested = true,
     .help = "zero pixels added on each side before the random crop; 0: no crop"},

    {KEY(model.name, CAIRN_KEY_TEXT), .fallback = "simple_cnn", .choices = models,
     .always_digested = true, .help = "the network; `cairn model NAME` shows it"},
    {KEY(model.dropout, CAIRN_KEY_NUMBER), .fallback = "0.2",
     .high = 0.999, /* survivors are scaled by 1 / (1 - p), in float32 */
     .always_digested = true,
     .help = "simple_cnn: probability of dropping a hidden feature in training"},
    {KEY(model.widths, CAIRN_KEY_TEXT), .fallback = "32 64 128", .accepts = cairn_accepts_widths,
     .form = "one to eight numbers from 1 to 4096 with a blank between, such as 32 64 128",
     .help = "simple_cnn: the channels of each block; speed_cnn: of each group, where the default, "
             "also when it is written out, stands for 64 256 256"},
    {KEY(model.depth, CAIRN_KEY_INTEGER), .fallback = "1", .low = 1, .high = 8,
     .help = "simple_cnn: convolutions in each block"},
    {KEY(model.hidden, CAIRN_KEY_INTEGER), .fallback = "256", .low = 1, .high = 65536,
     .help = "simple_cnn: features of the hidden layer"},
    {KEY(model.whiten_bias_epochs, CAIRN_KEY_INTEGER), .fallback = "3", .high = 10000,
     .help = "speed_cnn: epochs in which the first convolution's bias is trained"},

    {KEY(train.epochs, CAIRN_KEY_INTEGER), .low = 1,
     .high = 10000, /* steps are counted in 32 bits: 50,000 an epoch at batch size 1 */
     .always_digested = true, .help = "passes over the training set"},
    {KEY(train.batch_size, CAIRN_KEY_INTEGER), .low = 1, .high = 65536, .always_digested = true,
     .help = "images a step; an epoch's last batch may be smaller"},
    {KEY(train.lr, CAIRN_KEY_NUMBER), .low = 0, .low_open = true, .high = 1000,
     .always_digested = true, .help = "the learning rate; schedule.name says how it moves"},
    {KEY(train.precision, CAIRN_KEY_CHOICE), .fallback = "float32",
     .choices = cairn_precision_choices, .always_digested = true,
     .help = "of activations; float64 is for the reference backend, tf32 for cuda"},
    {KEY(train.threads, CAIRN_KEY_INTEGER), .fallback = "0", .high = 1024, .idle = true,
     .help = "of a CPU backend; 0: as many as OMP_NUM_THREADS says, else one for every core that "
             "the process may use"},
    {KEY(train.deterministic, CAIRN_KEY_BOOLEAN), .fallback = "true", .idle = true,
     .help =
         "the same bytes every time; false lets cuda take whichever algorithm measures fastest"},
    {KEY(train.on_nan, CAIRN_KEY_CHOICE), .fallback = "stop", .choices = cairn_on_nan_choices,
     .idle = true,
     .help = "when the loss is no number any more: stop with the last good checkpoint, or go on"},
    {KEY(train.label_smoothing, CAIRN_KEY_NUMBER), .fallback = "0", .high = 0.999,
     .help = "share of the target that is spread over all classes; of the training loss alone"},
    {KEY(train.clip_norm, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1e9,
     .help = "scale gradients down to this Euclidean norm over all parameters; 0: never"},
    {KEY(train.accumulate, CAIRN_KEY_INTEGER), .fallback = "1", .low = 1, .high = 65536,
     .help = "batches a step: their gradients add up to that of the mean over all their images"},

    {KEY(optimizer.name, CAIRN_KEY_CHOICE), .fallback = "adam", .choices = cairn_optimizer_choices,
     .help = "what a step does with the gradient"},
    {KEY(optimizer.beta1, CAIRN_KEY_NUMBER), .fallback = "0.9",
     .high = 0.999999, /* 1 would never move */
     .help = "adam, adamw: how much of the mean gradient a step keeps"},
    {KEY(optimizer.beta2, CAIRN_KEY_NUMBER), .fallback = "0.999", .high = 0.999999,
     .help = "adam, adamw: how much of the mean squared gradient a step keeps"},
    {KEY(optimizer.epsilon, CAIRN_KEY_NUMBER), .fallback = "1.0e-08", .low_open = true, .high = 1,
     .help = "adam, adamw: added to the root of the mean squared gradient"},
    {KEY(optimizer.momentum, CAIRN_KEY_NUMBER), .fallback = "0", .high = 0.999999,
     .help = "sgd: how much of the sum of gradients a step keeps"},
    {KEY(optimizer.nesterov, CAIRN_KEY_BOOLEAN), .fallback = "false",
     .help = "sgd: look a step of momentum ahead"},
    {KEY(optimizer.weight_decay, CAIRN_KEY_NUMBER), .fallback = "0", .high = 100,
     .help = "adam, sgd: this share of a weight joins its gradient; adamw: times the rate, shrinks "
             "the weight itself"},
    {KEY(optimizer.decay_exclude, CAIRN_KEY_CHOICE), .fallback = "none",
     .choices = cairn_decay_exclude_choices, .help = "parameters that do not decay"},
    {KEY(optimizer.norm_bias_scale, CAIRN_KEY_NUMBER), .fallback = "1", .low_open = true,
     .high = 10000,
     .help = "multiplies the rate of normalisations' biases, and divides their decay"},

    {KEY(ema.decay, CAIRN_KEY_NUMBER), .fallback = "0", .high = 0.999999,
     .help = "how much of the weights' moving average a step keeps; it is what is evaluated and "
             "saved as the model; 0: no average"},

    {KEY(schedule.name, CAIRN_KEY_CHOICE), .fallback = "constant",
     .choices = cairn_schedule_choices,
     .help = "how the learning rate moves; `cairn params --plot-lr` shows it"},
    {KEY(schedule.per, CAIRN_KEY_CHOICE), .fallback = "step", .choices = cairn_schedule_per_choices,
     .help = "the unit in which it moves, and in which the lengths below are counted"},
    {KEY(schedule.warmup, CAIRN_KEY_INTEGER), .fallback = "0", .high = INT32_MAX,
     .help = "units in which the rate first rises in a line, before the schedule begins"},
    {KEY(schedule.warmup_start, CAIRN_KEY_NUMBER), .fallback = "0.01", .high = 1,
     .help = "the share of train.lr at which warm-up begins"},
    {KEY(schedule.step_size, CAIRN_KEY_INTEGER), .fallback = "30", .low = 1, .high = INT32_MAX,
     .help = "step: units from one fall to the next"},
    {KEY(schedule.milestones, CAIRN_KEY_TEXT), .fallback = "30 60 80",
     .accepts = cairn_accepts_milestones,
     .form = "rising whole numbers with blanks between, such as 30 60 80",
     .help = "multistep: units after which the rate falls"},
    {KEY(schedule.gamma, CAIRN_KEY_NUMBER), .fallback = "0.1", .low_open = true, .high = 1,
     .help = "step, multistep, exponential, plateau: what a fall multiplies the rate by"},
    {KEY(schedule.min_lr, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1000,
     .help = "cosine, plateau: the least rate"},
    {KEY(schedule.end_factor, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "linear: the share of train.lr at the end"},
    {KEY(schedule.power, CAIRN_KEY_NUMBER), .fallback = "1", .low_open = true, .high = 100,
     .help = "polynomial: the exponent"},
    {KEY(schedule.pct_start, CAIRN_KEY_NUMBER), .fallback = "0.3", .high = 1,
     .help = "onecycle: the share of the run in which the rate rises to train.lr"},
    {KEY(schedule.div_factor, CAIRN_KEY_NUMBER), .fallback = "25", .low = 1, .high = 1e9,
     .help = "onecycle: train.lr over the first rate"},
    {KEY(schedule.final_div_factor, CAIRN_KEY_NUMBER), .fallback = "10000", .low = 1, .high = 1e9,
     .help = "onecycle: the first rate over the last"},
    {KEY(schedule.patience, CAIRN_KEY_INTEGER), .fallback = "10", .high = INT32_MAX,
     .help = "plateau: epochs without a lower test loss that are borne"},
    {KEY(schedule.threshold, CAIRN_KEY_NUMBER), .fallback = "0.0001", .high = 1,
     .help = "plateau: the share by which a test loss must be lower to count"},

    {KEY(augment.padding, CAIRN_KEY_CHOICE), .fallback = "zero", .choices = cairn_padding_choices,
     .help = "what lies beyond the border for crops and moved images: zeros, or the image "
             "reflected"},
    {KEY(augment.flip, CAIRN_KEY_CHOICE), .fallback = "none", .choices = cairn_flip_choices,
     .help = "mirrored by chance, or every other epoch"},
    {KEY(augment.cutout, CAIRN_KEY_INTEGER), .fallback = "0", .high = 1024,
     .help = "side of a square that is blanked, cut at the border; 0: none"},
    {KEY(augment.erasing, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "random erasing: probability of blanking a rectangle inside the image"},
    {KEY(augment.erasing_area, CAIRN_KEY_NUMBER), .fallback = "0.33", .high = 1,
     .help = "random erasing: largest share of the image; the least is 0.02"},
    {KEY(augment.brightness, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "brightness is multiplied by a factor that is within this of 1"},
    {KEY(augment.contrast, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "the same for the distance of levels from the mean grey"},
    {KEY(augment.saturation, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "the same for the distance of colours from their grey"},
    {KEY(augment.rotation, CAIRN_KEY_NUMBER), .fallback = "0", .high = 180,
     .help = "degrees that an image is turned by at most, either way"},
    {KEY(augment.translation, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "share of height and width that an image is moved by at most, either way"},
    {KEY(augment.randaugment, CAIRN_KEY_INTEGER), .fallback = "0", .high = 4,
     .help = "RandAugment: operations an image; 0: off"},
    {KEY(augment.magnitude, CAIRN_KEY_INTEGER), .fallback = "9",
     .high = 30, /* CAIRN_MAGNITUDE_MAX */
     .help = "RandAugment: how strong they are"},
    {KEY(augment.mixup, CAIRN_KEY_NUMBER), .fallback = "0", .high = 4,
     .help = "mixup: alpha of the Beta distribution of shares; 0: off"},
    {KEY(augment.cutmix, CAIRN_KEY_NUMBER), .fallback = "0", .high = 4,
     .help = "cutmix: the same; with both on, either by chance"},
    {KEY(augment.mix_share, CAIRN_KEY_NUMBER), .fallback = "1", .high = 1,
     .help = "mixup and cutmix: share of the images that are mixed"},
    {KEY(augment.tta, CAIRN_KEY_CHOICE), .fallback = "none", .choices = cairn_tta_choices,
     .help = "testing: logits are the mean over the image and its mirror image; crops: over both "
             "also shifted to each corner"},
    {KEY(augment.tta_shift, CAIRN_KEY_INTEGER), .fallback = "1", .low = 1, .high = 32,
     .help = "testing by crops: by so many pixels"},

    {KEY(checkpoint.every_steps, CAIRN_KEY_INTEGER), .fallback = "0", .high = INT32_MAX,
     .idle = true,
     .help = "save after so many steps, besides the ends of epochs; 0: do not count them"},
    {KEY(checkpoint.every_seconds, CAIRN_KEY_NUMBER), .fallback = "60", .high = 86400, .idle = true,
     .help = "save when so many seconds have passed since the last time; 0: do not look"},

    {KEY(tensorboard.enabled, CAIRN_KEY_BOOLEAN), .fallback = "false", .idle = true,
     .help = "write TensorBoard's event files into the run folder"},
    {KEY(tensorboard.every_steps, CAIRN_KEY_INTEGER), .fallback = "100", .high = INT32_MAX,
     .idle = true,
     .help = "loss, accuracy, rate and images/s of every so-manyth step; 0: of epochs alone"},
    {KEY(tensorboard.every_epochs, CAIRN_KEY_INTEGER), .fallback = "1", .high = INT32_MAX,
     .idle = true, .help = "histograms and pictures after every so many epochs; 0: never"},

    {KEY(run.name, CAIRN_KEY_TEXT), .accepts = cairn_accepts_folder_name,
     .form = "one folder name: no '/', not '.' or '..', at most 255 bytes", .idle = true,
     .help = "the run's folder inside run.out_dir"},
    {KEY(run.out_dir, CAIRN_KEY_TEXT), .fallback = "runs", .accepts = cairn_accepts_path,
     .form = "a folder's path", .idle = true, .help = "folder of all runs; made when missing"},
};

_Static_assert(sizeof keys / sizeof keys[0] <= CAIRN_KEYS_MAX, "raise CAIRN_KEYS_MAX");

const cairn_key *cairn_config_keys(size_t *count) {
    *count = sizeof keys / sizeof keys[0];
    return keys;
}
