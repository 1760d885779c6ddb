/* The kernels that close a step: cross-entropy, bias gradients, conversion. Each is compared with
 * its formula in double. */
#include "tensors.h"

/* Cross-entropy -----------------------------------------------------------------------------------
 */
typedef struct {
    int count, classes, pitch;
    cuda_type type;
} loss_case;

/* Logits of every kind: ordinary, sure (the others far below), tied, and in the last three samples,
 * where there are so many, NaN in the first place or the last, and infinity. */
static float *make_logits(loss_case c) {
    size_t pitch = (size_t)c.pitch;
    float *z = random_values(CUDA_F32, (size_t)c.count * pitch, 20, false);
    for (int n = 0; n < c.count; n++) {
        float *row = z + (size_t)n * pitch;
        for (int k = 0; k < c.pitch; k++)
            row[k] = k >= c.classes ? 0 : n % 3 == 0 ? 4 * row[k] : floorf(row[k] * 2);
        if (n % 3 == 1)
            row[n % c.classes] = 14;
    }
    if (c.count > 3) {
        z[(size_t)(c.count - 3) * pitch] = NAN;
        z[(size_t)(c.count - 2) * pitch + (size_t)c.classes - 1] = NAN;
        z[(size_t)(c.count - 1) * pitch + 1] = INFINITY;
    }
    return z;
}

/* One sample's loss; gradient [classes]. */
static double loss_rule(loss_case c, const float *z, int label, double *gradient, bool *correct) {
    int guess = 0;
    bool valid = true;
    for (int k = 0; k < c.classes; k++) {
        valid = valid && !isnan(z[k]);
        if (z[k] > z[guess])
            guess = k;
    }
    double sum = 0, besides_guess = 0, besides_label = 0;
    for (int k = 0; k < c.classes; k++) {
        double e = exp((double)z[k] - (double)z[guess]);
        sum += e;
        besides_guess += k == guess ? e - 1 : e;
        besides_label += k == label ? 0 : e;
    }
    for (int k = 0; k < c.classes; k++) {
        double e = k == label ? -besides_label : exp((double)z[k] - (double)z[guess]);
        gradient[k] = e / sum / c.count;
    }
    *correct = valid && guess == label;
    return log1p(besides_guess) + ((double)z[guess] - (double)z[label]);
}

static void check_loss(loss_case c) {
    size_t total = (size_t)c.count * (size_t)c.pitch;
    cuda_tensor t = {c.type, CUDA_NHWC, c.count, c.classes, 1, 1, c.pitch};
    float *z = make_logits(c), *got = host_memory(true_count(t) * sizeof *got);
    uint8_t *labels = host_memory((size_t)c.count);
    double *gradient = host_memory((size_t)c.classes * sizeof *gradient);
    for (int n = 0; n < c.count; n++)
        labels[n] = (uint8_t)(n % 4 == 0 ? n % c.classes : (n * 7) % c.classes);
    float *z_there = to_device(z, total * sizeof *z);
    cuda_targets targets = {.label = to_device(labels, (size_t)c.count)};
    void *gradient_there = blank_tensor(t);
    /* All samples, then, so that the sum is a number, without the last three. */
    int counts[2] = {c.count, c.count > 3 ? c.count - 3 : c.count};
    for (int round = 0; round < 2; round++) {
        t.count = c.count = counts[round];
        cuda_state state = {.cursor = 4, .step = 9, .loss = 0.5, .correct = 10, .seen = 20};
        cuda_state *state_there = to_device(&state, sizeof state);
        kernel_cross_entropy(NULL, c.count, c.classes, c.pitch, z_there, targets, 0, c.type,
                             gradient_there, state_there);
        take_tensor(t, gradient_there, got);
        from_device(&state, state_there, sizeof state);
        double loss = 0;
        unsigned long long correct = 0;
        for (int n = 0; n < c.count; n++) {
            bool right;
            loss += loss_rule(c, z + (size_t)n * (size_t)c.pitch, labels[n], gradient, &right);
            correct += right;
            for (int k = 0; k < c.classes; k++) {
                double value = (double)got[n * c.classes + k], wanted = gradient[k];
                double tolerance = c.type == CUDA_BF16 ? 1.0 / 256 : 2e-6;
                if (isnan(value) != isnan(wanted) ||
                    fabs(value - wanted) > tolerance * fabs(wanted))
                    fail_msg("count %d, classes %d: gradient [%d,%d] is %.9g, not %.9g", c.count,
                             c.classes, n, k, value, wanted);
            }
        }
        assert_int_equal(isnan(state.loss), isnan(loss));
        if (!isnan(loss) && fabs(state.loss - 0.5 - loss) > 1e-6 * loss)
            fail_msg("count %d, classes %d: loss is %.12g, not %.12g", c.count, c.classes,
                     state.loss - 0.5, loss);
        assert_int_equal(state.correct, 10 + correct);
        assert_int_equal(state.seen, 20 + c.count);
        assert_int_equal(state.cursor, 5);
        assert_int_equal(state.step, 9);
    }
    device_clear(NULL);
    free(z);
    free(got);
    free(labels);
    free(gradient);
}

