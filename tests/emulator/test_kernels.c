/* The kernels on activations: gather, bias and ReLU, pooling, dropout, layouts. Each is compared,
 * to the last bit, with its rule as plain loops. */
#include "tensors.h"

/* Bias and ReLU -----------------------------------------------------------------------------------
 */
static float relu(float value) {
    return value <= 0 ? 0.0f : value;
}

static float *random_bias(cuda_tensor t, float **on_device) {
    float *bias = calloc((size_t)t.pitch, sizeof *bias);
    float *values = random_values(CUDA_F32, (size_t)t.c, 90, false);
    assert_non_null(bias);
    memcpy(bias, values, (size_t)t.c * sizeof *bias);
    *on_device = to_device(bias, (size_t)t.pitch * sizeof *bias);
    free(values);
    return bias;
}

static size_t channel_of(cuda_tensor t, size_t element) {
    return element / ((size_t)t.h * (size_t)t.w) % (size_t)t.c;
}

static void bias_relu_in(cuda_tensor t) {
    size_t count = true_count(t);
    float *bias_there, *bias = random_bias(t, &bias_there);
    float *x = random_values(t.type, count, 1, true), *got = host_memory(count * sizeof *got);
    float *wanted = host_memory(count * sizeof *wanted);
    for (int variant = 0; variant < 4; variant++) {
        bool with_bias = variant & 1, with_relu = variant & 2;
        void *x_there = put_tensor(t, x), *y_there = variant == 3 ? x_there : blank_tensor(t);
        kernel_bias_relu(NULL, t, x_there, with_bias ? bias_there : NULL, with_relu, y_there);
        take_tensor(t, y_there, got);
        for (size_t i = 0; i < count; i++) {
            float value = x[i] + (with_bias ? bias[channel_of(t, i)] : 0);
            wanted[i] = rounded(t.type, with_relu ? relu(value) : value);
        }
        assert_values("bias_relu", t, got, wanted);
    }
    free(bias);
    free(x);
    free(got);
    free(wanted);
}

static void relu_backward_in(cuda_tensor t) {
    size_t count = true_count(t);
    float *y = random_values(t.type, count, 2, true), *dy = random_values(t.type, count, 3, false);
    float *got = host_memory(count * sizeof *got), *wanted = host_memory(count * sizeof *wanted);
    for (size_t i = 0; i < count; i++) {
        y[i] = relu(y[i]);
        wanted[i] = y[i] <= 0 ? 0 : dy[i];
    }
    void *y_there = put_tensor(t, y), *dy_there = put_tensor(t, dy), *dx_there = blank_tensor(t);
    kernel_relu_backward(NULL, t, y_there, dy_there, dx_there);
    take_tensor(t, dx_there, got);
    assert_values("relu_backward", t, got, wanted);
    kernel_relu_backward(NULL, t, y_there, dy_there, dy_there);
    take_tensor(t, dy_there, got);
    assert_values("relu_backward in place", t, got, wanted);
    free(y);
    free(dy);
    free(got);
    free(wanted);
}

static void test_bias_relu(void **state) {
    (void)state;
    in_every_size(bias_relu_in);
    bias_relu_in((cuda_tensor){CUDA_BF16, CUDA_NCHW, 300, 8, 16, 16, 8}); /* threads go round */
}
static void test_relu_backward(void **state) {
    (void)state;
    in_every_size(relu_backward_in);
}

/* Pooling -----------------------------------------------------------------------------------------
 */
enum { NOTHING = 255 };

static cuda_pool pool_now; /* of the case under way */

static void pool_rule(cuda_tensor in, cuda_tensor out, const float *x, const float *bias, float *y,
                      uint8_t *chosen) {
    int k = pool_now.kernel, s = pool_now.stride;
    for (int plane = 0; plane < out.count * out.c; plane++)
        for (int i = 0; i < out.h; i++)
            for (int j = 0; j < out.w; j++) {
                float best = -INFINITY;
                int winner = 0;
                for (int place = 0; place < k * k; place++) {
                    int row = i * s + place / k, column = j * s + place % k;
                    float value = x[(plane * in.h + row) * in.w + column];
                    value += bias ? bias[plane % in.c] : 0;
                    if (value > best || isnan(value)) {
                        best = value;
                        winner = place;
                    }
                }
                bool blocked = pool_now.relu && best <= 0;
                *y++ = rounded(in.type, blocked ? 0 : best);
                *chosen++ = (uint8_t)(blocked ? NOTHING : winner);
            }
}

