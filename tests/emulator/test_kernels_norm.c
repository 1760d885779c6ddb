/* The kernels of nets with branches: batch normalisation forward and backward, sums, activations,
 * average pooling. Each is compared with its definition as plain loops in float64; the element-wise
 * ones, to what one rounding to the type allows. */
#include "tensors.h"

static double tolerance(cuda_tensor t) {
    return t.type == CUDA_BF16 ? 4e-3 : 2e-6;
}

/* |got - wanted| / |wanted| in the Euclidean norm; NaN where either holds one. */
static void assert_near(const char *what, cuda_tensor t, size_t count, const float *got,
                        const double *wanted, double allowed) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)got[i] - wanted[i]) * ((double)got[i] - wanted[i]);
        size += wanted[i] * wanted[i];
    }
    double error = difference == 0 ? 0 : sqrt(difference / size);
    if (!(error <= allowed))
        fail_msg("%s of [%d,%d,%d,%d] pitch %d (type %d, layout %d): relative error %g, not %g",
                 what, t.count, t.c, t.h, t.w, t.pitch, (int)t.type, (int)t.layout, error, allowed);
}

static double phi(double x) {
    return exp(-0.5 * x * x) * 0.3989422804014327;
}
static double share_below(double x) {
    return 0.5 * erfc(-x * 0.7071067811865476);
}
static double activated(cuda_activation activation, double x) {
    return activation == CUDA_RELU ? fmax(x, 0) : activation == CUDA_GELU ? x * share_below(x) : x;
}
static double slope(cuda_activation activation, double x) {
    return activation == CUDA_RELU ? x > 0 : activation ? share_below(x) + x * phi(x) : 1;
}

static double logistic(double x) {
    return 1 / (1 + exp(-x));
}
static double silu_slope(double x) {
    return logistic(x) * (1 + x * (1 - logistic(x)));
}

/* Batch normalisation -----------------------------------------------------------------------------
 */
static size_t channel_of(cuda_tensor t, size_t element) {
    return element / ((size_t)t.h * (size_t)t.w) % (size_t)t.c;
}

/* Values around 20, of another spread in every channel: a sum of squares would cancel. */
static float *distant_values(cuda_tensor t, uint32_t stream) {
    float *x = random_values(t.type, true_count(t), stream, false);
    for (size_t i = 0; i < true_count(t); i++)
        x[i] = rounded(t.type, 20 + x[i] * (float)(1 + channel_of(t, i) % 3));
    return x;
}

/* [c] random values on the host, [pitch] with zeros behind them on the device. */
static float *channel_values(cuda_tensor t, uint32_t stream, float least, float **there) {
    float *values = calloc((size_t)t.pitch, sizeof *values);
    float *random = random_values(CUDA_F32, (size_t)t.c, stream, false);
    assert_non_null(values);
    for (int c = 0; c < t.c; c++)
        values[c] = least + random[c] * random[c] + 0.5f;
    *there = to_device(values, (size_t)t.pitch * sizeof *values);
    free(random);
    return values;
}

typedef struct {
    double mean, variance, unbiased;
} moments;

static moments moments_of(cuda_tensor t, const float *x, size_t channel) {
    double count = (double)t.count * t.h * t.w, sum = 0, squares = 0;
    for (size_t i = 0; i < true_count(t); i++)
        sum += channel_of(t, i) == channel ? (double)x[i] : 0;
    for (size_t i = 0; i < true_count(t); i++)
        if (channel_of(t, i) == channel)
            squares += ((double)x[i] - sum / count) * ((double)x[i] - sum / count);
    return (moments){sum / count, squares / count, squares / (count > 1 ? count - 1 : 1)};
}

/* A normalisation's inputs, here and on the device. */
typedef struct {
    cuda_tensor shape;
    size_t count;
    float *x, *weight, *bias, *mean, *variance;
    void *x_there;
    float *weight_there, *bias_there, *mean_there, *variance_there;
    cuda_norm norm;
} bench;