static void test_cross_entropy(void **state) {
    (void)state;
    /* The samples outnumber the lanes' groups: 128 of up to 32 classes, else 32. */
    static const int sizes[][2] = {{1, 10}, {3, 2}, {4, 200}, {127, 10}, {300, 10}, {70, 33}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int count = sizes[i][0], classes = sizes[i][1];
        check_loss((loss_case){count, classes, classes, CUDA_F32});
        check_loss((loss_case){count, classes, classes / 8 * 8 + 8, CUDA_BF16});
    }
}

/* A sure and right guess keeps all digits, though its probability rounds to 1. */
static void test_sure_guess(void **state) {
    (void)state;
    const float z[2] = {20, 0};
    const uint8_t label = 0;
    const cuda_state zero = {0};
    cuda_state got;
    float gradient[2];
    float *z_there = to_device(z, sizeof z), *gradient_there = device_memory(sizeof gradient);
    cuda_state *state_there = to_device(&zero, sizeof zero);
    cuda_targets targets = {.label = to_device(&label, 1)};
    kernel_cross_entropy(NULL, 1, 2, 2, z_there, targets, 0, CUDA_F32, gradient_there, state_there);
    from_device(gradient, gradient_there, sizeof gradient);
    from_device(&got, state_there, sizeof got);
    double rest = exp(-20.0);
    assert_true(fabs(got.loss / rest - 1) < 1e-6);
    assert_true(fabs((double)gradient[0] / -rest - 1) < 1e-6);
    assert_true(fabs((double)gradient[1] / rest - 1) < 1e-6);
    /* Evaluation: no gradient. */
    kernel_cross_entropy(NULL, 1, 2, 2, z_there, targets, 0, CUDA_F32, NULL, state_there);
    from_device(&got, state_there, sizeof got);
    assert_int_equal(got.seen, 2);
    assert_int_equal(got.cursor, 2);
}