static void pool_backward_rule(cuda_tensor in, cuda_tensor out, const float *dy,
                               const uint8_t *chosen, float *dx) {
    memset(dx, 0, true_count(in) * sizeof *dx);
    int k = pool_now.kernel, s = pool_now.stride;
    for (int plane = 0; plane < out.count * out.c; plane++)
        for (int i = 0; i < out.h; i++)
            for (int j = 0; j < out.w; j++, dy++, chosen++)
                if (*chosen != NOTHING)
                    dx[(plane * in.h + i * s + *chosen / k) * in.w + j * s + *chosen % k] += *dy;
    for (size_t i = 0; i < true_count(in); i++)
        dx[i] = rounded(in.type, dx[i]);
}

/* `chosen` lies on the device like y, a byte an element. */
static void take_chosen(cuda_tensor out, const uint8_t *from, uint8_t *chosen) {
    uint8_t *memory = host_memory(memory_count(out));
    from_device(memory, from, memory_count(out));
    size_t plane = (size_t)out.h * (size_t)out.w;
    for (size_t i = 0; i < true_count(out); i++)
        chosen[i] =
            memory[memory_index(out, i / plane / (size_t)out.c, channel_of(out, i), i % plane)];
    free(memory);
}

static void pool_in(cuda_tensor in) {
    int k = pool_now.kernel, s = pool_now.stride;
    if (in.h < k || in.w < k)
        return;
    cuda_tensor out = sized(in, (in.h - k) / s + 1, (in.w - k) / s + 1);
    size_t ins = true_count(in), outs = true_count(out);
    float *bias_there, *bias = random_bias(in, &bias_there);
    float *x = random_values(in.type, ins, 4, true), *dx = host_memory(ins * sizeof *dx);
    for (size_t i = 0; i < ins; i++) /* few values, so that many are equal */
        x[i] = isnan(x[i]) ? x[i] : floorf(x[i] * 4) / 4;
    float *y = host_memory(outs * sizeof *y), *wanted = host_memory(ins * sizeof *wanted);
    float *dy = random_values(in.type, outs, 5, false);
    uint8_t *chosen = host_memory(outs), *wanted_chosen = host_memory(outs);
    void *x_there = put_tensor(in, x), *dx_there = blank_tensor(in);
    void *y_there = blank_tensor(out), *dy_there = put_tensor(out, dy);
    uint8_t *chosen_there = device_memory(memory_count(out));
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        kernel_pool(NULL, pool_now, in, out, x_there, with_bias ? bias_there : NULL, y_there,
                    chosen_there);
        take_tensor(out, y_there, y);
        take_chosen(out, chosen_there, chosen);
        pool_rule(in, out, x, with_bias ? bias : NULL, wanted, wanted_chosen);
        assert_values("pool", out, y, wanted);
        assert_memory_equal(chosen, wanted_chosen, outs);
    }
    kernel_pool_backward(NULL, pool_now, in, out, dy_there, chosen_there, dx_there);
    take_tensor(in, dx_there, dx);
    pool_backward_rule(in, out, dy, chosen, wanted);
    assert_values("pool_backward", in, dx, wanted);
    free(bias);
    free(x);
    free(dx);
    free(y);
    free(wanted);
    free(dy);
    free(chosen);
    free(wanted_chosen);
}

/* Windows that touch, overlap, leave gaps, and the largest. */
static void test_pool(void **state) {
    (void)state;
    static const cuda_pool pools[] = {{2, 2, 1}, {2, 2, 0}, {3, 2, 1}, {3, 1, 0},
                                      {2, 3, 1}, {1, 1, 1}, {5, 3, 1}, {15, 1, 0}};
    for (size_t p = 0; p < sizeof pools / sizeof *pools; p++) {
        pool_now = pools[p];
        in_every_size(pool_in);
        in_every_form(3, 8, 5, 8, pool_in);
        in_every_form(1, 9, 8, 5, pool_in);
    }
    pool_now = pools[3];
    pool_in((cuda_tensor){CUDA_BF16, CUDA_NCHW, 300, 8, 18, 18, 8}); /* threads go round */
}

/* Dropout -----------------------------------------------------------------------------------------
 */