static bench make_bench(cuda_tensor t) {
    bench b = {.shape = t, .count = true_count(t), .x = distant_values(t, 20)};
    b.x_there = put_tensor(t, b.x);
    b.weight = channel_values(t, 21, 0, &b.weight_there);
    b.bias = channel_values(t, 22, -1, &b.bias_there);
    b.mean = channel_values(t, 23, 19, &b.mean_there);
    b.variance = channel_values(t, 24, 0, &b.variance_there);
    b.norm = (cuda_norm){b.mean_there, b.variance_there, b.weight_there, b.bias_there, 1e-3f,
                         0.25f,        CUDA_LINEAR};
    return b;
}

static void free_bench(bench *b) {
    free(b->x);
    free(b->weight);
    free(b->bias);
    free(b->mean);
    free(b->variance);
}

static double normalised(const bench *b, size_t i) {
    size_t c = channel_of(b->shape, i);
    return ((double)b->x[i] - (double)b->mean[c]) /
               sqrt((double)b->variance[c] + (double)b->norm.epsilon) * (double)b->weight[c] +
           (double)b->bias[c];
}

static void statistics_in(cuda_tensor t) {
    bench b = make_bench(t);
    size_t bytes = (size_t)t.pitch * sizeof(float);
    float *there[] = {device_memory(bytes), device_memory(bytes), b.mean_there, b.variance_there};
    float *first[4], *again = host_memory(bytes);
    void *scratch = device_memory(kernel_batchnorm_scratch(t));
    float *start[] = {NULL, NULL, to_device(b.mean, bytes), to_device(b.variance, bytes)};
    kernel_batchnorm_statistics(NULL, &b.norm, t, b.x_there, scratch, there[0], there[1], there[2],
                                there[3]);
    for (int k = 0; k < 4; k++)
        from_device(first[k] = host_memory(bytes), there[k], bytes);
    for (int c = 0; c < t.c; c++) {
        moments m = moments_of(t, b.x, (size_t)c);
        double keep = 1 - (double)b.norm.momentum, move = (double)b.norm.momentum;
        const double wanted[] = {m.mean, m.variance, keep * (double)b.mean[c] + move * m.mean,
                                 keep * (double)b.variance[c] + move * m.unbiased};
        for (int k = 0; k < 4; k++)
            assert_true(fabs((double)first[k][c] - wanted[k]) <= 1e-5 * (fabs(wanted[k]) + 1e-6));
    }
    for (int c = t.c; c < t.pitch; c++)
        assert_true(first[0][c] == 0 && first[2][c] == 0 && first[3][c] == 0);
    /* The same bytes again. */
    kernel_batchnorm_statistics(NULL, &b.norm, t, b.x_there, scratch, there[0], there[1], start[2],
                                start[3]);
    for (int k = 0; k < 4; k++) {
        from_device(again, k < 2 ? there[k] : start[k], bytes);
        assert_memory_equal(again, first[k], bytes);
        free(first[k]);
    }
    free(again);
    free_bench(&b);
}

static void forward_in(cuda_tensor t) {
    bench b = make_bench(t);
    float *other = random_values(t.type, b.count, 25, false);
    float *got = host_memory(b.count * sizeof *got);
    double *wanted = host_memory(b.count * sizeof *wanted);
    void *other_there = put_tensor(t, other), *y_there = blank_tensor(t);
    for (int variant = 0; variant < 6; variant++) {
        bool adds = variant % 2;
        b.norm.activation = (cuda_activation)(variant / 2);
        kernel_batchnorm(NULL, &b.norm, t, b.x_there, adds ? other_there : NULL, y_there);
        take_tensor(t, y_there, got);
        for (size_t i = 0; i < b.count; i++)
            wanted[i] =
                activated(b.norm.activation, normalised(&b, i) + (adds ? (double)other[i] : 0));
        assert_near("normalised", t, b.count, got, wanted, tolerance(t));
    }
    free(other);
    free(got);
    free(wanted);
    free_bench(&b);
}