/* A NaN anywhere makes the loss NaN and the guess wrong; so does infinity with the loss alone. */
static void test_invalid_logits(void **unused) {
    (void)unused;
    static const struct {
        float z[3];
        uint8_t label;
        bool correct;
    } cases[] = {{{NAN, 1, 2}, 0, false},
                 {{1, 5, NAN}, 1, false},
                 {{1, INFINITY, 0}, 1, true},
                 {{1, INFINITY, 0}, 0, false},
                 {{-INFINITY, -INFINITY, -INFINITY}, 0, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cuda_state state = {0};
        float gradient[3];
        float *z_there = to_device(cases[i].z, sizeof cases[i].z);
        cuda_targets targets = {.label = to_device(&cases[i].label, 1)};
        float *gradient_there = device_memory(sizeof gradient);
        cuda_state *state_there = to_device(&state, sizeof state);
        kernel_cross_entropy(NULL, 1, 3, 3, z_there, targets, 0, CUDA_F32, gradient_there,
                             state_there);
        from_device(&state, state_there, sizeof state);
        from_device(gradient, gradient_there, sizeof gradient);
        assert_true(isnan(state.loss));
        assert_int_equal(state.correct, cases[i].correct);
        assert_int_equal(state.seen, 1);
        for (int c = 0; c < 3; c++)
            assert_true(isnan(gradient[c]));
    }
}

/* Bias gradients ----------------------------------------------------------------------------------
 */
static void bias_gradient_in(cuda_tensor t) {
    size_t count = true_count(t), plane = (size_t)t.h * (size_t)t.w, pitch = (size_t)t.pitch;
    float *dy = random_values(t.type, count, 30, false);
    uint8_t *chosen = calloc(memory_count(t), 1);
    assert_non_null(chosen);
    for (size_t i = 0; i < memory_count(t); i++)
        chosen[i] = word_at(31, i) % 3 == 0 ? 255 : 2;
    float *got = host_memory(2 * pitch * sizeof *got), *again = got + pitch;
    void *dy_there = put_tensor(t, dy), *scratch = device_memory(kernel_bias_gradient_scratch(t));
    uint8_t *chosen_there = to_device(chosen, memory_count(t));
    float *sums = device_memory(pitch * sizeof *sums);
    for (int masked = 0; masked < 2; masked++) {
        must(cudaMemset(sums, 0xFF, pitch * sizeof *sums));
        kernel_bias_gradient(NULL, t, dy_there, masked ? chosen_there : NULL, scratch, sums);
        from_device(got, sums, pitch * sizeof *sums);
        kernel_bias_gradient(NULL, t, dy_there, masked ? chosen_there : NULL, scratch, sums);
        from_device(again, sums, pitch * sizeof *sums);
        assert_memory_equal(got, again, pitch * sizeof *got);
        for (size_t c = 0; c < pitch; c++) {
            double sum = 0, size = 0;
            for (size_t i = 0; c < (size_t)t.c && i < (size_t)t.count * plane; i++) {
                size_t n = i / plane, p = i % plane;
                if (masked && chosen[memory_index(t, n, c, p)] == 255)
                    continue;
                sum += (double)dy[(n * (size_t)t.c + c) * plane + p];
                size += fabs((double)dy[(n * (size_t)t.c + c) * plane + p]);
            }
            if (!(fabs((double)got[c] - sum) <= 1e-6 * size))
                fail_msg("[%d,%d,%d,%d] pitch %d (type %d, layout %d): channel %zu is %.9g, not "
                         "%.9g",
                         t.count, t.c, t.h, t.w, t.pitch, (int)t.type, (int)t.layout, c,
                         (double)got[c], sum);
        }
    }
    free(dy);
    free(chosen);
    free(got);
}

static void test_bias_gradient(void **state) {
    (void)state;
    in_every_size(bias_gradient_in);
    in_every_form(127, 3, 16, 16, bias_gradient_in);
    in_every_form(3, 600, 1, 1, bias_gradient_in);
    in_every_form(9, 300, 2, 2, bias_gradient_in);
}

/* Conversion --------------------------------------------------------------------------------------
 */
static void test_conversion(void **state) {
    (void)state;
    static const size_t counts[] = {1, 3, 4, 127, 1000};
    /* Exact, ties to even both ways, past a tie, subnormal, overflow, NaN, both zeros. */
    static const float special[] = {1.5f,   1.00390625f, 1.01171875f, 1.00390637f,
                                    1e-40f, 3.4e38f,     NAN,         -0.0f,
                                    0.0f,   -INFINITY,   -1.00390625f};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
        for (size_t shift = 0; shift < 2; shift++) {
            size_t count = counts[k];
            float *x = random_values(CUDA_F32, count + 1, 50, false);
            for (size_t i = 0; i < count; i++)
                x[i] = i % 2 ? x[i] : special[i / 2 % (sizeof special / sizeof *special)];
            uint16_t *y = host_memory(2 * (count + 1));
            float *back = host_memory((count + 1) * sizeof *back);
            float *back_there = to_device(x, (count + 1) * sizeof *back);
            float *x_there = to_device(x, (count + 1) * sizeof *x);
            uint16_t *y_there = to_device(x, 2 * (count + 1));
            kernel_to_bf16(NULL, count + 1 - shift, x_there + shift, y_there + shift);
            kernel_to_float32(NULL, count + 1 - shift, y_there + shift, back_there + shift);
            from_device(y, y_there, 2 * (count + 1));
            from_device(back, back_there, (count + 1) * sizeof *back);
            for (size_t i = shift; i < count + 1; i++)
                if (isnan(x[i]))
                    assert_true(isnan(bf16_to_float(y[i])));
                else
                    assert_int_equal(y[i], float_to_bf16(x[i]));
            for (size_t i = 0; i < count + 1; i++)
                assert_true(same(back[i], i < shift ? x[i] : bf16_to_float(y[i])));
            free(x);
            free(back);
            free(y);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cross_entropy, device_clear),
        cmocka_unit_test_teardown(test_sure_guess, device_clear),
        cmocka_unit_test_teardown(test_invalid_logits, device_clear),
        cmocka_unit_test_teardown(test_bias_gradient, device_clear),
        cmocka_unit_test_teardown(test_conversion, device_clear),
    };
    return device_missing() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
