/* The emulated cuDNN: convolutions by every algorithm against plain loops in float64; and that what
 * the manual forbids is refused or stops the program. */
#include "libraries.h"

/* Convolutions ----------------------------------------------------------------------------------*/

typedef struct {
    int n, c, size, k, filter, pad, stride, dilation;
    bool half, nhwc;
    cudnnMathType_t math;
} conv_shape;

typedef struct {
    conv_shape is;
    int out;
    cudnnTensorDescriptor_t x_desc, y_desc, bias_desc;
    cudnnFilterDescriptor_t w_desc;
    cudnnConvolutionDescriptor_t conv;
    buffer x, w, y, bias, space;
} convolution;

static convolution make_convolution(conv_shape is) {
    convolution made = {.is = is};
    cudnnDataType_t type = is.half ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    cudnnTensorFormat_t format = is.nhwc ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
    int n, c, h, w;
    OK(cudnnCreateTensorDescriptor(&made.x_desc));
    OK(cudnnCreateTensorDescriptor(&made.y_desc));
    OK(cudnnCreateTensorDescriptor(&made.bias_desc));
    OK(cudnnCreateFilterDescriptor(&made.w_desc));
    OK(cudnnCreateConvolutionDescriptor(&made.conv));
    OK(cudnnSetTensor4dDescriptor(made.x_desc, format, type, is.n, is.c, is.size, is.size));
    OK(cudnnSetFilter4dDescriptor(made.w_desc, type, format, is.k, is.c, is.filter, is.filter));
    OK(cudnnSetConvolution2dDescriptor(made.conv, is.pad, is.pad, is.stride, is.stride, is.dilation,
                                       is.dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    OK(cudnnSetConvolutionMathType(made.conv, is.math));
    OK(cudnnGetConvolution2dForwardOutputDim(made.conv, made.x_desc, made.w_desc, &n, &c, &h, &w));
    made.out = (is.size + 2 * is.pad - (is.filter - 1) * is.dilation - 1) / is.stride + 1;
    assert_true(n == is.n && c == is.k && h == made.out && w == made.out);
    OK(cudnnSetTensor4dDescriptor(made.y_desc, format, type, n, c, h, w));
    OK(cudnnSetTensor4dDescriptor(made.bias_desc, format, type, 1, c, 1, 1));
    made.x = make_buffer(is.half, (size_t)(is.n * is.c * is.size * is.size));
    made.w = make_buffer(is.half, (size_t)(is.k * is.c * is.filter * is.filter));
    made.y = make_buffer(is.half, (size_t)(n * c * h * w));
    made.bias = make_buffer(is.half, (size_t)is.k);
    made.space = make_buffer(false, 1 << 18);
    return made;
}

static void free_convolution(convolution *of) {
    free_buffer(&of->space);
    free_buffer(&of->bias);
    free_buffer(&of->y);
    free_buffer(&of->w);
    free_buffer(&of->x);
    OK(cudnnDestroyConvolutionDescriptor(of->conv));
    OK(cudnnDestroyFilterDescriptor(of->w_desc));
    OK(cudnnDestroyTensorDescriptor(of->bias_desc));
    OK(cudnnDestroyTensorDescriptor(of->y_desc));
    OK(cudnnDestroyTensorDescriptor(of->x_desc));
}

static int place(const convolution *of, int channels, int size, int n, int c, int h, int w) {
    return of->is.nhwc ? ((n * size + h) * size + w) * channels + c
                       : ((n * channels + c) * size + h) * size + w;
}

enum { FORWARD, DATA, FILTER };

/* The definition: visits every product and adds it where the pass wants it. */
static double *plain_convolution(const convolution *of, int pass) {
    conv_shape is = of->is;
    const buffer *target = pass == FORWARD ? &of->y : pass == DATA ? &of->x : &of->w;
    double *wanted = calloc(target->count, sizeof *wanted);
    assert_non_null(wanted);
    for (int n = 0; n < is.n; n++)
        for (int k = 0; k < is.k; k++)
            for (int p = 0; p < of->out; p++)
                for (int q = 0; q < of->out; q++)
                    for (int c = 0; c < is.c; c++)
                        for (int r = 0; r < is.filter; r++)
                            for (int s = 0; s < is.filter; s++) {
                                int h = p * is.stride - is.pad + r * is.dilation;
                                int w = q * is.stride - is.pad + s * is.dilation;
                                if (h < 0 || w < 0 || h >= is.size || w >= is.size)
                                    continue;
                                int x = place(of, is.c, is.size, n, c, h, w);
                                int y = place(of, is.k, of->out, n, k, p, q);
                                int f = place(of, is.c, is.filter, k, c, r, s);
                                if (pass == FORWARD)
                                    wanted[y] += of->x.values[x] * of->w.values[f];
                                else if (pass == DATA)
                                    wanted[x] += of->y.values[y] * of->w.values[f];
                                else
                                    wanted[f] += of->y.values[y] * of->x.values[x];
                            }
    return wanted;
}

static cudnnStatus_t run_pass(const convolution *of, int pass, int algorithm, void *space,
                              size_t bytes) {
    switch (pass) {
    case FORWARD:
        return cudnnConvolutionForward(cudnn, &one, of->x_desc, of->x.data, of->w_desc, of->w.data,
                                       of->conv, (cudnnConvolutionFwdAlgo_t)algorithm, space, bytes,
                                       &zero, of->y_desc, of->y.data);
    case DATA:
        return cudnnConvolutionBackwardData(
            cudnn, &one, of->w_desc, of->w.data, of->y_desc, of->y.data, of->conv,
            (cudnnConvolutionBwdDataAlgo_t)algorithm, space, bytes, &zero, of->x_desc, of->x.data);
    default:
        return cudnnConvolutionBackwardFilter(cudnn, &one, of->x_desc, of->x.data, of->y_desc,
                                              of->y.data, of->conv,
                                              (cudnnConvolutionBwdFilterAlgo_t)algorithm, space,
                                              bytes, &zero, of->w_desc, of->w.data);
    }
}

static cudnnStatus_t space_for(const convolution *of, int pass, int algorithm, size_t *bytes) {
    switch (pass) {
    case FORWARD:
        return cudnnGetConvolutionForwardWorkspaceSize(cudnn, of->x_desc, of->w_desc, of->conv,
                                                       of->y_desc,
                                                       (cudnnConvolutionFwdAlgo_t)algorithm, bytes);
    case DATA:
        return cudnnGetConvolutionBackwardDataWorkspaceSize(
            cudnn, of->w_desc, of->y_desc, of->conv, of->x_desc,
            (cudnnConvolutionBwdDataAlgo_t)algorithm, bytes);
    default:
        return cudnnGetConvolutionBackwardFilterWorkspaceSize(
            cudnn, of->x_desc, of->y_desc, of->conv, of->w_desc,
            (cudnnConvolutionBwdFilterAlgo_t)algorithm, bytes);
    }
}

/* Every algorithm that says it can, in every pass, gives the definition's result, with exactly the
 * workspace that it asked for. Returns how many did. */
static int check_every_algorithm(conv_shape is, double tolerance) {
    int supported = 0;
    for (int pass = FORWARD; pass <= FILTER; pass++)
        for (int algorithm = 0; algorithm < 8; algorithm++) {
            convolution of = make_convolution(is);
            size_t bytes;
            if (!space_for(&of, pass, algorithm, &bytes)) {
                assert_true(bytes <= of.space.count * 4);
                OK(run_pass(&of, pass, algorithm, of.space.data, bytes));
                assert_near(pass == FORWARD ? &of.y
                            : pass == DATA  ? &of.x
                                            : &of.w,
                            plain_convolution(&of, pass), tolerance);
                supported++;
            } else {
                assert_int_equal(run_pass(&of, pass, algorithm, of.space.data, 1 << 20),
                                 CUDNN_STATUS_NOT_SUPPORTED);
            }
            free_convolution(&of);
        }
    return supported;
}

static void test_convolutions(void **state) {
    (void)state;
    const cudnnMathType_t fma = CUDNN_FMA_MATH, any = CUDNN_DEFAULT_MATH;
    const struct {
        conv_shape is;
        double tolerance;
        int algorithms; /* that can */
    } cases[] = {
        {{2, 3, 8, 5, 3, 1, 1, 1, false, false, fma}, 1e-6, 19},
        {{2, 3, 9, 5, 5, 2, 1, 1, false, false, fma}, 1e-6, 17},
        {{1, 3, 9, 5, 3, 1, 2, 1, false, false, fma}, 1e-6, 8},
        {{1, 3, 10, 2, 3, 2, 1, 2, false, false, fma}, 1e-6, 7},
        {{3, 3, 11, 5, 4, 0, 3, 1, false, true, fma}, 1e-6, 6},
        {{2, 4, 8, 8, 3, 1, 1, 1, false, true, any}, 2e-3, 6},
        {{2, 3, 8, 5, 3, 1, 1, 1, false, false, any}, 2e-3, 19},
        {{2, 8, 8, 16, 3, 1, 1, 1, true, true, any}, 1e-2, 6},
        {{2, 8, 7, 16, 3, 1, 2, 1, true, true, any}, 1e-2, 6},
        {{2, 3, 8, 5, 3, 1, 1, 1, true, false, any}, 1e-2, 11},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(check_every_algorithm(cases[i].is, cases[i].tolerance),
                         cases[i].algorithms);
}

/* float32 with tensor cores is tf32; FMA math is not. */
static void test_math_types(void **state) {
    (void)state;
    conv_shape is = {2, 4, 8, 4, 3, 1, 1, 1, false, true, CUDNN_DEFAULT_MATH};
    for (int strict = 0; strict < 2; strict++) {
        is.math = strict ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH;
        convolution of = make_convolution(is);
        OK(run_pass(&of, FORWARD, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, of.space.data,
                    of.space.count * 4));
        double *wanted = plain_convolution(&of, FORWARD), *got = fetch(&of.y);
        double error = distance(got, wanted, of.y.count);
        assert_true(strict ? error < 1e-6 : error > 1e-5);
        free(wanted);
        free(got);
        free_convolution(&of);
    }
}

/* An algorithm says that it is deterministic exactly when two runs give the same bytes. */
static void test_determinism(void **state) {
    (void)state;
    for (int half = 0; half < 2; half++) {
        conv_shape is = {2, 8, 8, 8, 3, 1, 1, 1, half, false, CUDNN_DEFAULT_MATH};
        convolution of = make_convolution(is);
        cudnnConvolutionBwdFilterAlgoPerf_t found[8];
        int count, wavering = 0;
        OK(cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnn, of.x_desc, of.y_desc, of.conv,
                                                         of.w_desc, 8, &count, found));
        for (int i = 0; i < count && !found[i].status; i++) {
            double *values[2];
            for (int run = 0; run < 2; run++) {
                OK(run_pass(&of, FILTER, (int)found[i].algo, of.space.data, found[i].memory));
                values[run] = fetch(&of.w);
            }
            bool same = !memcmp(values[0], values[1], of.w.count * sizeof *values[0]);
            assert_int_equal(same, found[i].determinism == CUDNN_DETERMINISTIC);
            wavering += !same;
            free(values[0]);
            free(values[1]);
        }
        assert_int_equal(wavering, 2);
        assert_int_equal(found[0].determinism, CUDNN_NON_DETERMINISTIC);
        free_convolution(&of);
    }
}

static void test_find_spoils_the_output(void **state) {
    (void)state;
    conv_shape is = {2, 8, 8, 8, 3, 1, 1, 1, false, false, CUDNN_FMA_MATH};
    convolution of = make_convolution(is);
    cudnnConvolutionFwdAlgoPerf_t found[8];
    int count;
    OK(cudnnFindConvolutionForwardAlgorithmEx(cudnn, of.x_desc, of.x.data, of.w_desc, of.w.data,
                                              of.conv, of.y_desc, of.y.data, 8, &count, found,
                                              of.space.data, of.space.count * 4));
    assert_int_equal(count, 7);
    assert_int_equal(found[0].status, CUDNN_STATUS_SUCCESS);
    assert_true(found[0].time >= 0 && found[0].time < found[1].time);
    double *got = fetch(&of.y);
    assert_true(isnan(got[0]));
    free(got);

    /* It waits for the device, which a capture forbids. */
    cudaGraph_t graph;
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    assert_int_equal(cudnnFindConvolutionForwardAlgorithmEx(
                         cudnn, of.x_desc, of.x.data, of.w_desc, of.w.data, of.conv, of.y_desc,
                         of.y.data, 8, &count, found, of.space.data, of.space.count * 4),
                     CUDNN_STATUS_EXECUTION_FAILED);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    free_convolution(&of);
}

static void test_bias_gradient(void **state) {
    (void)state;
    for (int nhwc = 0; nhwc < 2; nhwc++) {
        conv_shape is = {3, 2, 5, 4, 3, 1, 1, 1, false, nhwc, CUDNN_FMA_MATH};
        convolution of = make_convolution(is);
        double *wanted = calloc(4, sizeof *wanted);
        for (int n = 0; n < 3; n++)
            for (int c = 0; c < 4; c++)
                for (int pixel = 0; pixel < 25; pixel++)
                    wanted[c] += of.y.values[place(&of, 4, 5, n, c, pixel / 5, pixel % 5)];
        OK(cudnnConvolutionBackwardBias(cudnn, &one, of.y_desc, of.y.data, &zero, of.bias_desc,
                                        of.bias.data));
        assert_near(&of.bias, wanted, 1e-6);
        free_convolution(&of);
    }
}

static void test_convolution_refuses(void **state) {
    (void)state;
    const int precomp = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
    conv_shape is = {2, 8, 8, 8, 3, 1, 1, 1, true, true, CUDNN_DEFAULT_MATH};
    convolution of = make_convolution(is);
    size_t bytes;
    OK(space_for(&of, FORWARD, precomp, &bytes));
    assert_true(bytes > 0);
    assert_int_equal(run_pass(&of, FORWARD, precomp, of.space.data, bytes - 1),
                     CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT);
    assert_int_equal(run_pass(&of, FORWARD, precomp, NULL, bytes),
                     CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT);
    assert_int_equal(run_pass(&of, FORWARD, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED,
                              of.space.data, 1 << 20),
                     CUDNN_STATUS_NOT_SUPPORTED); /* NHWC */
    void *whole = of.x.data;
    of.x.data = (char *)whole + 2;
    assert_int_equal(run_pass(&of, FORWARD, precomp, of.space.data, bytes),
                     CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
    of.x.data = whole;
    OK(cudnnSetTensor4dDescriptor(of.y_desc, CUDNN_TENSOR_NHWC, CUDNN_DATA_BFLOAT16, 2, 8, 7, 8));
    assert_int_equal(run_pass(&of, FORWARD, precomp, of.space.data, bytes), CUDNN_STATUS_BAD_PARAM);
    OK(cudnnSetTensor4dDescriptor(of.y_desc, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 2, 8, 8, 8));
    assert_int_equal(run_pass(&of, FORWARD, precomp, of.space.data, bytes),
                     CUDNN_STATUS_NOT_SUPPORTED);
    assert_int_equal(
        cudnnSetTensor4dDescriptor(of.y_desc, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 0, 8, 8, 8),
        CUDNN_STATUS_BAD_PARAM);
    free_convolution(&of);

    is.c = 3; /* not padded */
    of = make_convolution(is);
    assert_int_equal(space_for(&of, FORWARD, precomp, &bytes), CUDNN_STATUS_NOT_SUPPORTED);
    emulator_set_capability(7, 5);
    free_convolution(&of);
    is.c = 8;
    of = make_convolution(is);
    assert_int_equal(space_for(&of, FORWARD, precomp, &bytes), CUDNN_STATUS_NOT_SUPPORTED);
    free_convolution(&of);

    cudnnTensorDescriptor_t unset;
    size_t size;
    OK(cudnnCreateTensorDescriptor(&unset));
    assert_int_equal(cudnnGetTensorSizeInBytes(unset, &size), CUDNN_STATUS_BAD_PARAM);
    OK(cudnnDestroyTensorDescriptor(unset));
}

static void convolve_freed(void *context) {
    convolution *of = context;
    OK(run_pass(of, FORWARD, 0, NULL, 0));
    OK(cudaFree(of->x.data));
    cudaStreamSynchronize(stream);
}

static void convolve_into_input(void *context) {
    convolution *of = context;
    of->y.data = of->x.data;
    run_pass(of, FORWARD, 0, NULL, 0);
}

static void convolve_past_the_end(void *context) {
    convolution *of = context;
    of->w.data = (char *)of->w.data + 16;
    run_pass(of, FORWARD, 0, NULL, 0);
}

static void test_convolution_misuse(void **state) {
    (void)state;
    conv_shape is = {2, 4, 8, 4, 3, 1, 1, 1, false, false, CUDNN_FMA_MATH};
    convolution of = make_convolution(is);
    assert_dies(convolve_freed, &of, "x is not inside live device memory");
    assert_dies(convolve_into_input, &of, "y overlaps x");
    assert_dies(convolve_past_the_end, &of, "w is not inside live device memory");
    free_convolution(&of);
}

/* Handles and faults ----------------------------------------------------------------------------*/

static void test_handles(void **state) {
    (void)state;
    cudnnHandle_t other;
    assert_int_equal(cudnnGetVersion(), CUDNN_VERSION);
    emulator_set_cudnn(80907);
    assert_int_equal(cudnnGetVersion(), 80907);
    emulator_fail("cudnnCreate", 1, CUDNN_STATUS_NOT_INITIALIZED);
    assert_int_equal(cudnnCreate(&other), CUDNN_STATUS_NOT_INITIALIZED);
    assert_int_equal(cudnnSetStream(cudnn, (cudaStream_t)(uintptr_t)0x1234),
                     CUDNN_STATUS_BAD_PARAM);
    emulator_set_devices(0);
    assert_int_equal(cudnnCreate(&other), CUDNN_STATUS_NOT_INITIALIZED);
}

/* A broken device fails the library's calls too. */
static void test_broken_device(void **state) {
    (void)state;
    conv_shape is = {2, 4, 8, 4, 3, 1, 1, 1, false, false, CUDNN_FMA_MATH};
    convolution of = make_convolution(is);
    emulator_lose_device(cudaErrorIllegalAddress);
    assert_int_equal(run_pass(&of, FORWARD, 0, NULL, 0), CUDNN_STATUS_EXECUTION_FAILED);
    emulator_reset();
    free_convolution(&of);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_convolutions),           TEST(test_math_types),    TEST(test_determinism),
        TEST(test_find_spoils_the_output), TEST(test_bias_gradient), TEST(test_convolution_refuses),
        TEST(test_convolution_misuse),     TEST(test_handles),       TEST(test_broken_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
