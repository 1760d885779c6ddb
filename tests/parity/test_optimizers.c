/* Every backend, precision and optimiser against PyTorch: losses, and after some steps parameters,
 * gradients, moments, averages and the evaluation by them. make_optimizers.py says what the fixture
 * holds. Its net has neither ReLU nor pooling, and crop and dropout besides, so every precision
 * meets the tolerances of a single op. And what PyTorch need not be asked: resuming, a rate of 0.
 */
#include "parity.h"

#include "cairn/model.h"
#include "cairn/safetensors.h"

enum { STEPS = 4, CASES_MAX = 32, OVERRIDES_MAX = 16, TEXT_MAX = 512 };

/* The fixture, and what Cairn makes of its seed. */
static struct {
    cairn_safetensors file;
    cairn_net *net;
    cairn_split split;
    cairn_dataset data; /* normalises by 0.5 and 0.5 */
    int batch, samples, case_count;
    uint64_t seed;
    uint32_t epoch; /* of the steps */
    char names[CASES_MAX][64];
} fixture;

static const char *text_of(const char *key) {
    const char *value = cairn_safetensors_metadata(&fixture.file, key);
    if (!value)
        fail_msg("optimizers.safetensors has no metadata '%s'", key);
    return value;
}

static int open_fixture(void **state) {
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/parity/fixtures/optimizers.safetensors", CAIRN_TESTS_DIR);
    must(cairn_safetensors_read(&fixture.file, path));
    cairn_shape input = {atoi(text_of("channels")), atoi(text_of("height")),
                         atoi(text_of("width"))};
    fixture.batch = atoi(text_of("batch"));
    fixture.samples = atoi(text_of("samples"));
    fixture.seed = strtoull(text_of("seed"), NULL, 10);
    assert_int_equal(atoi(text_of("steps")), STEPS);
    fixture.net = build_ops(text_of("ops"), input);
    fixture.split =
        random_split(fixture.seed, fixture.samples, input, cairn_net_classes(fixture.net), false);
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++)
        fixture.data.mean[c] = fixture.data.std[c] = 0.5f;
    const char *cases = text_of("cases");
    for (int used; sscanf(cases, "%63s%n", fixture.names[fixture.case_count], &used) == 1;
         cases += used)
        assert_true(++fixture.case_count < CASES_MAX);
    return 0;
}

static int close_fixture(void **state) {
    (void)state;
    free_split(&fixture.split);
    cairn_net_destroy(fixture.net);
    cairn_safetensors_free(&fixture.file);
    return 0;
}

/* What the case's overrides make of the configuration, and that of the net's groups. */
static cairn_config configure(const char *name) {
    char base[256], text[TEXT_MAX];
    const char *overrides[OVERRIDES_MAX];
    size_t count = 0;
    cairn_config config;
    snprintf(base, sizeof base,
             "seed: %llu\ndata: {dir: none, crop_padding: %s}\n"
             "train: {epochs: 1, batch_size: %d, lr: 1, threads: 2}\nrun: {name: r}\n",
             (unsigned long long)fixture.seed, text_of("padding"), fixture.batch);
    snprintf(text, sizeof text, "%s", text_of(name));
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        assert_true(count < OVERRIDES_MAX);
        overrides[count++] = word;
    }
    must(cairn_config_parse(&config, base, strlen(base), "base", overrides, count));
    cairn_net_configure_groups(fixture.net, &config);
    if (fixture.net->op[0].bias >= 0) /* as if the convolution's bias were a normalisation's */
        fixture.net->parameter[1].group.lr_scale = config.optimizer.norm_bias_scale;
    return config;
}

static cairn_executor *make(const cairn_config *config, const subject *s) {
    cairn_executor_options options = cairn_executor_configure(config, &fixture.data);
    cairn_executor *executor = NULL;
    options.precision = s->precision;
    must(cairn_executor_create(&executor, s->backend, fixture.net, &options));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &fixture.split));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TEST, &fixture.split));
    must(cairn_executor_initialise(executor, fixture.seed));
    return executor;
}

/* Steps first..last-1, the second smaller; returns the last one's mean loss. */
static float train(cairn_executor *executor, const cairn_config *config, uint32_t first,
                   uint32_t last, double lr) {
    int full = fixture.batch * (int)config->train.accumulate;
    int32_t *indices = malloc((size_t)full * sizeof *indices);
    assert_non_null(indices);
    cairn_stats stats = {0};
    for (uint32_t t = first; t < last; t++) {
        const cairn_stats zero = {0};
        for (int n = 0; n < full; n++)
            indices[n] = (int32_t)cairn_rng_below(random_word(fixture.seed, 2 + t, (uint64_t)n),
                                                  (uint32_t)fixture.samples);
        cairn_step step = {indices, t == 1 ? 2 * full / 3 : full, fixture.epoch, t, lr / (1 + t)};
        must(cairn_executor_set_stats(executor, &zero));
        must(cairn_executor_train_step(executor, &step));
    }
    must(cairn_executor_get_stats(executor, &stats));
    free(indices);
    return (float)(stats.loss / (double)stats.seen);
}

