/* The optimiser's kernels: every rule, with and without moments, decay, clipping and average,
 * against its formula (cairn/optimizer.h) in double; the sum of batches; the norm. */
#include "tensors.h"

#include "cairn/executor.h"

enum { STEPS = 2 };
static const double LR = 0.1;

/* `count` parameters, the first `bf16_count` of which have gradients in bf16; all arrays begin
 * `shift` elements into their memory. */
typedef struct {
    const char *name;
    cairn_optimizer rule;
    size_t count, bf16_count, shift;
    bool shadow;
    bool grouped; /* grains are of groups 0, 1, ... in turn; else all of group 0 */
} update_case;

/* Tensors of a case, on the host. */
typedef struct {
    size_t whole;
    float *w, *g;
    uint16_t *bf16;
    uint8_t group[16];
} tensors;

enum { W, M, V, A, ROWS };

/* An ordinary one, and what may differ. */
static const cairn_parameter_group groups[] = {
    {.lr_scale = 1, .trained_until_epoch = 9},
    {.lr_scale = 1, .decay = 0.5, .trained_until_epoch = 9},
    {.lr_scale = 8, .trained_until_epoch = 9},
    {.lr_scale = 1, .frozen = true},
    {.lr_scale = 0.25, .decay = 0.5, .trained_until_epoch = 9},
    {.lr_scale = 1, .decay = 0.25, .trained_until_epoch = 1},
};
enum { GROUPS = sizeof groups / sizeof *groups, EPOCH = 1 };

static bool trains(size_t group) {
    return cairn_parameter_group_trains(&groups[group], EPOCH);
}

/* What the host tells of them. */
static cuda_state state_of(const cairn_optimizer *rule, uint32_t step, double lr) {
    cuda_state state = {.last = 1, .clip = 0.375f};
    for (size_t g = 0; g < GROUPS; g++) {
        const cairn_parameter parameter = {.group = groups[g]};
        const cairn_update now = cairn_optimizer_at(rule, &parameter, step, lr);
        state.trained |= (uint32_t)trains(g) << g;
        state.take = (float)now.take;
        state.group[g] = (cuda_group){.rate = (float)(now.rate * groups[g].lr_scale),
                                      .correction = (float)now.correction,
                                      .decay = (float)(now.decay / groups[g].lr_scale),
                                      .shrink = (float)now.shrink};
    }
    return state;
}

static tensors make_tensors(const update_case *c) {
    size_t whole = c->count + c->shift;
    tensors made = {.whole = whole,
                    .w = random_values(CUDA_F32, whole, 40, false),
                    .g = random_values(CUDA_F32, whole, 41, false),
                    .bf16 = host_memory(2 * whole)};
    assert_true(c->count <= sizeof made.group * CUDA_GRAIN);
    for (size_t i = 0; i < whole; i++)
        made.bf16[i] = float_to_bf16(made.g[i] / 2);
    for (size_t grain = 0; grain < sizeof made.group; grain++)
        made.group[grain] = (uint8_t)((grain + 1) % GROUPS);
    return made;
}

static size_t group_of(const update_case *c, const tensors *on, size_t i) {
    return c->grouped ? on->group[i / CUDA_GRAIN] : 0;
}

static double gradient_of(const update_case *c, const tensors *on, size_t i) {
    return (double)(i < c->bf16_count ? bf16_to_float(on->bf16[i + c->shift])
                                      : on->g[i + c->shift]);
}

/* The formula, for one element. */
static void update_rule(const update_case *c, const cuda_state *state, size_t group, uint32_t step,
                        double g, double *const row[ROWS]) {
    const cairn_optimizer *rule = &c->rule;
    const double lr = LR, scale = groups[group].lr_scale, decay = groups[group].decay;
    const double t = (double)step + 1;
    double w = *row[W], rate = scale * lr;
    if (!trains(group)) {
        *row[A] = w;
        return;
    }
    if (rule->clip_norm > 0)
        g *= (double)state->clip;
    if (cairn_optimizer_rule_of(rule->name)->decoupled)
        w *= 1 - lr * decay;
    else
        g += decay / scale * w;
    if (rule->name == CAIRN_LION) {
        const double mean = rule->beta1 * *row[M] + (1 - rule->beta1) * g;
        w -= rate * (mean > 0 ? 1 : -1);
        *row[M] = rule->beta2 * *row[M] + (1 - rule->beta2) * g;
    } else if (rule->name == CAIRN_SGD) {
        *row[M] = rule->momentum * *row[M] + g;
        w -= rate * (rule->nesterov ? g + rule->momentum * *row[M] : *row[M]);
    } else {
        *row[M] += (1 - rule->beta1) * (g - *row[M]);
        *row[V] = rule->beta2 * *row[V] + (1 - rule->beta2) * g * g;
        w -= rate * (*row[M] / (1 - pow(rule->beta1, t))) /
             (sqrt(*row[V] / (1 - pow(rule->beta2, t))) + rule->epsilon);
    }
    *row[W] = w;
    *row[A] += (step == 0 ? 1 : 1 - rule->average) * (w - *row[A]);
}

