/* Matrix products through cuBLASLt. */
#ifndef CAIRN_CUDA_CUBLAS_MATMUL_H
#define CAIRN_CUDA_CUBLAS_MATMUL_H

#include "kernels.h"

#include "cairn/status.h"

#include <cublasLt.h>

typedef struct cuda_executor cuda_executor;

/* One product in column-major terms: D [m,n] = scale op(A) op(B), k terms each. */
typedef struct {
    cublasOperation_t a_op, b_op;
    int m, n, k;
    int a_pitch, b_pitch, d_pitch; /* leading dimensions */
    cuda_type type, d_type;        /* of A and B; of D */
    cublasLtEpilogue_t epilogue;
    const void *bias;
    float scale; /* of the product */
} matmul_shape;

typedef struct {
    cublasLtMatmulDesc_t descriptor;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace; /* bytes */
    float scale;
} matmul;

/* CAIRN_FAILED also when cuBLAS has no algorithm for it. `limit`: bytes of workspace. */
cairn_status matmul_create(const cuda_executor *executor, matmul *made, const matmul_shape *shape,
                           size_t limit);
cairn_status matmul_run(const cuda_executor *executor, const matmul *product, const void *a,
                        const void *b, void *d, void *workspace);
void matmul_release(matmul *product);

#endif