static void dropout_in(cuda_tensor t) {
    const cuda_dropout rule = {0x123456789ABCDEF0u, 0.3f, 5};
    const cuda_state host_state = {.step = 41, .micro_batch = 3};
    size_t count = true_count(t);
    float *x = random_values(t.type, count, 6, true), *gate = random_values(t.type, count, 7, true);
    float *got = host_memory(count * sizeof *got), *wanted = host_memory(count * sizeof *wanted);
    const cuda_state *state_there = to_device(&host_state, sizeof host_state);
    void *x_there = put_tensor(t, x), *gate_there = put_tensor(t, gate);
    for (int gated = 0; gated < 2; gated++) {
        void *y_there = blank_tensor(t);
        kernel_dropout(NULL, rule, state_there, t, x_there, gated ? gate_there : NULL, y_there);
        take_tensor(t, y_there, got);
        for (size_t i = 0; i < count; i++) {
            uint64_t index = cairn_rng_dropout_index(3, i / 4);
            cairn_rng_block random = cairn_rng(rule.seed, CAIRN_RNG_DROPOUT, 41, 5, index);
            bool dropped = random.word[i % 4] < cairn_rng_dropout_threshold(rule.p);
            dropped = dropped || (gated && gate[i] <= 0);
            wanted[i] = dropped ? 0 : rounded(t.type, (float)(1 / (1 - (double)rule.p)) * x[i]);
        }
        assert_values("dropout", t, got, wanted);
    }
    free(x);
    free(gate);
    free(got);
    free(wanted);
}

static void test_dropout(void **state) {
    (void)state;
    in_every_size(dropout_in);
    in_every_form(3, 256, 1, 1, dropout_in);
}

/* Layouts -----------------------------------------------------------------------------------------
 */
static void transpose_in(cuda_tensor nhwc) {
    if (nhwc.layout != CUDA_NHWC)
        return;
    cuda_tensor nchw = nhwc;
    nchw.layout = CUDA_NCHW;
    nchw.pitch = nchw.c;
    size_t count = true_count(nhwc);
    float *x = random_values(nhwc.type, count, 8, true), *got = host_memory(count * sizeof *got);
    void *x_there = put_tensor(nhwc, x), *y_there = blank_tensor(nchw), *back = blank_tensor(nhwc);
    kernel_transpose(NULL, nhwc, nchw, x_there, y_there);
    take_tensor(nchw, y_there, got);
    assert_values("transpose to NCHW", nchw, got, x);
    kernel_transpose(NULL, nchw, nhwc, y_there, back);
    take_tensor(nhwc, back, got);
    assert_values("transpose to NHWC", nhwc, got, x);
    free(x);
    free(got);
}

static void test_transpose(void **state) {
    (void)state;
    in_every_size(transpose_in);
    in_every_form(2, 70, 5, 8, transpose_in);
}

/* Gather ------------------------------------------------------------------------------------------
 */
enum { SAMPLES = 40, SLOTS = 3, CURSOR = 7 };
enum { GATHER_SEED = 11, GATHER_EPOCH = 3, GATHER_FIRST = 2 };

static int gather_padding; /* of the case under way; -1: evaluation */

/* The slot that the step reads; the others would lead it outside the split. */
static cuda_slot *fill_slots(unsigned char *slots, size_t stride, size_t count) {
    memset(slots, 0x7F, SLOTS * stride);
    cuda_slot *slot = (cuda_slot *)(void *)(slots + CURSOR % SLOTS * stride);
    *slot = (cuda_slot){.epoch = GATHER_EPOCH,
                        .step = 29,
                        .micro_batch = 2,
                        .last = 1,
                        .share = 0.125f,
                        .trained = 5,
                        .take = 0.875f,
                        .first = GATHER_FIRST};
    slot->group[0].rate = 0.25f;
    slot->group[CUDA_GROUPS_MAX - 1].shrink = 0.75f;
    for (size_t n = 0; n < count; n++)
        slot->indices[n] = (int32_t)(word_at(12, n) % SAMPLES);
    return slot;
}

/* What the state has of the slot after the step, and what it keeps. */
static void check_state(const cuda_state *after, const cuda_slot *slot) {
    assert_int_equal(after->epoch, GATHER_EPOCH);
    assert_int_equal(after->step, 29);
    assert_true(after->micro_batch == 2 && after->last == 1 && after->share == 0.125f);
    assert_true(after->trained == 5 && after->take == 0.875f);
    assert_memory_equal(after->group, slot->group, sizeof after->group);
    assert_true(after->cursor == CURSOR && after->loss == 1.5 && after->correct == 2 &&
                after->seen == 3);
}

/* Image n of the batch by the definition: cropped, where `training`, and normalised by the table.
 */
