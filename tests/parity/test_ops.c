/* Every op and common chains of them, on every backend and precision, against `reference` in
 * float64: logits, loss, gradients, Adam's moments and the parameters after a step.
 *
 * ReLU and max-pooling decide by comparing, and near a tie rounding decides differently in another
 * precision, which moves a gradient far more than its rounding error. So that passing is not luck,
 * the inputs are -1 and 1 and the weights multiples of 1/4: the values compared are then exact sums
 * in every precision, ties are true ties, common, and fall to the op's definition. For the same
 * reason the first two of the three steps have rate 0: they fill the moments and leave the weights
 * where they are; the third moves them.
 *
 * A gradient can cancel to nothing but rounding, and then has no relative error to speak of. Where
 * the seed is a fresh one, errors are therefore measured against what was added up (magnitudes.h).
 * Elsewhere, as an op's weight and bias sum the same terms, each is measured against the larger
 * root mean square of the two; and nets end in enough classes for no unit to feed all of them
 * alike.
 *
 * Where softmax is nearly sure, its gradient is off by the share of itself by which the logits are
 * off absolutely. So the last layer's weights are smaller, by a power of two, which keeps sums
 * exact, and logits are of the size of 1.
 */
#include "magnitudes.h"
#include "parity.h"

enum { STEPS = 3, HIGH = 6, WIDE = 5 };
enum { FIRST = CAIRN_STATE_0, SECOND = CAIRN_STATE_1 };
static const double RATE = 1e-3; /* of the last step */

typedef struct {
    const char *ops; /* "conv 5 3 1 1, relu, pool 2 2": see build_ops */
    int channels;    /* of the input */
    bool large;      /* in small batches there is little spread to normalise by */
} net_case;

/* What one executor computed. tensor[kind][parameter]: gradient after the first step, the others
 * after the last; and the magnitude of each element, where `reference` was asked for them. */
typedef struct {
    float *logits;
    size_t logit_count;
    cairn_stats evaluated, trained;
    float *tensor[4][CAIRN_NET_PARAMETERS_MAX];
    double *magnitude[4][CAIRN_NET_PARAMETERS_MAX];
} outcome;

/* Quarters have a variance of 1/8, so every layer makes values sqrt(fan_in / 8) times as large; a
 * normalisation, or the last layer, takes that back. */
static void set_layers(cairn_executor *executor, uint64_t seed) {
    const cairn_net *net = executor->net;
    double size = 1;
    int last = -1;
    set_weights(executor, seed);
    for (int i = 0; i < net->op_count; i++)
        if (net->op[i].kind == CAIRN_OP_BATCHNORM) {
            size = 1;
        } else if (net->op[i].weight >= 0) {
            const cairn_parameter *weight = &net->parameter[net->op[i].weight];
            size *= sqrt((double)weight->count / weight->dim[0] / 8);
            last = i;
        }
    if (last < 0 || size <= 1)
        return;
    const int layer[] = {net->op[last].weight, net->op[last].bias};
    for (int k = 0; k < 2 && layer[k] >= 0; k++) {
        float *values = get_tensor(executor, CAIRN_PARAMETER, layer[k]);
        for (size_t i = 0; i < net->parameter[layer[k]].count; i++)
            values[i] = ldexpf(values[i], -(int)lround(log2(size)));
        must(cairn_executor_set(executor, CAIRN_PARAMETER, layer[k], values));
        free(values);
    }
}

static double *zeros(size_t count) {
    double *made = calloc(count, sizeof *made);
    assert_non_null(made);
    return made;
}

/* Before a step: adds its gradients' magnitudes to those of the moments, weighted as the gradients
 * are. */
static void add_magnitudes(cairn_executor *executor, const cairn_step *step, outcome *out) {
    const cairn_net *net = executor->net;
    const cairn_optimizer *adam = &executor->options.optimizer;
    double *gradient[CAIRN_NET_PARAMETERS_MAX];
    for (int k = 0; k < net->parameter_count; k++)
        gradient[k] = zeros(net->parameter[k].count);
    magnitudes_of_step(executor, step, gradient);
    for (int k = 0; k < net->parameter_count; k++) {
        size_t count = net->parameter[k].count;
        for (int kind = 0; kind < 4 && step->step == 0; kind++)
            out->magnitude[kind][k] = zeros(count);
        double *m = out->magnitude[FIRST][k], *v = out->magnitude[SECOND][k];
        for (size_t i = 0; i < count; i++) {
            double g = gradient[k][i];
            m[i] = adam->beta1 * m[i] + (1 - adam->beta1) * g;
            v[i] = adam->beta2 * v[i] + (1 - adam->beta2) * g * g;
        }
        if (step->step == 0)
            memcpy(out->magnitude[CAIRN_GRADIENT][k], gradient[k], count * sizeof *gradient[k]);
        free(gradient[k]);
    }
}