/* The definition: of the mean's and the variance's parts too. */
static void backward_rule(const bench *b, const double *g, double *dx, double *dweight,
                          double *dbias) {
    cuda_tensor t = b->shape;
    double count = (double)t.count * t.h * t.w;
    memset(dweight, 0, (size_t)t.c * sizeof *dweight);
    memset(dbias, 0, (size_t)t.c * sizeof *dbias);
    for (size_t i = 0; i < b->count; i++) {
        size_t c = channel_of(t, i);
        dbias[c] += g[i];
        dweight[c] += g[i] * (normalised(b, i) - (double)b->bias[c]) / (double)b->weight[c];
    }
    for (size_t i = 0; i < b->count; i++) {
        size_t c = channel_of(t, i);
        double xhat = (normalised(b, i) - (double)b->bias[c]) / (double)b->weight[c];
        dx[i] = (double)b->weight[c] / sqrt((double)b->variance[c] + (double)b->norm.epsilon) *
                (g[i] - dbias[c] / count - xhat * dweight[c] / count);
    }
}

/* Variants: the three activations; then a ReLU behind a sum, told by y, its gradient undone in
 * place, and dx added to what was there. */
static void backward_in(cuda_tensor t) {
    enum { BEHIND_A_SUM = 3 };
    bench b = make_bench(t);
    for (int c = 0; c < t.c; c++) { /* as they are in training */
        moments m = moments_of(t, b.x, (size_t)c);
        b.mean[c] = (float)m.mean;
        b.variance[c] = (float)m.variance;
    }
    size_t bytes = (size_t)t.pitch * sizeof(float), channels = (size_t)t.c;
    must(cudaMemcpy(b.mean_there, b.mean, bytes, cudaMemcpyHostToDevice));
    must(cudaMemcpy(b.variance_there, b.variance, bytes, cudaMemcpyHostToDevice));
    float *dy = random_values(t.type, b.count, 26, false), *got = host_memory(b.count * 4);
    float *y = random_values(t.type, b.count, 27, false),
          *before = random_values(t.type, b.count, 28, false);
    double *g = host_memory(b.count * 8), *dx = host_memory(b.count * 8);
    double *dweight = host_memory(channels * 8), *dbias = host_memory(channels * 8);
    void *dy_there = put_tensor(t, dy), *y_there = put_tensor(t, y),
         *dx_there = put_tensor(t, before);
    float *sums = device_memory(2 * bytes), *dweight_there = device_memory(bytes);
    float *dbias_there = device_memory(bytes), *of_channels = host_memory(bytes);
    void *scratch = device_memory(kernel_batchnorm_scratch(t));
    for (int variant = 0; variant <= BEHIND_A_SUM; variant++) {
        const bool summed = variant == BEHIND_A_SUM;
        b.norm.activation = summed ? CUDA_LINEAR : (cuda_activation)variant;
        kernel_batchnorm_backward_sums(NULL, &b.norm, t, b.x_there, dy_there,
                                       summed ? y_there : NULL, dy_there, scratch, sums,
                                       dweight_there, dbias_there);
        if (summed)
            must(cudaMemcpy(dx_there, put_tensor(t, before), memory_count(t) * element_bytes(t),
                            cudaMemcpyDeviceToDevice));
        kernel_batchnorm_backward(NULL, &b.norm, t, sums, b.x_there, dy_there,
                                  summed ? dx_there : NULL, dx_there);
        for (size_t i = 0; i < b.count; i++)
            g[i] = summed ? (y[i] <= 0 ? 0 : (double)dy[i])
                          : (double)dy[i] * slope(b.norm.activation, normalised(&b, i));
        backward_rule(&b, g, dx, dweight, dbias);
        for (size_t i = 0; i < b.count && summed; i++)
            dx[i] += (double)before[i];
        take_tensor(t, dx_there, got);
        /* What is left of one value a channel is nothing but rounding. */
        if (t.count * t.h * t.w > 1)
            assert_near("dx", t, b.count, got, dx, 10 * tolerance(t));
        from_device(of_channels, dbias_there, bytes);
        assert_near("dbias", t, channels, of_channels, dbias, 1e-5);
        from_device(of_channels, dweight_there, bytes);
        if (t.count * t.h * t.w > 1)
            assert_near("dweight", t, channels, of_channels, dweight, 1e-4);
        take_tensor(t, dy_there, got);
        for (size_t i = 0; i < b.count; i++)
            assert_true(got[i] == (summed ? (float)g[i] : dy[i]));
    }
    free(dy);
    free(got);
    free(y);
    free(before);
    free(g);
    free(dx);
    free(dweight);
    free(dbias);
    free(of_channels);
    free_bench(&b);
}

