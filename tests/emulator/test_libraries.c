/* The emulated cuBLASLt and cuDNN: results against plain loops in float64, over types, layouts,
 * epilogues and algorithms; and that what the manuals forbid is refused or stops the program. */
#include "control.h"
#include "dies.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <math.h>
#include <stdbool.h>

#define OK(call) assert_int_equal(call, 0)
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static const float one = 1, zero = 0;
static emulator_live before;
static cudaStream_t stream;
static cublasLtHandle_t cublas;
static cudnnHandle_t cudnn;

static int set_up(void **state) {
    (void)state;
    emulator_reset();
    before = emulator_count_live();
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cublasLtCreate(&cublas));
    OK(cudnnCreate(&cudnn));
    OK(cudnnSetStream(cudnn, stream));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    cudnnDestroy(cudnn);
    cublasLtDestroy(cublas);
    cudaStreamDestroy(stream);
    emulator_live after = emulator_count_live();
    emulator_reset();
    return memcmp(&before, &after, sizeof before);
}

/* Values ----------------------------------------------------------------------------------------*/

static float rounded(bool half, float value) {
    uint32_t bits;
    if (!half)
        return value;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Device memory and the values that it holds, float32 or bf16. */
typedef struct {
    bool half;
    size_t count;
    double *values;
    void *data;
} buffer;

static void *narrow(const buffer *from) {
    unsigned char *bytes = calloc(from->count, 4);
    assert_non_null(bytes);
    for (size_t i = 0; i < from->count; i++) {
        float value = (float)from->values[i];
        memcpy(bytes + i * (from->half ? 2 : 4), (unsigned char *)&value + (from->half ? 2 : 0),
               from->half ? 2 : 4);
    }
    return bytes;
}

static buffer make_buffer(bool half, size_t count) {
    static uint32_t state = 1;
    buffer made = {half, count, calloc(count, sizeof(double)), NULL};
    assert_non_null(made.values);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        made.values[i] = (double)rounded(half, (float)(state >> 8) * 0x1p-23f - 1);
    }
    OK(cudaMalloc(&made.data, count * (half ? 2 : 4)));
    void *bytes = narrow(&made);
    OK(cudaMemcpy(made.data, bytes, count * (half ? 2 : 4), cudaMemcpyHostToDevice));
    free(bytes);
    return made;
}

static void free_buffer(buffer *of) {
    free(of->values);
    OK(cudaFree(of->data));
}

/* The device's values, after the stream's work. */
static double *fetch(const buffer *of) {
    unsigned char *bytes = calloc(of->count, 4);
    double *values = calloc(of->count, sizeof *values);
    assert_true(bytes && values);
    OK(cudaStreamSynchronize(stream));
    OK(cudaMemcpy(bytes, of->data, of->count * (of->half ? 2 : 4), cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < of->count; i++) {
        float value = 0;
        memcpy((unsigned char *)&value + (of->half ? 2 : 0), bytes + i * (of->half ? 2 : 4),
               of->half ? 2 : 4);
        values[i] = (double)value;
    }
    free(bytes);
    return values;
}

/* |a - b| / |b|; NaN when anything is. */
static double distance(const double *a, const double *b, size_t count) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return sqrt(difference / size);
}

/* Compares with `wanted`, and frees it. */
static void assert_near(const buffer *of, double *wanted, double tolerance) {
    double *got = fetch(of);
    double error = distance(got, wanted, of->count);
    if (!(error < tolerance))
        fail_msg("differs by %g, more than %g", error, tolerance);
    free(got);
    free(wanted);
}

/* cuBLASLt --------------------------------------------------------------------------------------*/

typedef struct {
    int m, n, k;
    bool turn_a, turn_b, half, half_out, tf32;
    uint32_t epilogue;
} product;

typedef struct {
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found[4];
    int count;
    buffer in_a, in_b, out, bias, workspace;
    void *aux;
} matmul;

enum { PITCH = 3, AUX_PITCH = 128 }; /* elements beyond a column's own */

static void set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                const void *value, size_t size) {
    OK(cublasLtMatmulDescSetAttribute(desc, attribute, value, size));
}