/* After the last step: of a parameter, its own and that of what was taken off, which is off by what
 * each of the moments is. */
static void add_parameter_magnitudes(const cairn_executor *executor, double lr, outcome *out) {
    const cairn_net *net = executor->net;
    const cairn_optimizer *adam = &executor->options.optimizer;
    const double m_share = 1 - pow(adam->beta1, STEPS), v_share = 1 - pow(adam->beta2, STEPS);
    for (int k = 0; k < net->parameter_count; k++)
        for (size_t i = 0; i < net->parameter[k].count; i++) {
            double root = sqrt((double)out->tensor[SECOND][k][i] / v_share);
            double step = lr * out->magnitude[FIRST][k][i] / m_share / (root + adam->epsilon);
            out->magnitude[CAIRN_PARAMETER][k][i] =
                fabs((double)out->tensor[CAIRN_PARAMETER][k][i]) + 3 * step;
        }
}

/* With magnitudes, in `reference`. */
static outcome compute(const cairn_net *net, const cairn_backend *backend,
                       cairn_precision precision, int batch, uint64_t seed, bool magnitudes) {
    cairn_executor_options options = cairn_executor_defaults();
    options.batch = batch;
    options.precision = precision;
    options.threads = 2;
    options.seed = seed;
    options.crop_padding = 1;
    options.optimizer.epsilon = 1e-3; /* Adam does not blow a vanishing gradient's rounding up */
    for (int c = 0; c < CAIRN_CHANNELS_MAX; c++)
        options.mean[c] = options.std[c] = 0.5f;
    outcome out = {0};
    int classes = cairn_net_classes(net), count = batch + (batch + 1) / 2;
    cairn_split split = random_split(seed, count, net->input, classes, true);
    int32_t *indices = malloc((size_t)batch * sizeof *indices);
    cairn_executor *executor = NULL;
    must(magnitudes ? magnitudes_executor(&executor, net, &options)
                    : cairn_executor_create(&executor, backend, net, &options));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &split));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TEST, &split));
    set_layers(executor, seed);

    out.logit_count = (size_t)count * (size_t)classes;
    out.logits = malloc(out.logit_count * sizeof *out.logits);
    assert_true(indices && out.logits);
    must(cairn_executor_evaluate(executor, CAIRN_SPLIT_TEST, 0, count));
    must(cairn_executor_get_stats(executor, &out.evaluated));
    must(cairn_executor_set_stats(executor, &out.trained));
    must(cairn_executor_logits(executor, CAIRN_SPLIT_TEST, 0, count, out.logits));

    for (uint32_t t = 0; t < STEPS; t++) {
        for (int n = 0; n < batch; n++)
            indices[n] =
                (int32_t)cairn_rng_below(random_word(seed, 2 + t, (uint64_t)n), (uint32_t)count);
        cairn_step step = {indices, t == 1 ? (batch + 1) / 2 : batch, 0, t,
                           t == STEPS - 1 ? RATE : 0};
        if (magnitudes)
            add_magnitudes(executor, &step, &out);
        must(cairn_executor_train_step(executor, &step));
        for (int k = 0; k < net->parameter_count && t == 0; k++)
            out.tensor[CAIRN_GRADIENT][k] = get_tensor(executor, CAIRN_GRADIENT, k);
    }
    must(cairn_executor_get_stats(executor, &out.trained));
    for (int k = 0; k < net->parameter_count; k++) {
        out.tensor[CAIRN_PARAMETER][k] = get_tensor(executor, CAIRN_PARAMETER, k);
        out.tensor[CAIRN_STATE_0][k] = get_tensor(executor, CAIRN_STATE_0, k);
        out.tensor[CAIRN_STATE_1][k] = get_tensor(executor, CAIRN_STATE_1, k);
    }
    if (magnitudes)
        add_parameter_magnitudes(executor, RATE, &out);
    cairn_executor_destroy(executor);
    free(indices);
    free_split(&split);
    return out;
}

static void free_outcome(outcome *out) {
    free(out->logits);
    for (int kind = 0; kind < 4; kind++)
        for (int k = 0; k < CAIRN_NET_PARAMETERS_MAX; k++) {
            free(out->tensor[kind][k]);
            free(out->magnitude[kind][k]);
        }
}

