/* The emulated cuDNN: dropout and pooling against their definitions, and what they refuse. */
#include "libraries.h"

enum { COUNT = 4096 };

/* A dropout of 4 x 64 x 4 x 4 elements, not yet set; and shapes that it does not take. */
typedef struct {
    cudnnTensorDescriptor_t shape, other_layout, bf16;
    cudnnDropoutDescriptor_t dropout;
    size_t states_bytes, mask_bytes;
    buffer x, y, again, dx, states, mask;
} dropout_case;

static dropout_case make_dropout(void) {
    dropout_case d;
    OK(cudnnCreateTensorDescriptor(&d.shape));
    OK(cudnnCreateTensorDescriptor(&d.other_layout));
    OK(cudnnCreateTensorDescriptor(&d.bf16));
    OK(cudnnCreateDropoutDescriptor(&d.dropout));
    OK(cudnnSetTensor4dDescriptor(d.shape, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 4, 64, 4, 4));
    OK(cudnnSetTensor4dDescriptor(d.other_layout, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 4, 64, 4,
                                  4));
    OK(cudnnSetTensor4dDescriptor(d.bf16, CUDNN_TENSOR_NHWC, CUDNN_DATA_BFLOAT16, 4, 64, 4, 4));
    OK(cudnnDropoutGetStatesSize(cudnn, &d.states_bytes));
    OK(cudnnDropoutGetReserveSpaceSize(d.shape, &d.mask_bytes));
    d.x = make_buffer(false, COUNT);
    d.y = make_buffer(false, COUNT);
    d.again = make_buffer(false, COUNT);
    d.dx = make_buffer(false, COUNT);
    d.states = make_buffer(false, d.states_bytes / 4);
    d.mask = make_buffer(false, d.mask_bytes / 4 + 1);
    return d;
}

static void free_dropout(dropout_case *d) {
    OK(cudaStreamSynchronize(stream));
    free_buffer(&d->x);
    free_buffer(&d->y);
    free_buffer(&d->again);
    free_buffer(&d->dx);
    free_buffer(&d->states);
    free_buffer(&d->mask);
    OK(cudnnDestroyDropoutDescriptor(d->dropout));
    OK(cudnnDestroyTensorDescriptor(d->bf16));
    OK(cudnnDestroyTensorDescriptor(d->other_layout));
    OK(cudnnDestroyTensorDescriptor(d->shape));
}

static cudnnStatus_t set_dropout(const dropout_case *d, size_t states_bytes) {
    return cudnnSetDropoutDescriptor(d->dropout, cudnn, 0.25f, d->states.data, states_bytes, 1);
}

static cudnnStatus_t drop(const dropout_case *d, cudnnTensorDescriptor_t from,
                          cudnnTensorDescriptor_t to, const buffer *y, size_t mask_bytes) {
    return cudnnDropoutForward(cudnn, d->dropout, from, d->x.data, to, y->data, d->mask.data,
                               mask_bytes);
}

static cudnnStatus_t drop_gradient(const dropout_case *d, cudnnTensorDescriptor_t shape) {
    return cudnnDropoutBackward(cudnn, d->dropout, shape, d->x.data, shape, d->dx.data,
                                d->mask.data, d->mask_bytes);
}

