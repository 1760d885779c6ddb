/* The emulated cuBLASLt: products against plain loops in float64, over types, transpositions and
 * epilogues; and that what the manual forbids is refused or stops the program. */
#include "libraries.h"

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

static void test_handles(void **state) {
    (void)state;
    cublasLtHandle_t other;
    emulator_set_cublaslt(120000);
    assert_int_equal(cublasLtGetVersion(), 120000);
    emulator_fail("cublasLtCreate", 1, CUBLAS_STATUS_ALLOC_FAILED);
    assert_int_equal(cublasLtCreate(&other), CUBLAS_STATUS_ALLOC_FAILED);
    OK(cublasLtCreate(&other));
    OK(cublasLtDestroy(other));
    assert_int_equal(cublasLtDestroy(other), CUBLAS_STATUS_NOT_INITIALIZED);
    emulator_set_devices(0);
    assert_int_equal(cublasLtCreate(&other), CUBLAS_STATUS_NOT_INITIALIZED);
}

/* A broken device fails the library's calls too. */
static void test_broken_device(void **state) {
    (void)state;
    product p = {.m = 4, .n = 4, .k = 4, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    matmul of = make_matmul(p);
    OK(find(&of));
    emulator_lose_device(cudaErrorIllegalAddress);
    assert_int_equal(multiply(&of, &zero), CUBLAS_STATUS_EXECUTION_FAILED);
    emulator_reset();
    free_matmul(&of);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_products),     TEST(test_tf32_rounds),    TEST(test_epilogues),
        TEST(test_matmul_waits), TEST(test_matmul_refuses), TEST(test_matmul_misuse),
        TEST(test_handles),      TEST(test_broken_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
