/* Matrix products through cuBLASLt: descriptors and the algorithm are found once. */
#include "cublas_matmul.h"

#include "cuda_executor.h"
#include "probe.h"

static cudaDataType_t data_type(cuda_type type) {
    return type == CUDA_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* float32 is strict; tf32 rounds the operands; bf16 operands are multiplied exactly. All add up in
 * float32. */
static cublasComputeType_t compute_type(const cuda_executor *executor) {
    return executor->base.options.precision == CAIRN_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                          : CUBLAS_COMPUTE_32F;
}

static cairn_status describe(const cuda_executor *executor, matmul *made,
                             const matmul_shape *shape) {
    bool a_turned = shape->a_op != CUBLAS_OP_N, b_turned = shape->b_op != CUBLAS_OP_N;
    cudaDataType_t type = data_type(shape->type);
    TRY_CUBLAS(cublasLtMatmulDescCreate(&made->descriptor, compute_type(executor), CUDA_R_32F));
    const struct {
        cublasLtMatmulDescAttributes_t attribute;
        const void *value;
        size_t size;
    } settings[] = {
        {CUBLASLT_MATMUL_DESC_TRANSA, &shape->a_op, sizeof shape->a_op},
        {CUBLASLT_MATMUL_DESC_TRANSB, &shape->b_op, sizeof shape->b_op},
        {CUBLASLT_MATMUL_DESC_EPILOGUE, &shape->epilogue, sizeof shape->epilogue},
        {CUBLASLT_MATMUL_DESC_BIAS_POINTER, &shape->bias, sizeof shape->bias},
    };
    for (size_t i = 0; i < (shape->bias ? 4 : 3); i++)
        TRY_CUBLAS(cublasLtMatmulDescSetAttribute(made->descriptor, settings[i].attribute,
                                                  settings[i].value, settings[i].size));
    TRY_CUBLAS(
        cublasLtMatrixLayoutCreate(&made->a, type, (uint64_t)(a_turned ? shape->k : shape->m),
                                   (uint64_t)(a_turned ? shape->m : shape->k), shape->a_pitch));
    TRY_CUBLAS(
        cublasLtMatrixLayoutCreate(&made->b, type, (uint64_t)(b_turned ? shape->n : shape->k),
                                   (uint64_t)(b_turned ? shape->k : shape->n), shape->b_pitch));
    TRY_CUBLAS(cublasLtMatrixLayoutCreate(&made->d, data_type(shape->d_type), (uint64_t)shape->m,
                                          (uint64_t)shape->n, shape->d_pitch));
    return CAIRN_OK;
}

static cairn_status find_algorithm(const cuda_executor *executor, matmul *made, size_t limit) {
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t result;
    int count = 0;
    TRY_CUBLAS(cublasLtMatmulPreferenceCreate(&preference));
    cublasStatus_t error = cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof limit);
    if (error == CUBLAS_STATUS_SUCCESS)
        error = cublasLtMatmulAlgoGetHeuristic(executor->cublas, made->descriptor, made->a, made->b,
                                               made->d, made->d, preference, 1, &result, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    if (error == CUBLAS_STATUS_SUCCESS) /* then the row has a state of its own */
        error = count == 0 ? CUBLAS_STATUS_NOT_SUPPORTED : result.state;
    if (error != CUBLAS_STATUS_SUCCESS)
        return cublas_check(error, "cublasLtMatmulAlgoGetHeuristic");
    made->algorithm = result.algo;
    made->workspace = result.workspaceSize;
    return CAIRN_OK;
}

cairn_status matmul_create(const cuda_executor *executor, matmul *made, const matmul_shape *shape,
                           size_t limit) {
    *made = (matmul){.scale = shape->scale};
    cairn_status status = describe(executor, made, shape);
    if (!status)
        status = find_algorithm(executor, made, limit);
    if (status)
        matmul_release(made);
    return status;
}

cairn_status matmul_run(const cuda_executor *executor, const matmul *product, const void *a,
                        const void *b, void *d, void *workspace) {
    static const float zero = 0;
    TRY_CUBLAS(cublasLtMatmul(executor->cublas, product->descriptor, &product->scale, a, product->a,
                              b, product->b, &zero, d, product->d, d, product->d,
                              &product->algorithm, workspace, product->workspace,
                              executor->stream));
    return CAIRN_OK;
}

void matmul_release(matmul *product) {
    if (product->descriptor)
        cublasLtMatmulDescDestroy(product->descriptor);
    if (product->a)
        cublasLtMatrixLayoutDestroy(product->a);
    if (product->b)
        cublasLtMatrixLayoutDestroy(product->b);
    if (product->d)
        cublasLtMatrixLayoutDestroy(product->d);
    *product = (matmul){0};
}