/* With PyTorch -----------------------------------------------------------------------------------
 */

static int differs(const subject *s, const char *of, const char *kind, const char *parameter,
                   size_t count, const float *values, double tolerance) {
    char name[192];
    snprintf(name, sizeof name, "%s/%s%s%s", of, kind, *parameter ? "." : "", parameter);
    const cairn_tensor *want = cairn_safetensors_find(&fixture.file, name);
    if (!want || want->count != count)
        fail_msg("the fixture's %s has another size", name);
    double error = relative_error(count, values, want->values, 0);
    if (error <= tolerance)
        return 0;
    print_error("%s: %s: relative error %.3g, tolerance %.1g\n", s->name, name, error, tolerance);
    return 1;
}

static int compare_tensors(const subject *s, const char *of, cairn_executor *executor,
                           double tolerance) {
    static const char *const kinds[] = {"parameter", "gradient", "first", "second", "average"};
    int bad = 0;
    for (int kind = 0; kind < CAIRN_TENSOR_KINDS; kind++)
        for (int k = 0; k < fixture.net->parameter_count; k++) {
            const cairn_parameter *parameter = &fixture.net->parameter[k];
            char name[192];
            snprintf(name, sizeof name, "%s/%s.%s", of, kinds[kind], parameter->name);
            bool kept =
                cairn_optimizer_keeps(&executor->options.optimizer, (cairn_tensor_kind)kind);
            assert_int_equal(kept, cairn_safetensors_find(&fixture.file, name) != NULL);
            if (!kept)
                continue;
            float *values = get_tensor(executor, (cairn_tensor_kind)kind, k);
            bad += differs(s, of, kinds[kind], parameter->name, parameter->count, values,
                           kind == CAIRN_STATE_1 ? 2 * tolerance : tolerance);
            free(values);
        }
    return bad;
}

static int compare(const char *of, const subject *s) {
    cairn_config config = configure(of);
    cairn_executor *executor = make(&config, s);
    double tolerance = op_tolerance(s->precision);
    cairn_stats stats = {0};
    float losses[STEPS], loss;
    for (uint32_t t = 0; t < STEPS; t++)
        losses[t] = train(executor, &config, t, t + 1, config.train.lr);
    int bad = differs(s, of, "losses", "", STEPS, losses, tolerance) +
              compare_tensors(s, of, executor, tolerance);
    must(cairn_executor_use_average(executor, true));
    must(cairn_executor_set_stats(executor, &stats));
    must(cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, 0, fixture.samples));
    must(cairn_executor_get_stats(executor, &stats));
    loss = (float)stats.loss;
    bad += differs(s, of, "eval_loss", "", 1, &loss, tolerance);
    cairn_executor_destroy(executor);
    return bad;
}

/* Everything that can compute here, `reference` in float64 too. */
static int all_subjects(subject *subjects) {
    int count = find_subjects(subjects);
    if (!getenv("CAIRN_TEST_BACKEND"))
        subjects[count++] = (subject){reference_backend(), CAIRN_FLOAT64, "reference float64"};
    return count;
}

static void test_every_backend_on_every_case(void **state) {
    (void)state;
    subject subjects[SUBJECTS_MAX];
    int count = all_subjects(subjects), bad = 0;
    for (int i = 0; i < fixture.case_count; i++)
        for (int k = 0; k < count; k++)
            bad += compare(fixture.names[i], &subjects[k]);
    assert_int_equal(bad, 0);
}

static void test_every_optimizer_has_a_case(void **state) {
    (void)state;
    for (const cairn_choice *choice = cairn_optimizer_choices; choice->text; choice++) {
        bool found = false;
        for (int i = 0; i < fixture.case_count && !found; i++)
            found = (int)configure(fixture.names[i]).optimizer.name == choice->value;
        if (!found)
            fail_msg("the fixture has no case of %s", choice->text);
    }
}

/* Without ----------------------------------------------------------------------------------------
 */

static void assert_same_tensors(cairn_executor *a, cairn_executor *b, cairn_tensor_kind kind) {
    for (int k = 0; k < fixture.net->parameter_count; k++) {
        float *one = get_tensor(a, kind, k), *other = get_tensor(b, kind, k);
        assert_memory_equal(one, other, fixture.net->parameter[k].count * sizeof *one);
        free(one);
        free(other);
    }
}