/* One comparison; NaN fails it. Keeps the largest share of a tolerance that was used. */
static double largest_share;

static int worse(double error, double tolerance, const char *who, const net_case *given, int batch,
                 const char *what) {
    if (error <= tolerance) {
        largest_share = fmax(largest_share, error / tolerance);
        return 0;
    }
    print_error("%s: %d channels, %s, batch %d: %s: error %.3g, tolerance %.1g\n", who,
                given->channels, given->ops, batch, what, error, tolerance);
    return 1;
}

static double root_mean_square(const cairn_net *net, float *const *tensor, int ordinal) {
    double squares = 0;
    for (size_t i = 0; i < net->parameter[ordinal].count; i++)
        squares += (double)tensor[ordinal][i] * (double)tensor[ordinal][i];
    return sqrt(squares / (double)net->parameter[ordinal].count);
}

/* The op's bias for its weight and the other way round; where there is none, the same again. */
static int partner_of(const cairn_net *net, int parameter) {
    const cairn_op *op = owner_of(net, parameter);
    int partner = parameter == op->weight ? op->bias : parameter == op->bias ? op->weight : -1;
    return partner < 0 ? parameter : partner;
}

/* |got - want| / |magnitude| in the Euclidean norm; NaN when either holds one. */
static double share_of_magnitude(size_t count, const float *got, const float *want,
                                 const double *magnitude) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)got[i] - (double)want[i];
        difference += d * d;
        size += magnitude[i] * magnitude[i];
    }
    return difference == 0 ? 0 : sqrt(difference / size);
}

/* What a chain's rounding may come to, as a share of that: a few units of the last place, of which
 * float32, whose products are exact enough, has some more for long sums. */
static double magnitude_tolerance(cairn_precision precision) {
    return precision == CAIRN_BF16 ? 8 * 0x1p-9 : precision == CAIRN_TF32 ? 8 * 0x1p-11 : 0x1p-20;
}

static double tensor_error(const cairn_net *net, const outcome *got, const outcome *want, int kind,
                           int k) {
    size_t count = net->parameter[k].count;
    const float *a = got->tensor[kind][k], *b = want->tensor[kind][k];
    if (want->magnitude[kind][k])
        return share_of_magnitude(count, a, b, want->magnitude[kind][k]);
    return relative_error(count, a, b,
                          root_mean_square(net, want->tensor[kind], partner_of(net, k)));
}

static int compare(const cairn_net *net, const outcome *got, const outcome *want, const subject *s,
                   const net_case *given, int batch) {
    static const char *const kinds[] = {"parameter", "gradient", "exp_avg", "exp_avg_sq"};
    double tolerance = op_tolerance(s->precision);
    int bad = worse(relative_error(got->logit_count, got->logits, want->logits, 0), tolerance,
                    s->name, given, batch, "logits");
    bad += worse(loss_error(&got->evaluated, &want->evaluated), tolerance, s->name, given, batch,
                 "evaluated loss");
    bad += worse(loss_error(&got->trained, &want->trained), tolerance, s->name, given, batch,
                 "trained loss");
    for (int kind = 0; kind < 4; kind++)
        for (int k = 0; k < net->parameter_count; k++) {
            char what[96];
            snprintf(what, sizeof what, "%s of %s", kinds[kind], net->parameter[k].name);
            /* Squares double a relative error. */
            double allowed =
                want->magnitude[kind][k] ? magnitude_tolerance(s->precision) : tolerance;
            bad += worse(tensor_error(net, got, want, kind, k),
                         kind == SECOND ? 2 * allowed : allowed, s->name, given, batch, what);
        }
    return bad;
}

