/* The schema: the one table of everything that can be configured. Reading, writing, digests, error
 * messages and `cairn params` all work from its rows; a new key is a row here and a field in
 * cairn_config. */
#include "keys.h"

/* A field of cairn_config and the key of its name. */
#define KEY(field, kind) .name = #field, .type = (kind), .offset = offsetof(cairn_config, field)

static const cairn_choice data_sets[] = {
    {0, "cifar10"}, {0, "cifar100"}, {0, "folder"}, {0, "synthetic"}, {0, NULL},
};

static const cairn_key keys[] = {
    {KEY(seed, CAIRN_KEY_INTEGER), .fallback = "42",
     .high = 0x1p64, /* every uint64_t: the largest rounds up to this */
     .always_digested = true,
     .help = "seed of every random number: weights, shuffling, crops, dropout, synthetic data"},
    {KEY(device, CAIRN_KEY_TEXT), .fallback = "auto", .accepts = cairn_accepts_device,
     .form = "auto, cpu, reference, cuda or cuda:N", .hint = cairn_hint_device, .idle = true,
     .help = "where to compute; auto: the fastest backend that can run here"},

    {KEY(data.name, CAIRN_KEY_TEXT), .fallback = "cifar10", .choices = data_sets,
     .always_digested = true,
     .help = "data set; folder: images in train/<class>/ and test/<class>/; synthetic: images "
             "computed from the seed, without files"},
    {KEY(data.dir, CAIRN_KEY_TEXT), .accepts = cairn_accepts_path, .form = "a folder's path",
     .idle = true,
     .help = "folder that holds cifar-10-batches-bin or cifar-10-batches-py, cifar-100-binary, or "
             "train and test"},
    {KEY(data.image_size, CAIRN_KEY_INTEGER), .fallback = "0", .high = 1024,
     .help = "folder: resize images to this many pixels a side; 0: they all have one size already"},
    {KEY(data.resize, CAIRN_KEY_CHOICE), .fallback = "stretch", .choices = cairn_resize_choices,
     .help = "how images are resized, in folder and cairn predict: stretch the whole image, or "
             "crop its middle to the right proportions first"},
    {KEY(data.num_workers, CAIRN_KEY_INTEGER), .fallback = "2", .high = 1024, .idle = true,
     .help = "accepted and ignored: batches are assembled without worker processes"},
    {KEY(data.train_limit, CAIRN_KEY_INTEGER), .fallback = "0", .high = INT32_MAX,
     .always_digested = true, .help = "train on only the first N images; 0: all"},
    {KEY(data.test_limit, CAIRN_KEY_INTEGER), .fallback = "0", .high = INT32_MAX,
     .always_digested = true, .help = "evaluate on only the first N images; 0: all"},
    {KEY(data.validation, CAIRN_KEY_INTEGER), .fallback = "0",
     .high = 49999, /* one image stays to train on */
     .help = "hold out N training images, of each class its share, drawn by the seed, and evaluate "
             "on them instead of the test split; 0: none"},
    {KEY(data.crop_padding, CAIRN_KEY_INTEGER), .fallback = "4",
     .high = 32, /* more could leave nothing of a 32x32 image */
     .always_digested = true,
     .help = "pixels of padding on each side before the random crop; 0: no crop"},

    {KEY(model.name, CAIRN_KEY_TEXT), .fallback = "simple_cnn", .choices = cairn_model_choices,
     .always_digested = true,
     .help = "the network; `cairn model` lists them, `cairn model NAME` shows one"},
    {KEY(model.dropout, CAIRN_KEY_NUMBER), .fallback = "0.2",
     .high = 0.999, /* survivors are scaled by 1 / (1 - p), in float32 */
     .always_digested = true,
     .help = "simple_cnn: probability of dropping a hidden feature in training"},
    {KEY(model.widths, CAIRN_KEY_LIST), .fallback = CAIRN_WIDTHS_DEFAULT,
     .accepts = cairn_accepts_widths,
     .form = "default, or a list of one to eight numbers from 1 to 4096, such as [32, 64, 128]",
     .help = "simple_cnn: channels of each block; speed_cnn: channels of each group; default: the "
             "network's own"},
    {KEY(model.depth, CAIRN_KEY_INTEGER), .fallback = "1", .low = 1, .high = 8,
     .help = "simple_cnn: convolutions in each block"},
    {KEY(model.hidden, CAIRN_KEY_INTEGER), .fallback = "256", .low = 1, .high = 65536,
     .help = "simple_cnn: features of the hidden layer"},
    {KEY(model.whiten_bias_epochs, CAIRN_KEY_INTEGER), .fallback = "3", .high = 10000,
     .help = "speed_cnn: epochs in which the bias of the first convolution is trained"},

    {KEY(train.epochs, CAIRN_KEY_INTEGER), .low = 1,
     .high = 10000, /* steps are counted in 32 bits: 50,000 an epoch at batch size 1 */
     .always_digested = true, .help = "passes over the training set"},
    {KEY(train.batch_size, CAIRN_KEY_INTEGER), .low = 1, .high = 65536, .always_digested = true,
     .help = "images in a batch; the last batch of an epoch may be smaller"},
    {KEY(train.lr, CAIRN_KEY_NUMBER), .low = 0, .low_open = true, .high = 1000,
     .always_digested = true, .help = "learning rate; schedule.name says how it changes"},
    {KEY(train.precision, CAIRN_KEY_CHOICE), .fallback = "float32",
     .choices = cairn_precision_choices, .always_digested = true,
     .help = "precision of activations; float64 needs the reference backend, tf32 needs cuda"},
    {KEY(train.threads, CAIRN_KEY_INTEGER), .fallback = "0", .high = 1024, .idle = true,
     .help = "CPU threads; 0: as many as there are cores for the process, by affinity, the "
             "container's quota and OMP_NUM_THREADS"},
    {KEY(train.deterministic, CAIRN_KEY_BOOLEAN), .fallback = "true", .idle = true,
     .help = "true: the same bytes every time; false: cuda may choose whichever algorithm measures "
             "fastest"},
    {KEY(train.on_nan, CAIRN_KEY_CHOICE), .fallback = "stop", .choices = cairn_on_nan_choices,
     .idle = true,
     .help = "when the loss becomes NaN: stop, with the last good checkpoint kept, or continue"},
    {KEY(train.label_smoothing, CAIRN_KEY_NUMBER), .fallback = "0", .high = 0.999,
     .help = "share of the target that is spread over all classes, in the training loss only"},
    {KEY(train.clip_norm, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1e9,
     .help = "scale gradients down to this Euclidean norm over all parameters; 0: no clipping"},
    {KEY(train.accumulate, CAIRN_KEY_INTEGER), .fallback = "1", .low = 1, .high = 65536,
     .help = "batches in a step: their gradients are accumulated before each update, as the "
             "gradient of the mean loss over all their images"},

    {KEY(optimizer.name, CAIRN_KEY_CHOICE), .fallback = "adam", .choices = cairn_optimizer_choices,
     .help = "the optimiser"},
    {KEY(optimizer.beta1, CAIRN_KEY_NUMBER), .fallback = "0.9",
     .high = 0.999999, /* 1 would never move */
     .help =
         "adam, adamw: decay rate of the moving average of gradients; lion: the average's share "
         "beside the gradient in a step"},
    {KEY(optimizer.beta2, CAIRN_KEY_NUMBER), .fallback = "0.999", .high = 0.999999,
     .help = "adam, adamw: decay rate of the moving average of squared gradients; lion: of "
             "gradients, usually 0.99"},
    {KEY(optimizer.epsilon, CAIRN_KEY_NUMBER), .fallback = "1.0e-08", .low_open = true, .high = 1,
     .help = "adam, adamw: added to the denominator for numerical stability"},
    {KEY(optimizer.momentum, CAIRN_KEY_NUMBER), .fallback = "0", .high = 0.999999,
     .help = "sgd: momentum; 0: none"},
    {KEY(optimizer.nesterov, CAIRN_KEY_BOOLEAN), .fallback = "false",
     .help = "sgd: use Nesterov momentum"},
    {KEY(optimizer.weight_decay, CAIRN_KEY_NUMBER), .fallback = "0", .high = 100,
     .help =
         "adam, sgd: added to the gradient, times the weight (L2); adamw, lion: decoupled, times "
         "the learning rate"},
    {KEY(optimizer.decay_exclude, CAIRN_KEY_CHOICE), .fallback = "none",
     .choices = cairn_decay_exclude_choices, .help = "parameters that have no weight decay"},
    {KEY(optimizer.norm_bias_scale, CAIRN_KEY_NUMBER), .fallback = "1", .low_open = true,
     .high = 10000,
     .help =
         "multiplies the learning rate of normalisation biases, and divides their weight decay"},

    {KEY(ema.decay, CAIRN_KEY_NUMBER), .fallback = "0", .high = 0.999999,
     .help = "decay of the exponential moving average of the weights, which is what is evaluated "
             "and saved as the model; 0: no average"},

    {KEY(schedule.name, CAIRN_KEY_CHOICE), .fallback = "constant",
     .choices = cairn_schedule_choices,
     .help = "how the learning rate changes; `cairn params --plot-lr` draws it"},
    {KEY(schedule.per, CAIRN_KEY_CHOICE), .fallback = "step", .choices = cairn_schedule_per_choices,
     .help = "unit in which the rate changes, and in which the lengths below are counted"},
    {KEY(schedule.warmup, CAIRN_KEY_INTEGER), .fallback = "0", .high = INT32_MAX,
     .help = "length of the linear warm-up before the schedule begins; 0: none"},
    {KEY(schedule.warmup_start, CAIRN_KEY_NUMBER), .fallback = "0.01", .high = 1,
     .help = "share of train.lr at which the warm-up begins"},
    {KEY(schedule.step_size, CAIRN_KEY_INTEGER), .fallback = "30", .low = 1, .high = INT32_MAX,
     .help = "step: length between two reductions of the rate"},
    {KEY(schedule.milestones, CAIRN_KEY_LIST), .fallback = "30 60 80",
     .accepts = cairn_accepts_milestones,
     .form = "a list of rising whole numbers, such as [30, 60, 80]",
     .help = "multistep: when the rate is reduced"},
    {KEY(schedule.gamma, CAIRN_KEY_NUMBER), .fallback = "0.1", .low_open = true, .high = 1,
     .help = "step, multistep, exponential, plateau: factor of each reduction"},
    {KEY(schedule.min_lr, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1000,
     .help = "cosine, plateau: lowest rate"},
    {KEY(schedule.end_factor, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "linear: share of train.lr at the end"},
    {KEY(schedule.power, CAIRN_KEY_NUMBER), .fallback = "1", .low_open = true, .high = 100,
     .help = "polynomial: exponent"},
    {KEY(schedule.pct_start, CAIRN_KEY_NUMBER), .fallback = "0.3", .high = 1,
     .help = "onecycle: share of the run in which the rate rises to train.lr"},
    {KEY(schedule.div_factor, CAIRN_KEY_NUMBER), .fallback = "25", .low = 1, .high = 1e9,
     .help = "onecycle: train.lr divided by the first rate"},
    {KEY(schedule.final_div_factor, CAIRN_KEY_NUMBER), .fallback = "10000", .low = 1, .high = 1e9,
     .help = "onecycle: first rate divided by the last"},
    {KEY(schedule.patience, CAIRN_KEY_INTEGER), .fallback = "10", .high = INT32_MAX,
     .help = "plateau: epochs without improvement that are tolerated before the rate is reduced"},
    {KEY(schedule.threshold, CAIRN_KEY_NUMBER), .fallback = "0.0001", .high = 1,
     .help = "plateau: share by which the test loss must fall to count as an improvement"},

    {KEY(augment.padding, CAIRN_KEY_CHOICE), .fallback = "zero", .choices = cairn_padding_choices,
     .help = "what lies beyond an image's border, for crops and moved images: zeros, or the image "
             "reflected"},
    {KEY(augment.flip, CAIRN_KEY_CHOICE), .fallback = "none", .choices = cairn_flip_choices,
     .help = "horizontal flip: of random images, or of every image in every other epoch "
             "(alternating)"},
    {KEY(augment.cutout, CAIRN_KEY_INTEGER), .fallback = "0", .high = 1024,
     .help = "cutout: side in pixels of the blanked square, which may reach beyond the border; 0: "
             "off"},
    {KEY(augment.erasing, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "random erasing: probability of blanking a rectangle of the image; 0: off"},
    {KEY(augment.erasing_area, CAIRN_KEY_NUMBER), .fallback = "0.33", .high = 1,
     .help = "random erasing: largest share of the image that is blanked; the smallest is 0.02"},
    {KEY(augment.brightness, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "multiply brightness by a random factor within this of 1; 0: off"},
    {KEY(augment.contrast, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "multiply contrast, about the mean grey, by a random factor within this of 1; 0: off"},
    {KEY(augment.saturation, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "multiply saturation by a random factor within this of 1; 0: off"},
    {KEY(augment.rotation, CAIRN_KEY_NUMBER), .fallback = "0", .high = 180,
     .help = "rotate by a random angle of at most this many degrees either way; 0: off"},
    {KEY(augment.translation, CAIRN_KEY_NUMBER), .fallback = "0", .high = 1,
     .help = "shift by at most this share of the height and width, in any direction; 0: off"},
    {KEY(augment.randaugment, CAIRN_KEY_INTEGER), .fallback = "0", .high = 4,
     .help = "RandAugment: operations for each image; 0: off"},
    {KEY(augment.magnitude, CAIRN_KEY_INTEGER), .fallback = "9",
     .high = 30, /* CAIRN_MAGNITUDE_MAX */
     .help = "RandAugment: strength of the operations"},
    {KEY(augment.mixup, CAIRN_KEY_NUMBER), .fallback = "0", .high = 4,
     .help = "mixup: alpha of the Beta distribution; 0: off"},
    {KEY(augment.cutmix, CAIRN_KEY_NUMBER), .fallback = "0", .high = 4,
     .help = "cutmix: alpha of the Beta distribution; 0: off; with mixup on too, each image gets "
             "one of them at random"},
    {KEY(augment.mix_share, CAIRN_KEY_NUMBER), .fallback = "1", .high = 1,
     .help = "mixup, cutmix: share of the images that are mixed"},
    {KEY(augment.tta, CAIRN_KEY_CHOICE), .fallback = "none", .choices = cairn_tta_choices,
     .help = "test-time augmentation: average the logits over the image and its mirror image "
             "(flip), or over these also shifted towards each corner (crops)"},
    {KEY(augment.tta_shift, CAIRN_KEY_INTEGER), .fallback = "1", .low = 1, .high = 32,
     .help = "test-time augmentation by crops: pixels of the shift"},

    {KEY(checkpoint.every_steps, CAIRN_KEY_INTEGER), .fallback = "0", .high = INT32_MAX,
     .idle = true, .help = "save a checkpoint every N steps, besides one after each epoch; 0: off"},
    {KEY(checkpoint.every_seconds, CAIRN_KEY_NUMBER), .fallback = "60", .high = 86400, .idle = true,
     .help = "save a checkpoint every N seconds, besides one after each epoch; 0: off"},

    {KEY(tensorboard.enabled, CAIRN_KEY_BOOLEAN), .fallback = "false", .idle = true,
     .help = "write TensorBoard event files into the run folder"},
    {KEY(tensorboard.every_steps, CAIRN_KEY_INTEGER), .fallback = "100", .high = INT32_MAX,
     .idle = true,
     .help = "write loss, accuracy, learning rate and images/s every N steps; 0: only after each "
             "epoch"},
    {KEY(tensorboard.every_epochs, CAIRN_KEY_INTEGER), .fallback = "1", .high = INT32_MAX,
     .idle = true, .help = "write histograms and pictures every N epochs; 0: never"},

    {KEY(run.name, CAIRN_KEY_TEXT), .accepts = cairn_accepts_folder_name,
     .form = "one folder name: no '/', not '.' or '..', at most 255 bytes", .idle = true,
     .help = "name of the run's folder inside run.out_dir"},
    {KEY(run.out_dir, CAIRN_KEY_TEXT), .fallback = "runs", .accepts = cairn_accepts_path,
     .form = "a folder's path", .idle = true, .help = "folder of all runs; made if missing"},
    {KEY(run.recorders, CAIRN_KEY_LIST), .fallback = "none",
     .form = "none, or a list of names, such as [jsonl]", .idle = true,
     .help = "more to record; jsonl: a line of events.jsonl after each epoch"},
};

_Static_assert(sizeof keys / sizeof keys[0] <= CAIRN_KEYS_MAX, "raise CAIRN_KEYS_MAX");

const cairn_key *cairn_config_keys(size_t *count) {
    *count = sizeof keys / sizeof keys[0];
    return keys;
}