/* What a diverging training holds has to be seen. */
static void test_norm_passes_nan(void **state) {
    (void)state;
    cuda_tensor t = {CUDA_F32, CUDA_NCHW, 4, 2, 3, 3, 2};
    bench b = make_bench(t);
    b.x[20] = NAN; /* of channel 0 */
    void *x_there = put_tensor(t, b.x), *y_there = blank_tensor(t);
    float found[2][2], *got = host_memory(b.count * sizeof *got);
    float *mean = device_memory(8), *variance = device_memory(8);
    kernel_batchnorm_statistics(NULL, &b.norm, t, x_there,
                                device_memory(kernel_batchnorm_scratch(t)), mean, variance,
                                b.mean_there, b.variance_there);
    from_device(found[0], mean, 8);
    from_device(found[1], variance, 8);
    assert_true(isnan(found[0][0]) && isnan(found[1][0]));
    assert_true(!isnan(found[0][1]) && !isnan(found[1][1]));
    for (int activation = 0; activation < 3; activation++) {
        b.norm.mean = mean;
        b.norm.activation = (cuda_activation)activation;
        kernel_batchnorm(NULL, &b.norm, t, x_there, NULL, y_there);
        take_tensor(t, y_there, got);
        for (size_t i = 0; i < b.count; i++)
            assert_true(isnan(got[i]) == (channel_of(t, i) == 0));
    }
    free(got);
    free_bench(&b);
}

static void in_sizes_of_norms(void (*test)(cuda_tensor)) {
    in_every_size(test);
    in_every_form(3, 70, 4, 4, test);  /* rows and columns of threads, packs of planes */
    in_every_form(40, 3, 8, 12, test); /* several slices */
}

static void test_statistics(void **state) {
    (void)state;
    in_sizes_of_norms(statistics_in);
}
static void test_normalised(void **state) {
    (void)state;
    in_sizes_of_norms(forward_in);
}
static void test_norm_backward(void **state) {
    (void)state;
    in_sizes_of_norms(backward_in);
}

/* Sums and activations
 * -----------------------------------------------------------------------------------
 */
static void element_wise_in(cuda_tensor t) {
    size_t count = true_count(t);
    float *a = random_values(t.type, count, 30, true), *b = random_values(t.type, count, 31, true);
    float *got = host_memory(count * sizeof *got), *sum = host_memory(count * sizeof *sum);
    double *wanted = host_memory(count * sizeof *wanted);
    void *a_there = put_tensor(t, a), *b_there = put_tensor(t, b), *y_there = blank_tensor(t);
    for (int relu = 0; relu < 2; relu++) {
        kernel_add(NULL, t, relu ? CUDA_RELU : CUDA_LINEAR, a_there, b_there, y_there);
        take_tensor(t, y_there, got);
        for (size_t i = 0; i < count; i++)
            sum[i] = rounded(t.type, relu && a[i] + b[i] <= 0 ? 0 : a[i] + b[i]);
        assert_values("sum", t, got, sum);
    }
    kernel_add(NULL, t, CUDA_RELU, b_there, a_there, b_there);
    take_tensor(t, b_there, got);
    assert_values("sum in place", t, got, sum);
    for (size_t i = 0; i < count; i++) { /* far from 0 too, without NaN */
        a[i] = isnan(a[i]) ? 0 : rounded(t.type, 6 * a[i]);
        b[i] = isnan(b[i]) ? 1 : b[i];
    }
    a_there = put_tensor(t, a);
    b_there = put_tensor(t, b);
    static const cairn_op_kind kinds[] = {CAIRN_OP_GELU, CAIRN_OP_SILU};
    for (int k = 0; k < 2; k++) {
        kernel_activate(NULL, kinds[k], t, a_there, y_there);
        take_tensor(t, y_there, got);
        for (size_t i = 0; i < count; i++)
            wanted[i] =
                k ? (double)a[i] * logistic((double)a[i]) : activated(CUDA_GELU, (double)a[i]);
        assert_near(cairn_op_kind_name(kinds[k]), t, count, got, wanted, tolerance(t));
        kernel_activate_backward(NULL, kinds[k], t, a_there, b_there, y_there);
        take_tensor(t, y_there, got);
        for (size_t i = 0; i < count; i++)
            wanted[i] =
                (double)b[i] * (k ? silu_slope((double)a[i]) : slope(CUDA_GELU, (double)a[i]));
        assert_near("its gradient", t, count, got, wanted, tolerance(t));
    }
    kernel_activate_backward(NULL, CAIRN_OP_SILU, t, a_there, b_there, b_there);
    take_tensor(t, b_there, got);
    assert_near("its gradient in place", t, count, got, wanted, tolerance(t));
    free(a);
    free(b);
    free(got);
    free(sum);
    free(wanted);
}