/* What a checkpoint carries is all that the rest of a training needs: the same bytes. */
static void test_resumed_is_unbroken(void **state) {
    (void)state;
    subject subjects[SUBJECTS_MAX];
    static const char *const cases[] = {"adam_all", "sgd_all", "lion_all"};
    int count = all_subjects(subjects);
    for (int i = 0; i < 3 * count; i++) {
        cairn_config config = configure(cases[i % 3]);
        cairn_executor *unbroken = make(&config, &subjects[i / 3]);
        cairn_executor *resumed = make(&config, &subjects[i / 3]);
        train(unbroken, &config, 0, 2, config.train.lr);
        for (int kind = 0; kind < CAIRN_TENSOR_KINDS; kind++)
            for (int k = 0; k < fixture.net->parameter_count; k++)
                if (cairn_optimizer_keeps(&unbroken->options.optimizer, (cairn_tensor_kind)kind)) {
                    float *values = get_tensor(unbroken, (cairn_tensor_kind)kind, k);
                    must(cairn_executor_set(resumed, (cairn_tensor_kind)kind, k, values));
                    free(values);
                }
        /* An evaluation in between moves nothing. */
        must(cairn_executor_use_average(unbroken, true));
        must(cairn_executor_evaluate(unbroken, CAIRN_SPLIT_TEST, 0, fixture.samples));
        must(cairn_executor_use_average(unbroken, false));
        train(unbroken, &config, 2, STEPS, config.train.lr);
        train(resumed, &config, 2, STEPS, config.train.lr);
        for (int kind = 0; kind < CAIRN_TENSOR_KINDS; kind++)
            if (cairn_optimizer_keeps(&unbroken->options.optimizer, (cairn_tensor_kind)kind))
                assert_same_tensors(unbroken, resumed, (cairn_tensor_kind)kind);
        cairn_executor_destroy(unbroken);
        cairn_executor_destroy(resumed);
    }
}

static void test_a_rate_of_0_moves_nothing(void **state) {
    (void)state;
    subject subjects[SUBJECTS_MAX];
    int count = all_subjects(subjects);
    for (int i = 0; i < fixture.case_count; i++)
        for (int k = 0; k < count; k++) {
            cairn_config config = configure(fixture.names[i]);
            cairn_executor *moved = make(&config, &subjects[k]);
            cairn_executor *fresh = make(&config, &subjects[k]);
            train(moved, &config, 0, 2, 0);
            assert_same_tensors(moved, fresh, CAIRN_PARAMETER);
            cairn_executor_destroy(moved);
            cairn_executor_destroy(fresh);
        }
}

/* Frozen weights and running statistics are no business of the optimiser's: not decayed, not in the
 * norm; their average is what they are. */
static void test_what_is_not_trained_is_left_alone(void **state) {
    (void)state;
    subject subjects[SUBJECTS_MAX];
    int count = all_subjects(subjects), bad = 0;
    cairn_net *plain = fixture.net;
    cairn_config config = configure("adam_all");
    const subject exact = {reference_backend(), CAIRN_FLOAT64, "reference float64"};
    fixture.net = build_ops("conv 4 3 1 1, norm, flat, linear 5", plain->input);
    fixture.net->parameter[0].group.frozen = true;
    cairn_net_configure_groups(fixture.net, &config);
    cairn_executor *want = make(&config, &exact);
    train(want, &config, 0, STEPS, config.train.lr);
    for (int i = 0; i < count; i++) {
        cairn_executor *fresh = make(&config, &subjects[i]), *got = make(&config, &subjects[i]);
        train(got, &config, 0, STEPS, config.train.lr);
        for (int k = 0; k < fixture.net->parameter_count; k++) {
            const cairn_parameter *parameter = &fixture.net->parameter[k];
            float *before = get_tensor(fresh, CAIRN_PARAMETER, k);
            float *after = get_tensor(got, CAIRN_PARAMETER, k);
            float *average = get_tensor(got, CAIRN_AVERAGE, k);
            float *right = get_tensor(want, CAIRN_PARAMETER, k);
            size_t bytes = parameter->count * sizeof(float);
            assert_int_equal(memcmp(before, after, bytes) == 0, k == 0);
            assert_int_equal(memcmp(average, after, bytes) == 0, parameter->group.frozen);
            double error = relative_error(parameter->count, after, right, 0.1);
            if (!(error <= 4 * op_tolerance(subjects[i].precision)))
                bad++, print_error("%s: %s: relative error %.3g\n", subjects[i].name,
                                   parameter->name, error);
            free(before);
            free(after);
            free(average);
            free(right);
        }
        cairn_executor_destroy(fresh);
        cairn_executor_destroy(got);
    }
    cairn_executor_destroy(want);
    cairn_net_destroy(fixture.net);
    fixture.net = plain;
    assert_int_equal(bad, 0);
}

