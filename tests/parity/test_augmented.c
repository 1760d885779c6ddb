/* Augmentation and mixed or smoothed targets on every backend: the bytes that a training step sees
 * are those of cairn/augment.h; losses, right guesses, gradients and the mean over views are those
 * of `reference` in float64; and a training can be broken off and go on with the same bytes. */
#include "parity.h"

#include "cairn/augment.h"

/* More pixels than the 255 that equalize wants. */
enum { SAMPLES = 9, HIGH = 19, WIDE = 17, PIXELS = 3 * HIGH * WIDE };

typedef struct {
    const char *name;
    void (*set)(cairn_augment *how);
} augment_case;

static void set_flip(cairn_augment *how) {
    how->flip = CAIRN_FLIP_ALTERNATING;
}
static void set_random_flip(cairn_augment *how) {
    how->flip = CAIRN_FLIP_RANDOM;
    how->padding = CAIRN_PADDING_REFLECT;
}
static void set_cutout(cairn_augment *how) {
    how->cutout = 3;
}
static void set_erasing(cairn_augment *how) {
    how->erasing = CAIRN_ONE;
    how->erasing_area = CAIRN_ONE / 3;
}
static void set_colour(cairn_augment *how) {
    how->brightness = how->contrast = CAIRN_ONE / 2;
    how->saturation = CAIRN_ONE;
}
static void set_affine(cairn_augment *how) {
    how->rotation = CAIRN_ONE / 8;
    how->translation = CAIRN_ONE / 4;
}
static void set_randaugment(cairn_augment *how) {
    how->operations = 3;
    how->magnitude = 15;
}
static void set_mixup(cairn_augment *how) {
    how->mixup = 1;
}
static void set_cutmix(cairn_augment *how) {
    how->cutmix = 1;
}
static void set_everything(cairn_augment *how) {
    set_random_flip(how);
    set_cutout(how);
    set_erasing(how);
    set_colour(how);
    set_affine(how);
    set_randaugment(how);
    set_mixup(how);
    set_cutmix(how);
}

static const augment_case cases[] = {
    {"alternating flip", set_flip},   {"random flip, reflection", set_random_flip},
    {"cutout", set_cutout},           {"erasing", set_erasing},
    {"colour", set_colour},           {"rotation, translation", set_affine},
    {"RandAugment", set_randaugment}, {"mixup", set_mixup},
    {"cutmix", set_cutmix},           {"everything", set_everything},
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* Normalised to byte / 255 - 1/2, with the strengths of one case. */
static cairn_executor_options options_of(const augment_case *given, const subject *s, int batch,
                                         uint64_t seed) {
    cairn_executor_options options = cairn_executor_defaults();
    options.batch = batch;
    options.precision = s->precision;
    options.threads = 2;
    options.seed = seed;
    options.crop_padding = 2;
    options.optimizer.epsilon = 1e-3;
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++)
        options.mean[c] = 0.5f;
    options.augment.mix_share = CAIRN_ONE * 3 / 4;
    options.augment.pivot = 120;
    memcpy(options.augment.fill, (uint8_t[]){125, 123, 114, 0}, 4);
    cairn_beta_quantiles(0.5, options.augment.mixup_quantile);
    cairn_beta_quantiles(1, options.augment.cutmix_quantile);
    given->set(&options.augment);
    return options;
}

static cairn_executor *create(const subject *s, const cairn_net *net,
                              const cairn_executor_options *options, const cairn_split *split,
                              uint64_t seed) {
    cairn_executor *executor = NULL;
    must(cairn_executor_create(&executor, s->backend, net, options));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, split));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TEST, split));
    set_weights(executor, seed);
    return executor;
}

/* Of a linear layer's gradients over a batch of one, the weight's is the bias's times the input: so
 * they tell what the step saw. float32 is exact to a hundredth of a level. */