static void test_sums_and_activations(void **state) {
    (void)state;
    in_every_size(element_wise_in);
}

/* Average pooling ---------------------------------------------------------------------------------
 */
static cuda_pool pool_now; /* of the case under way */

static void average_in(cuda_tensor in) {
    int k = pool_now.kernel, s = pool_now.stride;
    if (in.h < k || in.w < k)
        return;
    cuda_tensor out = sized(in, (in.h - k) / s + 1, (in.w - k) / s + 1);
    size_t ins = true_count(in), outs = true_count(out);
    float *x = random_values(in.type, ins, 32, false), *got = host_memory(ins * sizeof *got);
    float *dy = random_values(in.type, outs, 33, false);
    double *y = calloc(outs, sizeof *y), *dx = calloc(ins, sizeof *dx);
    assert_true(y && dx);
    for (size_t o = 0; o < outs; o++) {
        size_t plane = o / (size_t)(out.h * out.w), place = o % (size_t)(out.h * out.w);
        for (int u = 0; u < k * k; u++) {
            int row = (int)place / out.w * s + u / k, column = (int)place % out.w * s + u % k;
            size_t at = plane * (size_t)(in.h * in.w) + (size_t)(row * in.w + column);
            y[o] += (double)x[at] / (k * k);
            dx[at] += (double)dy[o] / (k * k);
        }
    }
    void *y_there = blank_tensor(out), *dx_there = blank_tensor(in);
    kernel_average(NULL, pool_now, in, out, put_tensor(in, x), y_there);
    take_tensor(out, y_there, got);
    assert_near("average", out, outs, got, y, tolerance(in));
    kernel_average_backward(NULL, pool_now, in, out, put_tensor(out, dy), dx_there);
    take_tensor(in, dx_there, got);
    assert_near("average's gradient", in, ins, got, dx, tolerance(in));
    free(x);
    free(got);
    free(dy);
    free(y);
    free(dx);
}

static void test_average(void **state) {
    (void)state;
    static const cuda_pool pools[] = {{2, 2, 0}, {3, 1, 0}, {2, 3, 0}, {1, 1, 0}, {4, 4, 0}};
    for (size_t p = 0; p < sizeof pools / sizeof *pools; p++) {
        pool_now = pools[p];
        in_every_size(average_in);
        in_every_form(3, 9, 4, 4, average_in); /* the whole map */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_statistics, device_clear),
        cmocka_unit_test_teardown(test_normalised, device_clear),
        cmocka_unit_test_teardown(test_norm_backward, device_clear),
        cmocka_unit_test_teardown(test_norm_passes_nan, device_clear),
        cmocka_unit_test_teardown(test_sums_and_activations, device_clear),
        cmocka_unit_test_teardown(test_average, device_clear),
    };
    return device_missing() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