static void compare_update(const update_case *c, const tensors *on, float *const there[ROWS],
                           const double *exact, const uint16_t *shadow_there) {
    size_t whole = on->whole;
    float *got = host_memory(whole * sizeof *got);
    uint16_t *shadow = host_memory(2 * whole);
    for (int row = 0; row < ROWS; row++) {
        if (!there[row])
            continue;
        from_device(got, there[row], whole * sizeof *got);
        for (size_t i = 0; i < whole; i++) {
            double want = exact[(size_t)row * whole + i];
            if (!(fabs((double)got[i] - want) <= 1e-6 * fabs(want) + 1e-7))
                fail_msg("%s of %zu, %zu in bf16, shift %zu: row %d, element %zu is %.9g, not %.9g",
                         c->name, c->count, c->bf16_count, c->shift, row, i, (double)got[i], want);
        }
    }
    from_device(got, there[W], whole * sizeof *got);
    from_device(shadow, shadow_there, 2 * whole);
    for (size_t i = 0; i < whole; i++) {
        bool written = c->shadow && i >= c->shift && trains(group_of(c, on, i - c->shift));
        assert_int_equal(shadow[i], written ? float_to_bf16(got[i]) : on->bf16[i]);
    }
    free(got);
    free(shadow);
}

static void check_update(const update_case *c) {
    tensors on = make_tensors(c);
    size_t whole = on.whole, bytes = whole * sizeof(float);
    float *zeros = calloc(whole, sizeof *zeros);
    double *exact = calloc(ROWS * whole, sizeof *exact);
    assert_true(zeros && exact);
    for (size_t i = 0; i < whole; i++)
        exact[i] = (double)on.w[i];
    bool m = cairn_optimizer_keeps(&c->rule, CAIRN_STATE_0);
    bool v = cairn_optimizer_keeps(&c->rule, CAIRN_STATE_1);
    float *there[ROWS] = {to_device(on.w, bytes), m ? to_device(zeros, bytes) : NULL,
                          v ? to_device(zeros, bytes) : NULL,
                          c->rule.average > 0 ? to_device(zeros, bytes) : NULL};
    uint16_t *bf16_there = to_device(on.bf16, 2 * whole);
    uint16_t *shadow_there = to_device(on.bf16, 2 * whole);
    cuda_update update = {
        .gradient = {c->count, c->bf16_count, (float *)to_device(on.g, bytes) + c->shift,
                     bf16_there + c->shift,
                     c->grouped ? to_device(on.group, sizeof on.group) : NULL},
        .parameter = there[W] + c->shift,
        .state = {there[M] ? there[M] + c->shift : NULL, there[V] ? there[V] + c->shift : NULL},
        .average = there[A] ? there[A] + c->shift : NULL,
        .shadow = c->shadow ? shadow_there + c->shift : NULL,
        .rule = c->rule,
        .groups = UINT32_MAX};
    for (uint32_t step = 0; step < STEPS; step++) {
        cuda_state state = state_of(&c->rule, step, LR), early = state;
        early.last = 0; /* a batch before the last: nothing happens */
        kernel_update(NULL, &update, to_device(&early, sizeof early));
        kernel_update(NULL, &update, to_device(&state, sizeof state));
        finish();
        for (size_t i = 0; i < c->count; i++) {
            double *rows[ROWS];
            for (int row = 0; row < ROWS; row++)
                rows[row] = &exact[(size_t)row * whole + i + c->shift];
            update_rule(c, &state, group_of(c, &on, i), step, gradient_of(c, &on, i), rows);
        }
    }
    compare_update(c, &on, there, exact, shadow_there);
    device_clear(NULL);
    free(on.w);
    free(on.g);
    free(on.bf16);
    free(zeros);
    free(exact);
}

#define ADAM_BETAS .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8