static matmul make_matmul(product of) {
    matmul made = {0};
    cublasComputeType_t compute = of.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasOperation_t a_op = of.turn_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t b_op = of.turn_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    int a_rows = of.turn_a ? of.k : of.m, b_rows = of.turn_b ? of.n : of.k;
    int a_columns = of.turn_a ? of.m : of.k, b_columns = of.turn_b ? of.k : of.n;
    uint64_t space = 1 << 20;
    int64_t aux_pitch = AUX_PITCH;
    made.in_a = make_buffer(of.half, (size_t)((a_rows + PITCH) * a_columns));
    made.in_b = make_buffer(of.half, (size_t)((b_rows + PITCH) * b_columns));
    made.out = make_buffer(of.half_out, (size_t)((of.m + PITCH) * of.n));
    made.bias = make_buffer(of.half_out, (size_t)(of.m + of.n));
    made.workspace = make_buffer(false, (1 << 20) / 4);
    OK(cudaMalloc(&made.aux, (size_t)(AUX_PITCH / 8 * of.n)));
    OK(cublasLtMatmulDescCreate(&made.desc, compute, CUDA_R_32F));
    set(made.desc, CUBLASLT_MATMUL_DESC_TRANSA, &a_op, sizeof a_op);
    set(made.desc, CUBLASLT_MATMUL_DESC_TRANSB, &b_op, sizeof b_op);
    set(made.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &of.epilogue, sizeof of.epilogue);
    set(made.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &made.bias.data, sizeof made.bias.data);
    set(made.desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &made.aux, sizeof made.aux);
    set(made.desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &aux_pitch, sizeof aux_pitch);
    cudaDataType_t in = of.half ? CUDA_R_16BF : CUDA_R_32F;
    cudaDataType_t out = of.half_out ? CUDA_R_16BF : CUDA_R_32F;
    OK(cublasLtMatrixLayoutCreate(&made.a, in, (uint64_t)a_rows, (uint64_t)a_columns,
                                  a_rows + PITCH));
    OK(cublasLtMatrixLayoutCreate(&made.b, in, (uint64_t)b_rows, (uint64_t)b_columns,
                                  b_rows + PITCH));
    OK(cublasLtMatrixLayoutCreate(&made.d, out, (uint64_t)of.m, (uint64_t)of.n, of.m + PITCH));
    OK(cublasLtMatmulPreferenceCreate(&made.preference));
    OK(cublasLtMatmulPreferenceSetAttribute(
        made.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &space, sizeof space));
    return made;
}

static cublasStatus_t find(matmul *of) {
    return cublasLtMatmulAlgoGetHeuristic(cublas, of->desc, of->a, of->b, of->d, of->d,
                                          of->preference, 4, of->found, &of->count);
}

static cublasStatus_t multiply_into(const matmul *of, const float *beta, void *out, size_t space) {
    return cublasLtMatmul(cublas, of->desc, &one, of->in_a.data, of->a, of->in_b.data, of->b, beta,
                          out, of->d, out, of->d, &of->found[0].algo, of->workspace.data, space,
                          stream);
}

static cublasStatus_t multiply(const matmul *of, const float *beta) {
    return multiply_into(of, beta, of->out.data, of->workspace.count * 4);
}

static void free_matmul(matmul *of) {
    OK(cublasLtMatmulPreferenceDestroy(of->preference));
    OK(cublasLtMatrixLayoutDestroy(of->d));
    OK(cublasLtMatrixLayoutDestroy(of->b));
    OK(cublasLtMatrixLayoutDestroy(of->a));
    OK(cublasLtMatmulDescDestroy(of->desc));
    OK(cudaFree(of->aux));
    free_buffer(&of->workspace);
    free_buffer(&of->bias);
    free_buffer(&of->out);
    free_buffer(&of->in_b);
    free_buffer(&of->in_a);
}

static double a_at(const matmul *of, product p, int i, int j) {
    int pitch = (p.turn_a ? p.k : p.m) + PITCH;
    return of->in_a.values[p.turn_a ? i * pitch + j : j * pitch + i];
}

static double b_at(const matmul *of, product p, int i, int j) {
    int pitch = (p.turn_b ? p.n : p.k) + PITCH;
    return of->in_b.values[p.turn_b ? i * pitch + j : j * pitch + i];
}