static const net_case exact[] = {
    {"conv 5 3 1 1", 3, false},
    {"conv 5 1 1 0", 3, false},
    {"conv 17 1 2 0", 5, false},
    {"conv 3 3 1 0", 17, false},
    {"conv 5 3 2 1", 1, false},
    {"conv 17 3 2 0", 3, false},
    {"conv 3 3 1 2", 5, false},
    {"conv 5 5 1 2", 3, false},
    {"conv 2 5 2 1", 17, false},
    {"conv 5 2 1 0", 3, false},
    {"conv 1 3 1 1, flat, linear 17", 5, false},
    {"conv 8 3 1 1", 16, false},
    {"conv 5 3 1 1, conv 3 3 1 1", 3, false},
    /* By Winograd's method on cpu, with tiles that reach over every edge. */
    {"conv 16 3 1 1", 16, false},
    {"conv 32 3 1 0", 16, false},
    {"convn 16 3 1 2", 48, false},
    {"conv 40 3 1 1", 24, false},
    {"conv 13 3 1 1", 30, false},
    /* Convolution, ReLU and pooling in one pass on cpu, with windows that leave a row or column. */
    {"conv 16 3 1 1, relu, pool 2 2", 3, false},
    {"conv 48 3 1 0, relu, pool 2 2, flat, linear 10", 1, false},
    {"convn 40 3 1 2, relu, pool 2 2", 4, false},
    /* Only the bias learns, or nothing. */
    {"conv 5 3 1 1, frozen", 3, false},
    {"conv 16 3 1 1, frozen, relu, pool 2 2, flat, linear 10", 3, false},
    {"convn 16 3 1 1, frozen, relu, pool 2 2, flat, linear 10", 3, false},
    {"flat, linear 17, frozen, relu, linear 10", 3, false},
    {"conv 17 1 1 0, conv 5 5 2 2", 1, false},
    {"conv 3 3 2 1, conv 17 3 1 0", 5, false},
    {"relu", 3, false},
    {"pool 2 2", 3, false},
    {"flat", 5, false},
    {"drop 50", 3, false},
    {"conv 5 3 1 1, relu", 3, false},
    {"conv 5 3 1 1, pool 2 2", 3, false},
    {"conv 5 3 1 1, drop 25", 3, false},
    {"conv 17 3 1 1, relu, pool 2 2", 3, false},
    {"conv 17 3 1 1, pool 2 2, relu", 1, false},
    {"conv 5 3 1 1, relu, pool 3 2", 17, false},
    {"conv 3 3 1 1, pool 3 1, relu", 5, false},
    {"conv 5 3 1 1, pool 3 1", 3, false},
    {"conv 5 3 1 1, relu, pool 2 2, flat, linear 10", 3, false},
    /* A second convolution of 3x3 may be a Winograd one, whose sums are not exact: ties would break
     * by rounding. test_trajectories covers those. */
    {"conv 3 3 1 1, relu, conv 5 5 1 2, pool 2 2", 1, false},
    {"conv 3 3 1 1, relu, flat, relu, linear 10", 3, false},
    {"pool 2 2, conv 5 1 1 0", 3, false},
    {"flat, linear 10", 3, false},
    {"flat, linear 1", 5, false},
    {"flat, linear 10, scale 9", 3, false},
    {"pool 3 3, flat, linearn 10, scale 4", 3, false},
    {"flat, linear 5, linear 17", 5, false},
    {"flat, linear 17, relu, linear 10", 3, false},
    {"flat, linear 17, drop 50, linear 10", 1, false},
    {"flat, linear 8, relu, drop 20, linear 10", 3, false},
    {"relu, flat, drop 50, linear 10", 3, false},
    {"conv 8 3 1 1, relu, at -1, convn 8 1 1 0, add 1, relu, flat, linear 10", 3, false},
};

/* Normalised values are no exact sums: these take a fixed seed, of which it is known that nothing
 * which is compared comes near a tie. */