static void gather_plainly(cuda_tensor t, int n, int sample, const uint8_t *images,
                           const float *table, float *wanted) {
    const int plane = t.h * t.w;
    int dy = 0, dx = 0;
    if (gather_padding >= 0) {
        uint32_t places = 2 * (uint32_t)gather_padding + 1;
        cairn_rng_block random =
            cairn_rng(GATHER_SEED, CAIRN_RNG_CROP, GATHER_EPOCH, 0, (uint64_t)sample);
        dy = (int)cairn_rng_below(random.word[0], places) - gather_padding;
        dx = (int)cairn_rng_below(random.word[1], places) - gather_padding;
    }
    for (int c = 0; c < t.c; c++)
        for (int p = 0; p < plane; p++) {
            int row = p / t.w + dy, column = p % t.w + dx;
            bool inside = row >= 0 && row < t.h && column >= 0 && column < t.w;
            uint8_t byte = 0;
            if (inside)
                byte = images[(sample * t.c + c) * plane + row * t.w + column];
            wanted[(n * t.c + c) * plane + p] = rounded(t.type, table[c % 4 * 256 + byte]);
        }
}

static void gather_in(cuda_tensor t) {
    const bool training = gather_padding >= 0;
    size_t size = (size_t)t.c * (size_t)(t.h * t.w), count = (size_t)t.count;
    uint8_t *images = host_memory(SAMPLES * size), labels[SAMPLES];
    float *table = random_values(CUDA_F32, 4 * 256, 10, false);
    for (size_t i = 0; i < SAMPLES * size; i++)
        images[i] = (uint8_t)(word_at(11, i) >> 24);
    for (int n = 0; n < SAMPLES; n++)
        labels[n] = (uint8_t)(n % 10);

    size_t stride = sizeof(cuda_slot) + count * sizeof(int32_t);
    unsigned char *slots;
    void *slots_there;
    must(cudaHostAlloc((void **)&slots, SLOTS * stride, cudaHostAllocMapped));
    must(cudaHostGetDevicePointer(&slots_there, slots, 0));
    const cuda_slot *slot = fill_slots(slots, stride, count);
    cuda_state before = {.cursor = CURSOR, .loss = 1.5, .correct = 2, .seen = 3}, after;

    cuda_gather gather = {to_device(images, SAMPLES * size),
                          to_device(labels, sizeof labels),
                          to_device(table, 4 * 256 * sizeof *table),
                          GATHER_SEED,
                          training ? gather_padding : 0,
                          training,
                          NULL};
    cuda_ring ring = {slots_there, stride, SLOTS};
    cuda_state *state_there = to_device(&before, sizeof before);
    void *x_there = blank_tensor(t);
    uint8_t *labels_there = device_memory(count), *got_labels = host_memory(count);
    kernel_gather(NULL, &gather, ring, state_there, t, x_there,
                  (cuda_targets){.label = labels_there});
    float *got = host_memory(true_count(t) * sizeof *got), *wanted = host_memory(true_count(t) * 4);
    take_tensor(t, x_there, got);
    from_device(got_labels, labels_there, count);
    from_device(&after, state_there, sizeof after);

    for (int n = 0; n < t.count; n++) {
        int sample = training ? slot->indices[n] : GATHER_FIRST + n;
        assert_int_equal(got_labels[n], labels[sample]);
        gather_plainly(t, n, sample, images, table, wanted);
    }
    assert_values("gather", t, got, wanted);
    check_state(&after, slot);
    must(cudaFreeHost(slots));
    free(images);
    free(table);
    free(got);
    free(wanted);
    free(got_labels);
}

static void test_gather(void **state) {
    (void)state;
    static const int paddings[] = {-1, 0, 2, 40};
    for (size_t p = 0; p < sizeof paddings / sizeof *paddings; p++) {
        gather_padding = paddings[p];
        in_every_form(1, 1, 1, 1, gather_in);
        in_every_form(3, 3, 32, 32, gather_in);
        in_every_form(38, 3, 5, 7, gather_in);
        in_every_form(2, 9, 3, 4, gather_in);
    }
    gather_padding = 4;
    in_every_form(127, 3, 4, 4, gather_in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_bias_relu, device_clear),
        cmocka_unit_test_teardown(test_relu_backward, device_clear),
        cmocka_unit_test_teardown(test_pool, device_clear),
        cmocka_unit_test_teardown(test_dropout, device_clear),
        cmocka_unit_test_teardown(test_transpose, device_clear),
        cmocka_unit_test_teardown(test_gather, device_clear),
    };
    return device_missing() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