static void test_update(void **state) {
    (void)state;
    const cairn_optimizer adam = {CAIRN_ADAM, ADAM_BETAS};
    const cairn_optimizer adam_all = {CAIRN_ADAM, ADAM_BETAS, .clip_norm = 1, .average = 0.75};
    const cairn_optimizer adamw = {CAIRN_ADAMW, ADAM_BETAS};
    const cairn_optimizer sgd = {CAIRN_SGD, .clip_norm = 1};
    const cairn_optimizer nesterov = {CAIRN_SGD, .momentum = 0.9, .nesterov = true, .average = 0.9};
    const cairn_optimizer lion = {CAIRN_LION, .beta1 = 0.9, .beta2 = 0.99, .clip_norm = 1,
                                  .average = 0.75};
    const cairn_optimizer momentum = {CAIRN_SGD, .momentum = 0.9};
    const update_case cases[] = {
        {"Adam", adam, 1, 0, 0, false, false},
        {"Adam", adam, 3, 3, 0, true, false},
        {"Adam", adam, 1024, 512, 0, true, false},
        {"Adam", adam, 1023, 510, 0, true, false}, /* four with gradients of both kinds */
        {"Adam", adam, 1022, 1021, 0, false, false},
        {"Adam", adam, 517, 129, 1, true, false}, /* too crooked for packs of four */
        {"Adam with all", adam_all, 1023, 510, 0, true, true},
        {"Adam with all", adam_all, 517, 129, 1, true, true},
        {"AdamW", adamw, 640, 0, 0, false, true},
        {"SGD", sgd, 515, 0, 0, true, false},
        {"SGD with momentum", momentum, 515, 128, 0, true, false},
        {"SGD, Nesterov", nesterov, 770, 0, 0, true, true},
        {"Lion", lion, 515, 128, 0, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_update(&cases[i]);
}

/* A NaN gradient reaches its parameter, and no other; and groups of other optimisers are left
 * alone. */
static void test_update_nan(void **state) {
    (void)state;
    for (int name = 0; name < CAIRN_OPTIMIZERS; name++)
        for (uint32_t mine = 0; mine < 2; mine++) {
            float w[8] = {0}, g[8] = {1, NAN, 1, 1, 1, 1, 1, 1};
            cuda_state step = {.last = 1,
                               .trained = 1,
                               .group = {{.rate = 0.01f, .correction = 0.1f, .shrink = 1}}};
            float *w_there = to_device(w, sizeof w);
            cuda_update update = {.gradient = {.count = 8, .values = to_device(g, sizeof g)},
                                  .parameter = w_there,
                                  .state = {to_device(w, sizeof w), to_device(w, sizeof w)},
                                  .rule = {(cairn_optimizer_name)name, ADAM_BETAS},
                                  .groups = mine};
            kernel_update(NULL, &update, to_device(&step, sizeof step));
            from_device(w, w_there, sizeof w);
            for (int i = 0; i < 8; i++) {
                assert_int_equal(isnan(w[i]), mine && i == 1);
                assert_int_equal(w[i] == 0, !mine);
            }
        }
}

/* Clipping --------------------------------------------------------------------------------------*/

static void check_clip(size_t count, size_t bf16_count, size_t shift, bool grouped) {
    const update_case c = {
        .count = count, .bf16_count = bf16_count, .shift = shift, .grouped = grouped};
    tensors on = make_tensors(&c);
    const double exact[] = {0.5, 1, 1e9};
    const cairn_optimizer adam = cairn_optimizer_defaults();
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        if (trains(group_of(&c, &on, i)))
            sum += gradient_of(&c, &on, i) * gradient_of(&c, &on, i);
    float *g_there = to_device(on.g, on.whole * sizeof *on.g);
    uint16_t *bf16_there = to_device(on.bf16, 2 * on.whole);
    cuda_gradient gradient = {count, bf16_count, g_there + shift, bf16_there + shift,
                              grouped ? to_device(on.group, sizeof on.group) : NULL};
    void *scratch = device_memory(kernel_clip_scratch());
    for (int round = 0; round < 3; round++) {
        double limit = round < 2 ? exact[round] * sqrt(sum) : exact[round];
        double want = fmin(1, limit / (sqrt(sum) + 1e-6));
        cuda_state state = state_of(&adam, 0, LR), early, again;
        state.clip = 7;
        early = state;
        early.last = 0;
        cuda_state *there = to_device(&state, sizeof state);
        kernel_clip(NULL, &gradient, limit, scratch, there);
        from_device(&state, there, sizeof state);
        if (!(fabs((double)state.clip - want) <= 1e-6 * want))
            fail_msg("clipping %zu, %zu in bf16, shift %zu, to %g: the factor is %.9g, not %.9g",
                     count, bf16_count, shift, limit, (double)state.clip, want);
        kernel_clip(NULL, &gradient, limit, scratch, there);
        from_device(&again, there, sizeof again);
        assert_memory_equal(&state, &again, sizeof state);
        there = to_device(&early, sizeof early);
        kernel_clip(NULL, &gradient, limit, scratch, there);
        from_device(&again, there, sizeof again);
        assert_true(again.clip == 7); /* not before the last batch */
    }
    on.g[shift + count - 1] = NAN;
    on.bf16[shift + count - 1] = float_to_bf16(NAN);
    if (trains(group_of(&c, &on, count - 1))) {
        cuda_state state = state_of(&adam, 0, LR);
        cuda_state *there = to_device(&state, sizeof state);
        gradient.values = (float *)to_device(on.g, on.whole * sizeof *on.g) + shift;
        gradient.bf16_values = (uint16_t *)to_device(on.bf16, 2 * on.whole) + shift;
        kernel_clip(NULL, &gradient, 1, scratch, there);
        from_device(&state, there, sizeof state);
        assert_true(isnan(state.clip));
    }
    device_clear(NULL);
    free(on.w);
    free(on.g);
    free(on.bf16);
}

static void test_clip(void **state) {
    (void)state;
    check_clip(1, 0, 0, false);
    check_clip(3, 3, 0, false);
    check_clip(1023, 510, 0, true);
    check_clip(517, 129, 1, true);
    check_clip(2047, 0, 0, false);
}

/* Accumulation ----------------------------------------------------------------------------------*/

static void check_accumulation(size_t count, size_t bf16_count, size_t shift) {
    static const float shares[] = {0.5f, 0.25f, 0.25f};
    const update_case c = {.count = count, .bf16_count = bf16_count, .shift = shift};
    tensors on = make_tensors(&c);
    size_t bytes = on.whole * sizeof(float);
    float *sum_there = to_device(on.w, bytes), *got = host_memory(bytes);
    float *g_there = to_device(on.g, bytes);
    uint16_t *bf16_there = to_device(on.bf16, 2 * on.whole);
    cuda_gradient gradient = {count, bf16_count, g_there + shift, bf16_there + shift, NULL};
    for (uint32_t batch = 0; batch < 3; batch++) {
        cuda_state state = {.micro_batch = batch, .share = shares[batch], .last = batch == 2};
        kernel_accumulate(NULL, &gradient, sum_there + shift, to_device(&state, sizeof state));
        finish();
    }
    from_device(got, sum_there, bytes); /* shares that add up to 1, of one gradient: itself */
    for (size_t i = 0; i < on.whole; i++)
        assert_true((double)got[i] ==
                    (i < shift ? (double)on.w[i] : gradient_of(&c, &on, i - shift)));
    device_clear(NULL);
    free(on.w);
    free(on.g);
    free(on.bf16);
    free(got);
}

static void test_accumulation(void **state) {
    (void)state;
    check_accumulation(1, 0, 0);
    check_accumulation(1023, 510, 0);
    check_accumulation(517, 129, 1);
}

static void test_exchange(void **state) {
    (void)state;
    enum { COUNT = 517 };
    float *w = random_values(CUDA_F32, COUNT, 40, false), got[COUNT];
    float *a = random_values(CUDA_F32, COUNT, 41, false);
    uint16_t shadow[COUNT] = {0};
    float *w_there = to_device(w, sizeof got), *a_there = to_device(a, sizeof got);
    uint16_t *shadow_there = to_device(shadow, sizeof shadow);
    kernel_exchange(NULL, COUNT, w_there, a_there, shadow_there);
    from_device(got, w_there, sizeof got);
    assert_memory_equal(got, a, sizeof got);
    from_device(got, a_there, sizeof got);
    assert_memory_equal(got, w, sizeof got);
    from_device(shadow, shadow_there, sizeof shadow);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(shadow[i], float_to_bf16(a[i]));
    kernel_exchange(NULL, COUNT, w_there, a_there, NULL);
    from_device(got, w_there, sizeof got);
    assert_memory_equal(got, w, sizeof got);
    free(w);
    free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_update, device_clear),
        cmocka_unit_test_teardown(test_update_nan, device_clear),
        cmocka_unit_test_teardown(test_clip, device_clear),
        cmocka_unit_test_teardown(test_accumulation, device_clear),
        cmocka_unit_test_teardown(test_exchange, device_clear),
    };
    return device_missing() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