static const net_case normalised[] = {
    {"norm", 3, false},
    {"norm, relu", 1, false},
    {"convn 5 3 1 1, norm", 3, false},
    {"conv 17 3 1 1, norm, relu", 3, false},
    {"convn 8 1 1 0, norm, gelu, convn 16 3 2 1, norm, avg 2 1", 16, false},
    {"convn 3 3 1 1, norm, relu, pool 2 2, flat, linearn 10", 3, false},
    {"gelu", 3, false},
    {"silu", 3, false},
    {"conv 5 3 1 1, silu, pool 2 2", 3, false},
    {"convn 16 3 1 1, norm, silu, convn 16 3 1 1, norm, add 2, silu, flat, linear 10", 3, true},
    {"conv 16 2 1 0, silu, conv 16 3 1 0, relu, silu, flat, linear 9, silu", 3, false},
    {"conv 5 3 1 1, gelu, pool 2 2", 3, false},
    {"avg 2 2", 3, false},
    {"conv 5 3 1 1, relu, avg 5 1, flat, linear 10", 3, false},
    {"convn 5 3 1 1, avg 3 2", 17, false},
    {"flat, linearn 17, norm, gelu, linearn 10", 3, true},
    {"conv 24 2 1 0, gelu, convn 16 3 1 1, norm, gelu, flat, linearn 10, scale 9", 3, true},
    {"convn 16 3 1 1, pool 2 2, norm, gelu, convn 8 3 1 1, norm, gelu", 3, true},
    /* Branches: both sides of a sum, three readers, the net's input as one, dead ends. */
    {"add -1", 3, false},
    {"conv 3 3 1 1, add -1", 3, false},
    {"convn 16 3 1 1, norm, gelu, convn 16 3 1 1, norm, add 2, gelu, flat, linear 10", 3, false},
    {"norm, convn 3 3 1 1, add -1, gelu, convn 3 1 1 0, add 3", 3, false},
    {"convn 5 3 1 1, gelu, convn 5 3 1 1, add 1", 3, false},
    {"convn 5 3 1 1, norm, at -1, convn 5 1 1 0, norm, add 1, gelu", 3, false},
    {"conv 5 3 1 1, relu, convn 5 1 1 0, add 1, add 1, gelu, add 1", 3, false},
    {"convn 8 3 1 1, norm, gelu, convn 8 3 2 1, norm, gelu, convn 8 3 1 1, norm, at 2, "
     "convn 8 1 2 0, norm, add 7, gelu, avg 3 3, flat, linear 10",
     3, true},
    {"conv 5 3 1 1, relu, pool 2 2, at 0, pool 2 2, add 2, flat, linear 10", 3, false},
    {"conv 5 3 1 1, relu, at 0, gelu, flat, linear 10", 3, false},
    {"flat, linear 8, add 1, drop 20, add 1, linear 10", 3, false},
    {"flat, linear 8, gelu, linear 8, add 2, norm, linear 10", 3, true},
    /* Winograd's method with what goes behind it; with a ReLU test_trajectories has it. */
    {"convn 24 3 1 1, norm, gelu, conv 20 3 1 1, gelu, conv 16 3 1 1, gelu", 12, true},
    {"conv 16 3 1 1, gelu, conv 32 3 1 0, gelu, avg 2 2, flat, linear 10", 16, false},
    {"convn 16 3 1 1, norm, gelu, convn 16 3 1 1, norm, add 2, gelu, avg 5 1, flat, linear 10", 16,
     true},
};

/* Winograd's method with pooling: its sums are not exact, so of values that are near each other
 * bf16 takes another for the largest. With the same fixed seed. */
static const net_case compared[] = {
    {"conv 17 2 1 0, gelu, conv 24 3 1 1, pool 2 2, flat, linear 10", 3, false},
    {"conv 16 2 1 0, gelu, conv 16 3 1 0, relu, pool 2 2, flat, linear 10", 3, false},
    {"conv 16 2 1 0, gelu, convn 40 3 1 2, relu, pool 2 2, gelu", 1, false},
    {"conv 16 2 1 0, gelu, conv 24 3 1 1, frozen, relu, pool 2 2, flat, linear 10", 3, false},
};

static void check_cases(const net_case *cases, size_t count, uint64_t seed, bool bf16,
                        bool magnitudes) {
    static const int batches[] = {1, 3, 127};
    subject subjects[SUBJECTS_MAX];
    int subject_count = find_subjects(subjects), bad = 0;
    for (int i = 0; i < subject_count; i++)
        print_message("reference float64 against %s\n", subjects[i].name);
    for (size_t c = 0; c < count; c++) {
        cairn_net *net = build_ops(cases[c].ops, (cairn_shape){cases[c].channels, HIGH, WIDE});
        for (int b = cases[c].large ? 2 : 0; b < 3; b++, seed++) {
            outcome want =
                compute(net, reference_backend(), CAIRN_FLOAT64, batches[b], seed, magnitudes);
            for (int i = 0; i < subject_count; i++) {
                if (subjects[i].precision == CAIRN_BF16 && !bf16)
                    continue;
                outcome got = compute(net, subjects[i].backend, subjects[i].precision, batches[b],
                                      seed, false);
                bad += compare(net, &got, &want, &subjects[i], &cases[c], batches[b]);
                free_outcome(&got);
            }
            free_outcome(&want);
        }
        cairn_net_destroy(net);
    }
    print_message("errors: up to %.2f of what is allowed\n", largest_share);
    assert_true(subject_count > 0);
    assert_int_equal(bad, 0);
}

static void test_every_backend_on_every_op(void **state) {
    (void)state;
    check_cases(exact, sizeof exact / sizeof exact[0], test_seed(), true, true);
}

static void test_every_backend_on_norms_and_branches(void **state) {
    (void)state;
    check_cases(normalised, sizeof normalised / sizeof normalised[0], 6, true, false);
    check_cases(compared, sizeof compared / sizeof compared[0], 6, false, false);
}

int main(void) {
    if (skip_code())
        return skip_code();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_backend_on_every_op),
        cmocka_unit_test(test_every_backend_on_norms_and_branches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