static int compare_bytes(const augment_case *given, const subject *s, const cairn_split *split,
                         uint64_t seed) {
    cairn_net *net = build_ops("flat, linear 10", (cairn_shape){3, HIGH, WIDE});
    cairn_executor_options options = options_of(given, s, 1, seed);
    cairn_executor *executor = create(s, net, &options, split, seed);
    cairn_augmenter augmenter = cairn_executor_augmenter(executor, CAIRN_SPLIT_TRAIN);
    int bad = 0;
    for (int32_t index = 0; index < SAMPLES; index++) {
        cairn_step step = {&index, 1, (uint32_t)index / 3, (uint32_t)index, 0};
        cairn_transform transform;
        uint8_t bytes[PIXELS];
        cairn_transform_make(&augmenter, &transform, split->images, step.epoch, (uint32_t)index);
        cairn_transform_apply(&augmenter, &transform, split->images, (uint32_t)index, bytes);
        must(cairn_executor_train_step(executor, &step));
        float *weight = get_tensor(executor, CAIRN_GRADIENT, 0);
        float *bias = get_tensor(executor, CAIRN_GRADIENT, 1);
        int largest = 0;
        for (int k = 1; k < 10; k++)
            largest = fabsf(bias[k]) > fabsf(bias[largest]) ? k : largest;
        double allowed = s->precision == CAIRN_FLOAT32 ? 0.01 : 255 * op_tolerance(s->precision);
        for (int p = 0; p < PIXELS; p++) {
            double x = (double)weight[largest * PIXELS + p] / (double)bias[largest];
            if (!(fabs(255 * (x + 0.5) - bytes[p]) <= allowed) && bad++ < 5)
                print_error("%s: %s: sample %d, element %d: %.3f, not %d\n", s->name, given->name,
                            index, p, 255 * (x + 0.5), bytes[p]);
        }
        free(weight);
        free(bias);
    }
    cairn_executor_destroy(executor);
    cairn_net_destroy(net);
    return bad;
}

static void test_every_backend_sees_the_same_bytes(void **state) {
    (void)state;
    subject subjects[SUBJECTS_MAX];
    int count = find_subjects(subjects), bad = 0;
    uint64_t seed = test_seed();
    cairn_split split = random_split(seed, SAMPLES, (cairn_shape){3, HIGH, WIDE}, 10, false);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < CASES; k++)
            bad += compare_bytes(&cases[k], &subjects[i], &split, seed);
    free_split(&split);
    assert_true(count > 0);
    assert_int_equal(bad, 0);
}

/* Targets and views -----------------------------------------------------------------------------*/

static int worse(double error, double tolerance, const char *who, const char *what, int classes) {
    if (error <= tolerance)
        return 0;
    print_error("%s, %d classes: %s: relative error %.3g, tolerance %.1g\n", who, classes, what,
                error, tolerance);
    return 1;
}

enum { BATCH = 31, MANY = 40 };

/* A step's stats and gradient, then an evaluation's stats and logits of the mean over ten views. */
typedef struct {
    cairn_stats trained, evaluated;
    float *gradient, *bias, *logits;
} outcome;

static outcome compute(const subject *s, const cairn_net *net, double smoothing, uint64_t seed,
                       const cairn_split *split) {
    cairn_executor_options options = options_of(&cases[CASES - 1], s, BATCH, seed);
    int32_t indices[BATCH];
    for (int n = 0; n < BATCH; n++)
        indices[n] = (int32_t)cairn_rng_below(random_word(seed, 2, (uint64_t)n), MANY);
    options.label_smoothing = smoothing;
    options.tta = CAIRN_TTA_CROPS;
    options.tta_shift = 2;
    cairn_executor *executor = create(s, net, &options, split, seed);
    for (int k = 0; k < net->parameter_count; k++) { /* logits of a few units: no sure guess */
        float *values = get_tensor(executor, CAIRN_PARAMETER, k);
        for (size_t i = 0; i < net->parameter[k].count; i++)
            values[i] *= 0.25f;
        must(cairn_executor_set(executor, CAIRN_PARAMETER, k, values));
        free(values);
    }
    outcome out = {.logits = malloc((size_t)MANY * (size_t)cairn_net_classes(net) * sizeof(float))};
    cairn_step step = {indices, BATCH, 1, 0, 0};
    cairn_stats zero = {0};
    assert_non_null(out.logits);
    must(cairn_executor_train_step(executor, &step));
    must(cairn_executor_get_stats(executor, &out.trained));
    must(cairn_executor_set_stats(executor, &zero));
    out.gradient = get_tensor(executor, CAIRN_GRADIENT, 0);
    out.bias = get_tensor(executor, CAIRN_GRADIENT, 1);
    must(cairn_executor_logits(executor, CAIRN_SPLIT_TEST, 0, MANY, out.logits));
    must(cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, 0, MANY / 2));
    must(cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, MANY / 2, MANY - MANY / 2));
    must(cairn_executor_get_stats(executor, &out.evaluated));
    cairn_executor_destroy(executor);
    return out;
}