/* The plain product plus `beta` times what the output held; what lies between columns stays. */
static double *plain_product(const matmul *of, product p, double beta) {
    double *wanted = calloc(of->out.count, sizeof *wanted);
    assert_non_null(wanted);
    memcpy(wanted, of->out.values, of->out.count * sizeof *wanted);
    for (int j = 0; j < p.n; j++)
        for (int i = 0; i < p.m; i++) {
            double *at = &wanted[j * (p.m + PITCH) + i], sum = 0;
            for (int x = 0; x < p.k; x++)
                sum += a_at(of, p, i, x) * b_at(of, p, x, j);
            *at = sum + beta * *at;
        }
    return wanted;
}

static void test_products(void **state) {
    (void)state;
    static const struct {
        bool half, half_out, tf32;
        double tolerance;
    } kinds[] = {{false, false, false, 1e-6},
                 {false, false, true, 2e-3},
                 {true, true, false, 1e-2},
                 {true, false, false, 1e-6}};
    static const int sizes[][3] = {{1, 1, 1}, {5, 3, 7}, {33, 70, 129}, {600, 17, 300}};
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++)
        for (size_t size = 0; size < COUNT_OF(sizes); size++)
            for (int turns = 0; turns < 4; turns++)
                for (int add = 0; add < 2; add++) {
                    product p = {.m = sizes[size][0],
                                 .n = sizes[size][1],
                                 .k = sizes[size][2],
                                 .turn_a = turns & 1,
                                 .turn_b = turns & 2,
                                 .half = kinds[kind].half,
                                 .half_out = kinds[kind].half_out,
                                 .tf32 = kinds[kind].tf32,
                                 .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
                    matmul of = make_matmul(p);
                    OK(find(&of));
                    assert_int_equal(of.count, 2);
                    OK(multiply(&of, add ? &one : &zero));
                    assert_near(&of.out, plain_product(&of, p, add), kinds[kind].tolerance);
                    free_matmul(&of);
                }
}