/* No dropout that is not set, no space too small, no two layouts, and no bf16. */
static void test_dropout_refuses(void **state) {
    (void)state;
    dropout_case d = make_dropout();
    assert_int_equal(drop(&d, d.shape, d.shape, &d.y, d.mask_bytes), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(set_dropout(&d, d.states_bytes - 1), CUDNN_STATUS_BAD_PARAM);
    OK(set_dropout(&d, d.states_bytes));
    assert_int_equal(drop(&d, d.shape, d.shape, &d.y, d.mask_bytes - 1), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(drop(&d, d.shape, d.other_layout, &d.y, d.mask_bytes),
                     CUDNN_STATUS_NOT_SUPPORTED);
    assert_int_equal(drop(&d, d.bf16, d.bf16, &d.y, d.mask_bytes), CUDNN_STATUS_NOT_SUPPORTED);
    assert_int_equal(drop_gradient(&d, d.bf16), CUDNN_STATUS_NOT_SUPPORTED);
    free_dropout(&d);
}

/* Keeps about 1 - p of the elements, scaled; backward keeps the same ones; the next call others. */
static void test_dropout(void **state) {
    (void)state;
    dropout_case d = make_dropout();
    OK(set_dropout(&d, d.states_bytes));
    OK(drop(&d, d.shape, d.shape, &d.y, d.mask_bytes));
    OK(drop_gradient(&d, d.shape));
    OK(drop(&d, d.shape, d.shape, &d.again, d.mask_bytes));
    double *first = fetch(&d.y), *second = fetch(&d.again), *back = fetch(&d.dx);
    int kept = 0, differ = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_true(first[i] == 0 || fabs(first[i] - d.x.values[i] / 0.75) <= 0x1p-7);
        assert_true(back[i] == first[i]);
        kept += first[i] != 0;
        differ += (first[i] == 0) != (second[i] == 0);
    }
    assert_true(kept > COUNT * 7 / 10 && kept < COUNT * 8 / 10 && differ > COUNT / 5);
    free(first);
    free(second);
    free(back);
    free_dropout(&d);
}

static void test_pooling(void **state) {
    (void)state;
    enum { N = 2, C = 3, IN = 7, WINDOW = 3, STRIDE = 2, OUT = 3 };
    cudnnTensorDescriptor_t in, out;
    cudnnPoolingDescriptor_t pool;
    int n, c, h, w;
    OK(cudnnCreateTensorDescriptor(&in));
    OK(cudnnCreateTensorDescriptor(&out));
    OK(cudnnCreatePoolingDescriptor(&pool));
    OK(cudnnSetTensor4dDescriptor(in, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, N, C, IN, IN));
    OK(cudnnSetPooling2dDescriptor(pool, CUDNN_POOLING_MAX_DETERMINISTIC, CUDNN_PROPAGATE_NAN,
                                   WINDOW, WINDOW, 0, 0, STRIDE, STRIDE));
    OK(cudnnGetPooling2dForwardOutputDim(pool, in, &n, &c, &h, &w));
    assert_true(n == N && c == C && h == OUT && w == OUT);
    OK(cudnnSetTensor4dDescriptor(out, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, n, c, h, w));
    buffer x = make_buffer(false, N * C * IN * IN), dx = make_buffer(false, x.count);
    buffer y = make_buffer(false, N * C * OUT * OUT), dy = make_buffer(false, y.count);
    double *wanted = calloc(y.count, sizeof *wanted), *gradient = calloc(x.count, sizeof *gradient);
    for (int i = 0; i < (int)y.count; i++) {
        int plane = i / (OUT * OUT) * IN * IN;
        int best = plane + i / OUT % OUT * STRIDE * IN + i % OUT * STRIDE;
        int corner = best;
        for (int u = 0; u < WINDOW * WINDOW; u++) {
            int at = corner + u / WINDOW * IN + u % WINDOW;
            if (x.values[at] > x.values[best])
                best = at;
        }
        wanted[i] = x.values[best];
        gradient[best] += dy.values[i];
    }
    OK(cudnnPoolingForward(cudnn, pool, &one, in, x.data, &zero, out, y.data));
    OK(cudnnPoolingBackward(cudnn, pool, &one, out, y.data, out, dy.data, in, x.data, &zero, in,
                            dx.data));
    assert_near(&y, wanted, 1e-12);
    assert_near(&dx, gradient, 1e-6);
    assert_int_equal(cudnnPoolingForward(cudnn, pool, &one, out, y.data, &zero, out, y.data),
                     CUDNN_STATUS_BAD_PARAM);
    free_buffer(&x);
    free_buffer(&dx);
    free_buffer(&y);
    free_buffer(&dy);
    OK(cudnnDestroyPoolingDescriptor(pool));
    OK(cudnnDestroyTensorDescriptor(out));
    OK(cudnnDestroyTensorDescriptor(in));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_dropout_refuses),
        TEST(test_dropout),
        TEST(test_pooling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
