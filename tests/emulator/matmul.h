/* One of the emulator's matrix products, as cuBLASLt describes it. */
#ifndef CAIRN_EMULATOR_MATMUL_H
#define CAIRN_EMULATOR_MATMUL_H

#include "multiply.h"
#include "state.h"

#include <cublasLt.h>

namespace emulator {
namespace blas {

struct matmul_desc {
    int32_t compute, scale, pointer_mode = CUBLASLT_POINTER_MODE_HOST;
    int32_t transpose[2] = {CUBLAS_OP_N, CUBLAS_OP_N};
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    void *bias = nullptr, *aux = nullptr;
    int32_t bias_type = -1;
    int64_t aux_ld = 0;
};

struct layout {
    uint32_t type;
    int32_t order = CUBLASLT_ORDER_COL;
    uint64_t rows, columns;
    int64_t ld;
    int32_t batch = 1;
    bool operator==(const layout &other) const {
        return type == other.type && order == other.order && rows == other.rows &&
               columns == other.columns && ld == other.ld && batch == other.batch;
    }
    element kind() const {
        return type == CUDA_R_32F ? element::f32 : element::bf16;
    }
    ptrdiff_t row_stride() const {
        return order == CUBLASLT_ORDER_COL ? 1 : ptrdiff_t(ld);
    }
    ptrdiff_t column_stride() const {
        return order == CUBLASLT_ORDER_COL ? ptrdiff_t(ld) : 1;
    }
    size_t bytes() const {
        return size_t(ptrdiff_t(rows - 1) * row_stride() +
                      ptrdiff_t(columns - 1) * column_stride() + 1) *
               element_bytes(kind());
    }
};

/* One matmul's shapes and types, found valid and supported. */
struct problem {
    matmul_desc desc;
    layout a, b, c, d;
    size_t m, n, k;
};

struct pointers {
    const void *a, *b, *c;
    void *d, *workspace;
    size_t workspace_bytes;
    float alpha, beta;
};

/* Whether an epilogue uses the bias or the auxiliary buffer. */
bool has_bias(uint32_t epilogue);
bool has_aux(uint32_t epilogue);

/* Stops where an address range is not inside live memory; run_matmul looks again, since memory may
 * have been freed by then. */
void check_reach(const problem &of, const pointers &at);
void run_matmul(const problem &of, const pointers &at);

} // namespace blas
} // namespace emulator

#endif