static void free_outcome(outcome *out) {
    free(out->gradient);
    free(out->bias);
    free(out->logits);
}

/* Guesses near a tie may fall either way in few bits. In float32 none may: the seeds are fixed, and
 * none of their guesses comes near one. */
static bool counts_agree(const outcome *got, const outcome *want, cairn_precision precision) {
    int64_t allowed = precision == CAIRN_FLOAT32 ? 0 : 2;
    return llabs(got->trained.correct - want->trained.correct) <= allowed &&
           llabs(got->evaluated.correct - want->evaluated.correct) <= allowed;
}

static int compare_targets(int classes, double smoothing, uint64_t seed) {
    char ops[32];
    snprintf(ops, sizeof ops, "flat, linear %d", classes);
    cairn_net *net = build_ops(ops, (cairn_shape){3, HIGH, WIDE});
    cairn_split split = random_split(seed, MANY, net->input, classes, false);
    const subject oracle = {reference_backend(), CAIRN_FLOAT64, "reference float64"};
    subject subjects[SUBJECTS_MAX];
    int count = find_subjects(subjects), bad = 0;
    outcome want = compute(&oracle, net, smoothing, seed, &split);
    for (int i = 0; i < count; i++) {
        const subject *s = &subjects[i];
        double allowed = op_tolerance(s->precision);
        outcome got = compute(s, net, smoothing, seed, &split);
        bad += worse(loss_error(&got.trained, &want.trained), allowed, s->name, "loss", classes);
        bad += worse(loss_error(&got.evaluated, &want.evaluated), allowed, s->name, "views' loss",
                     classes);
        bad += worse(relative_error((size_t)classes * PIXELS, got.gradient, want.gradient, 0),
                     allowed, s->name, "gradient", classes);
        bad += worse(relative_error((size_t)classes, got.bias, want.bias, 0), allowed, s->name,
                     "bias gradient", classes);
        bad += worse(relative_error((size_t)MANY * (size_t)classes, got.logits, want.logits, 0),
                     allowed, s->name, "views' logits", classes);
        bad += worse(counts_agree(&got, &want, s->precision) ? 0 : 1, 0, s->name, "right guesses",
                     classes);
        free_outcome(&got);
    }
    free_outcome(&want);
    free_split(&split);
    cairn_net_destroy(net);
    return bad;
}

static void test_mixed_and_smoothed_targets(void **state) {
    (void)state;
    int bad =
        compare_targets(10, 0, 17) + compare_targets(10, 0.1, 18) + compare_targets(33, 0.2, 19);
    assert_int_equal(bad, 0);
}