/* tf32 rounds: the result is not float32's. */
static void test_tf32_rounds(void **state) {
    (void)state;
    product p = {.m = 16, .n = 16, .k = 64, .tf32 = true, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    matmul of = make_matmul(p);
    OK(find(&of));
    OK(multiply(&of, &zero));
    double *wanted = plain_product(&of, p, 0), *got = fetch(&of.out);
    assert_true(distance(got, wanted, of.out.count) > 1e-5);
    free(wanted);
    free(got);
    free_matmul(&of);
}

static void test_epilogues(void **state) {
    (void)state;
    static const uint32_t epilogues[] = {
        CUBLASLT_EPILOGUE_RELU,     CUBLASLT_EPILOGUE_BIAS,          CUBLASLT_EPILOGUE_RELU_BIAS,
        CUBLASLT_EPILOGUE_RELU_AUX, CUBLASLT_EPILOGUE_RELU_AUX_BIAS, CUBLASLT_EPILOGUE_DRELU,
        CUBLASLT_EPILOGUE_BGRADA,   CUBLASLT_EPILOGUE_BGRADB,        CUBLASLT_EPILOGUE_DRELU_BGRAD,
    };
    for (size_t e = 0; e < COUNT_OF(epilogues); e++) {
        uint32_t epilogue = epilogues[e];
        product p = {.m = 37, .n = 21, .k = 50, .turn_a = e % 2, .epilogue = epilogue};
        bool adds = epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_RELU_BIAS ||
                    epilogue == CUBLASLT_EPILOGUE_RELU_AUX_BIAS;
        bool masks = epilogue & 128 && epilogue & 2, masked = epilogue & 128 && epilogue & 8;
        matmul of = make_matmul(p);
        double *wanted = plain_product(&of, p, 0), *sums = calloc(of.bias.count, sizeof *sums);
        uint8_t bits[21 * AUX_PITCH / 8], got_bits[sizeof bits];
        memset(bits, 0x5a, sizeof bits);
        OK(cudaMemcpy(of.aux, bits, sizeof bits, cudaMemcpyHostToDevice));
        memcpy(sums, of.bias.values, of.bias.count * sizeof *sums);
        if (epilogue == CUBLASLT_EPILOGUE_DRELU_BGRAD || epilogue == CUBLASLT_EPILOGUE_BGRADA)
            memset(sums, 0, (size_t)p.m * sizeof *sums);
        if (epilogue == CUBLASLT_EPILOGUE_BGRADB)
            memset(sums, 0, (size_t)p.n * sizeof *sums);
        for (int j = 0; j < p.n; j++)
            for (int i = 0; i < p.m; i++) {
                double *at = &wanted[j * (p.m + PITCH) + i];
                int bit = j * AUX_PITCH + i;
                *at += adds ? of.bias.values[i] : 0;
                if (masks)
                    bits[bit / 8] =
                        (uint8_t)((bits[bit / 8] & ~(1 << bit % 8)) | (*at > 0) << bit % 8);
                if (epilogue & CUBLASLT_EPILOGUE_RELU)
                    *at = *at > 0 ? *at : 0;
                if (masked && !(bits[bit / 8] >> bit % 8 & 1))
                    *at = 0;
                if (epilogue == CUBLASLT_EPILOGUE_DRELU_BGRAD)
                    sums[i] += *at;
            }
        for (int x = 0; x < p.k; x++) {
            for (int i = 0; i < p.m && epilogue == CUBLASLT_EPILOGUE_BGRADA; i++)
                sums[i] += a_at(&of, p, i, x);
            for (int j = 0; j < p.n && epilogue == CUBLASLT_EPILOGUE_BGRADB; j++)
                sums[j] += b_at(&of, p, x, j);
        }
        OK(find(&of));
        OK(multiply(&of, &zero));
        assert_near(&of.out, wanted, 1e-6);
        assert_near(&of.bias, sums, 1e-6);
        OK(cudaMemcpy(got_bits, of.aux, sizeof bits, cudaMemcpyDeviceToHost));
        assert_memory_equal(got_bits, bits, sizeof bits);
        free_matmul(&of);
    }
}

/* A matmul is asynchronous: it reads what its operands hold when it runs. */
static void test_matmul_waits(void **state) {
    (void)state;
    product p = {.m = 4, .n = 4, .k = 4, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    matmul of = make_matmul(p);
    OK(find(&of));
    OK(multiply(&of, &zero));
    OK(cudaMemset(of.in_a.data, 0, of.in_a.count * 4));
    OK(cudaStreamSynchronize(NULL));
    double *got = fetch(&of.out);
    assert_true(got[0] == 0);
    free(got);
    free_matmul(&of);
}

static void test_matmul_refuses(void **state) {
    (void)state;
    product p = {.m = 8, .n = 8, .k = 8, .epilogue = CUBLASLT_EPILOGUE_DEFAULT}, other = p;
    other.n = 16;
    matmul of = make_matmul(p), wide = make_matmul(other);
    OK(find(&of));
    OK(find(&wide));
    size_t needed = of.found[0].workspaceSize;
    assert_true(needed > 0);
    assert_int_equal(multiply_into(&of, &zero, of.out.data, needed - 1),
                     CUBLAS_STATUS_INVALID_VALUE);
    of.found[0] = wide.found[0];
    assert_int_equal(multiply(&of, &zero), CUBLAS_STATUS_INVALID_VALUE);
    assert_string_equal(emulator_why(), "the algorithm was chosen for another problem");

    uint64_t rows = 9;
    int64_t pitch = 7, aux_pitch = 64;
    OK(cublasLtMatrixLayoutSetAttribute(of.b, CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, sizeof rows));
    assert_int_equal(find(&of), CUBLAS_STATUS_INVALID_VALUE);
    rows = 8;
    OK(cublasLtMatrixLayoutSetAttribute(of.b, CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, sizeof rows));
    OK(cublasLtMatrixLayoutSetAttribute(of.b, CUBLASLT_MATRIX_LAYOUT_LD, &pitch, sizeof pitch));
    assert_int_equal(find(&of), CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(cublasLtMatrixLayoutSetAttribute(of.b, CUBLASLT_MATRIX_LAYOUT_LD, &pitch, 4),
                     CUBLAS_STATUS_INVALID_VALUE);
    set(wide.desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &aux_pitch, sizeof aux_pitch);
    set(wide.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &(uint32_t){CUBLASLT_EPILOGUE_RELU_AUX}, 4);
    assert_int_equal(find(&wide), CUBLAS_STATUS_INVALID_VALUE);
    set(wide.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &(uint32_t){CUBLASLT_EPILOGUE_BIAS}, 4);
    set(wide.desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &(int32_t){CUDA_R_16BF}, 4);
    assert_int_equal(find(&wide), CUBLAS_STATUS_NOT_SUPPORTED);
    free_matmul(&wide);
    free_matmul(&of);

    product mixed = {.m = 8, .n = 8, .k = 8, .half_out = true, .epilogue = 1};
    of = make_matmul(mixed);
    assert_int_equal(find(&of), CUBLAS_STATUS_NOT_SUPPORTED);
    free_matmul(&of);
    product fast = {.m = 8, .n = 8, .k = 8, .half = true, .tf32 = true, .epilogue = 1};
    of = make_matmul(fast);
    assert_int_equal(find(&of), CUBLAS_STATUS_NOT_SUPPORTED);
    free_matmul(&of);
}

static void multiply_past_the_end(void *context) {
    matmul *of = context;
    multiply_into(of, &zero, (char *)of->out.data + 16, of->workspace.count * 4);
}

static void multiply_unaligned(void *context) {
    matmul *of = context;
    multiply_into(of, &zero, (char *)of->out.data + 4, of->workspace.count * 4);
}

static void multiply_into_input(void *context) {
    matmul *of = context;
    multiply_into(of, &zero, of->in_a.data, of->workspace.count * 4);
}

static void multiply_freed(void *context) {
    matmul *of = context;
    OK(multiply(of, &zero));
    OK(cudaFree(of->in_b.data));
    cudaStreamSynchronize(stream);
}

static void multiply_with_device_scale(void *context) {
    matmul *of = context;
    multiply(of, of->bias.data);
}

static void test_matmul_misuse(void **state) {
    (void)state;
    product p = {.m = 8, .n = 8, .k = 8, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    matmul of = make_matmul(p);
    OK(find(&of));
    assert_dies(multiply_past_the_end, &of, "D is not inside live device memory");
    assert_dies(multiply_unaligned, &of, "aligned less than the heuristic was promised");
    assert_dies(multiply_into_input, &of, "D overlaps A or B");
    assert_dies(multiply_freed, &of, "B is not inside live device memory");
    assert_dies(multiply_with_device_scale, &of, "alpha and beta are in device memory");
    free_matmul(&of);
}

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
                OK(run_pass(&of, FILTER, found[i].algo, of.space.data, found[i].memory));
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

static cudnnStatus_t run_fused(const convolution *of, int algorithm, cudnnActivationMode_t mode,
                               cudnnNanPropagation_t nan, const buffer *z) {
    cudnnActivationDescriptor_t act;
    OK(cudnnCreateActivationDescriptor(&act));
    OK(cudnnSetActivationDescriptor(act, mode, nan, 0));
    cudnnStatus_t status = cudnnConvolutionBiasActivationForward(
        cudnn, &one, of->x_desc, of->x.data, of->w_desc, of->w.data, of->conv,
        (cudnnConvolutionFwdAlgo_t)algorithm, of->space.data, of->space.count * 4, z ? &one : &zero,
        of->y_desc, z ? z->data : of->y.data, of->bias_desc, of->bias.data, act, of->y_desc,
        of->y.data);
    OK(cudnnDestroyActivationDescriptor(act));
    return status;
}

static void test_fused_convolution(void **state) {
    (void)state;
    const int precomp = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
    for (int variant = 0; variant < 4; variant++) {
        bool relu = variant & 1, add = variant & 2;
        conv_shape is = {2, 8, 6, 8, 3, 1, 1, 1, variant == 3, true, CUDNN_DEFAULT_MATH};
        convolution of = make_convolution(is);
        buffer z = make_buffer(is.half, of.y.count);
        double *wanted = plain_convolution(&of, FORWARD);
        for (size_t i = 0; i < of.y.count; i++) {
            wanted[i] += of.bias.values[i % 8] + (add ? z.values[i] : 0);
            wanted[i] = relu && wanted[i] < 0 ? 0 : wanted[i];
        }
        OK(run_fused(&of, precomp, relu ? CUDNN_ACTIVATION_RELU : CUDNN_ACTIVATION_IDENTITY,
                     CUDNN_NOT_PROPAGATE_NAN, add ? &z : NULL));
        assert_near(&of.y, wanted, is.half ? 1e-2 : 2e-3);
        assert_int_equal(run_fused(&of, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
                                   CUDNN_ACTIVATION_IDENTITY, CUDNN_NOT_PROPAGATE_NAN, NULL),
                         CUDNN_STATUS_NOT_SUPPORTED);
        assert_int_equal(run_fused(&of, precomp, CUDNN_ACTIVATION_RELU, CUDNN_PROPAGATE_NAN, NULL),
                         CUDNN_STATUS_NOT_SUPPORTED);
        assert_int_equal(
            run_fused(&of, precomp, CUDNN_ACTIVATION_TANH, CUDNN_NOT_PROPAGATE_NAN, NULL),
            CUDNN_STATUS_NOT_SUPPORTED);
        free_buffer(&z);
        free_convolution(&of);
    }
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

/* Pooling ---------------------------------------------------------------------------------------*/

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

/* Handles and faults ----------------------------------------------------------------------------*/

static void test_handles(void **state) {
    (void)state;
    cudnnHandle_t other;
    cublasLtHandle_t more;
    assert_int_equal(cudnnGetVersion(), CUDNN_VERSION);
    emulator_set_cudnn(80907);
    assert_int_equal(cudnnGetVersion(), 80907);
    emulator_fail("cudnnCreate", 1, CUDNN_STATUS_NOT_INITIALIZED);
    assert_int_equal(cudnnCreate(&other), CUDNN_STATUS_NOT_INITIALIZED);
    emulator_fail("cublasLtCreate", 1, CUBLAS_STATUS_ALLOC_FAILED);
    assert_int_equal(cublasLtCreate(&more), CUBLAS_STATUS_ALLOC_FAILED);
    OK(cublasLtCreate(&more));
    OK(cublasLtDestroy(more));
    assert_int_equal(cublasLtDestroy(more), CUBLAS_STATUS_NOT_INITIALIZED);
    assert_int_equal(cudnnSetStream(cudnn, (cudaStream_t)(uintptr_t)0x1234),
                     CUDNN_STATUS_BAD_PARAM);
    emulator_set_devices(0);
    assert_int_equal(cudnnCreate(&other), CUDNN_STATUS_NOT_INITIALIZED);
    assert_int_equal(cublasLtCreate(&more), CUBLAS_STATUS_NOT_INITIALIZED);
}

/* A broken device fails the libraries' calls too. */
static void test_broken_device(void **state) {
    (void)state;
    product p = {.m = 4, .n = 4, .k = 4, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    conv_shape is = {2, 4, 8, 4, 3, 1, 1, 1, false, false, CUDNN_FMA_MATH};
    matmul of = make_matmul(p);
    convolution conv = make_convolution(is);
    OK(find(&of));
    emulator_lose_device(cudaErrorIllegalAddress);
    assert_int_equal(multiply(&of, &zero), CUBLAS_STATUS_EXECUTION_FAILED);
    assert_int_equal(run_pass(&conv, FORWARD, 0, NULL, 0), CUDNN_STATUS_EXECUTION_FAILED);
    emulator_reset();
    free_matmul(&of);
    free_convolution(&conv);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_products),
        TEST(test_tf32_rounds),
        TEST(test_epilogues),
        TEST(test_matmul_waits),
        TEST(test_matmul_refuses),
        TEST(test_matmul_misuse),
        TEST(test_convolutions),
        TEST(test_math_types),
        TEST(test_determinism),
        TEST(test_find_spoils_the_output),
        TEST(test_fused_convolution),
        TEST(test_bias_gradient),
        TEST(test_convolution_refuses),
        TEST(test_convolution_misuse),
        TEST(test_pooling),
        TEST(test_handles),
        TEST(test_broken_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