/* What is early moves in the first epochs and then stands still, moments too; so for a convolution
 * whose weight is frozen, behind which nothing is left to do then. A clipped norm leaves it out. */
static void test_early_parameters_stand_still_later(void **state) {
    (void)state;
    subject subjects[SUBJECTS_MAX];
    int count = all_subjects(subjects), bad = 0;
    cairn_net *plain = fixture.net;
    cairn_config config = configure("sgd_all");
    const subject exact = {reference_backend(), CAIRN_FLOAT64, "reference float64"};
    fixture.net = build_ops("conv 12 2 1 0, gelu, conv 4 3 1 1, flat, linear 5", plain->input);
    cairn_net_configure_groups(fixture.net, &config);
    fixture.net->parameter[0].group.frozen = true;
    fixture.net->parameter[1].group.trained_until_epoch = 1;
    cairn_executor *want = make(&config, &exact);
    for (int i = -1; i < count; i++) {
        cairn_executor *got = i < 0 ? want : make(&config, &subjects[i]);
        float *last = NULL, *last_moment = NULL;
        for (uint32_t t = 0; t < STEPS; t++) {
            fixture.epoch = t / 2;
            train(got, &config, t, t + 1, config.train.lr);
            float *bias = get_tensor(got, CAIRN_PARAMETER, 1);
            float *moment = get_tensor(got, CAIRN_STATE_0, 1);
            if (t > 0) {
                assert_int_equal(memcmp(bias, last, 12 * sizeof *bias) == 0, t >= 2);
                assert_int_equal(memcmp(moment, last_moment, 12 * sizeof *bias) == 0, t >= 2);
            }
            free(last);
            free(last_moment);
            last = bias;
            last_moment = moment;
        }
        free(last);
        free(last_moment);
        for (int k = 0; k < fixture.net->parameter_count && i >= 0; k++) {
            float *after = get_tensor(got, CAIRN_PARAMETER, k);
            float *right = get_tensor(want, CAIRN_PARAMETER, k);
            double error = relative_error(fixture.net->parameter[k].count, after, right, 0.1);
            if (!(error <= 4 * op_tolerance(subjects[i].precision)))
                bad++, print_error("%s: %s: relative error %.3g\n", subjects[i].name,
                                   fixture.net->parameter[k].name, error);
            free(after);
            free(right);
        }
        if (i >= 0)
            cairn_executor_destroy(got);
    }
    fixture.epoch = 0;
    cairn_executor_destroy(want);
    cairn_net_destroy(fixture.net);
    fixture.net = plain;
    assert_int_equal(bad, 0);
}

static void test_misuse_is_refused(void **state) {
    (void)state;
    subject subjects[SUBJECTS_MAX];
    int count = all_subjects(subjects);
    for (int k = 0; k < count; k++) {
        float values[1024];
        int32_t indices[64] = {0};
        cairn_config config = configure("average"); /* SGD without momentum */
        cairn_executor *executor = make(&config, &subjects[k]);
        cairn_step step = {indices, fixture.batch, 0, 0, 0.1};
        assert_int_equal(cairn_executor_get(executor, CAIRN_STATE_0, 0, values), CAIRN_FAILED);
        assert_int_equal(cairn_executor_set(executor, CAIRN_STATE_1, 0, values), CAIRN_FAILED);
        must(cairn_executor_use_average(executor, true));
        assert_int_equal(cairn_executor_train_step(executor, &step), CAIRN_FAILED);
        must(cairn_executor_use_average(executor, false));
        must(cairn_executor_train_step(executor, &step));
        step.count = fixture.batch + 1;
        assert_int_equal(cairn_executor_train_step(executor, &step), CAIRN_FAILED);
        cairn_executor_destroy(executor);
    }
}

int main(void) {
    if (skip_code())
        return skip_code();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_backend_on_every_case),
        cmocka_unit_test(test_every_optimizer_has_a_case),
        cmocka_unit_test(test_resumed_is_unbroken),
        cmocka_unit_test(test_a_rate_of_0_moves_nothing),
        cmocka_unit_test(test_what_is_not_trained_is_left_alone),
        cmocka_unit_test(test_early_parameters_stand_still_later),
        cmocka_unit_test(test_misuse_is_refused),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