/* The mean of an image's logits and its mirror image's, by uploading both. */
static void test_flipped_view_is_the_mirror_image(void **state) {
    (void)state;
    subject subjects[SUBJECTS_MAX];
    int count = find_subjects(subjects);
    cairn_net *net = build_ops("flat, linear 10", (cairn_shape){3, HIGH, WIDE});
    cairn_split split = random_split(test_seed(), SAMPLES, net->input, 10, false);
    cairn_split mirror = random_split(test_seed(), SAMPLES, net->input, 10, false);
    for (int i = 0; i < SAMPLES * PIXELS; i++)
        mirror.images[i] = split.images[i / WIDE * WIDE + WIDE - 1 - i % WIDE];
    for (int i = 0; i < count; i++) {
        cairn_executor_options options = cairn_executor_defaults();
        float views[SAMPLES * 10], plain[SAMPLES * 10], mirrored[SAMPLES * 10];
        options.batch = 4;
        options.precision = subjects[i].precision;
        options.tta = CAIRN_TTA_FLIP;
        cairn_executor *executor = create(&subjects[i], net, &options, &split, 5);
        must(cairn_executor_logits(executor, CAIRN_SPLIT_TEST, 0, SAMPLES, views));
        must(cairn_executor_logits(executor, CAIRN_SPLIT_TRAIN, 0, SAMPLES, plain));
        must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &mirror));
        must(cairn_executor_logits(executor, CAIRN_SPLIT_TRAIN, 0, SAMPLES, mirrored));
        for (int k = 0; k < SAMPLES * 10; k++)
            assert_true(views[k] == plain[k] / 2 + mirrored[k] / 2);
        cairn_executor_destroy(executor);
    }
    free_split(&split);
    free_split(&mirror);
    cairn_net_destroy(net);
}

/* Going on --------------------------------------------------------------------------------------*/

static void take_steps(cairn_executor *executor, uint32_t first, uint32_t last, uint64_t seed) {
    for (uint32_t t = first; t < last; t++) {
        int32_t order[MANY];
        cairn_sampler_order(seed, t / 2, MANY, order);
        cairn_step step = {order + t % 2 * 20, 20, t / 2, t, 1e-3};
        must(cairn_executor_train_step(executor, &step));
    }
}

/* Parameters and moments are all that an augmented training leaves from step to step. */
static void test_broken_off_training_goes_on(void **state) {
    (void)state;
    enum { STEPS = 6, BREAK = 3 };
    subject subjects[SUBJECTS_MAX];
    int count = find_subjects(subjects);
    uint64_t seed = test_seed();
    cairn_net *net = build_ops("conv 5 3 1 1, relu, flat, linear 10", (cairn_shape){3, HIGH, WIDE});
    cairn_split split = random_split(seed, MANY, net->input, 10, false);
    for (int i = 0; i < count; i++) {
        cairn_executor_options options = options_of(&cases[CASES - 1], &subjects[i], 20, seed);
        options.label_smoothing = 0.1;
        cairn_executor *whole = create(&subjects[i], net, &options, &split, seed);
        cairn_executor *first = create(&subjects[i], net, &options, &split, seed);
        cairn_executor *second = create(&subjects[i], net, &options, &split, seed + 1);
        take_steps(whole, 0, STEPS, seed);
        take_steps(first, 0, BREAK, seed);
        static const cairn_tensor_kind kinds[] = {CAIRN_PARAMETER, CAIRN_STATE_0, CAIRN_STATE_1};
        for (int k = 0; k < net->parameter_count; k++)
            for (int kind = 0; kind < 3; kind++) {
                float *values = get_tensor(first, kinds[kind], k);
                must(cairn_executor_set(second, kinds[kind], k, values));
                free(values);
            }
        take_steps(second, BREAK, STEPS, seed);
        for (int k = 0; k < net->parameter_count; k++) {
            float *want = get_tensor(whole, CAIRN_PARAMETER, k);
            float *got = get_tensor(second, CAIRN_PARAMETER, k);
            assert_memory_equal(got, want, net->parameter[k].count * sizeof *got);
            free(want);
            free(got);
        }
        cairn_executor_destroy(whole);
        cairn_executor_destroy(first);
        cairn_executor_destroy(second);
    }
    free_split(&split);
    cairn_net_destroy(net);
}

int main(void) {
    if (skip_code())
        return skip_code();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_backend_sees_the_same_bytes),
        cmocka_unit_test(test_mixed_and_smoothed_targets),
        cmocka_unit_test(test_flipped_view_is_the_mirror_image),
        cmocka_unit_test(test_broken_off_training_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
