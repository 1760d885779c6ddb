/* The arithmetic of the emulator's cuBLASLt, with its epilogues. */
#include "matmul.h"

namespace emulator {
namespace blas {
namespace {

size_t bias_count(const problem &of) {
    return of.desc.epilogue == CUBLASLT_EPILOGUE_BGRADB ? of.n : of.m;
}

size_t aux_bytes(const problem &of) {
    return size_t(of.desc.aux_ld) / 8 * of.n;
}

/* Every address range inside live memory; again when the work runs, since it may have been freed.
 */
operand side(const void *data, const layout &of, bool transposed, size_t count, size_t depth,
             bool tf32) {
    operand made;
    made.data = data;
    made.type = of.kind();
    made.tf32 = tf32;
    ptrdiff_t row = of.row_stride(), column = of.column_stride();
    if (transposed)
        std::swap(row, column);
    for (size_t i = 0; i < count; i++)
        made.rows.push_back({0, 0, ptrdiff_t(i) * row});
    for (size_t p = 0; p < depth; p++)
        made.columns.push_back({0, 0, ptrdiff_t(p) * column});
    return made;
}

void sum_operand(const problem &of, const operand &from) {
    for (size_t i = 0; i < from.rows.size(); i++) {
        double sum = 0;
        for (const place &column : from.columns)
            sum += double(load(from.data, from.type, from.rows[i].offset + column.offset));
        store(of.desc.bias, of.d.kind(), ptrdiff_t(i), float(sum));
    }
}

} // namespace

bool has_bias(uint32_t epilogue) {
    return epilogue != CUBLASLT_EPILOGUE_DEFAULT &&
           (epilogue & (CUBLASLT_EPILOGUE_BIAS | 16 | CUBLASLT_EPILOGUE_BGRADA |
                        CUBLASLT_EPILOGUE_BGRADB)) != 0;
}

bool has_aux(uint32_t epilogue) {
    return (epilogue & 128) != 0;
}

void check_reach(const problem &of, const pointers &at) {
    const char *const what = "cublasLtMatmul";
    if (!reachable(at.a, of.a.bytes()))
        misuse(what, "A is not inside live device memory");
    if (!reachable(at.b, of.b.bytes()))
        misuse(what, "B is not inside live device memory");
    if (at.beta != 0 && !reachable(at.c, of.c.bytes()))
        misuse(what, "C is not inside live device memory");
    if (!reachable(at.d, of.d.bytes()))
        misuse(what, "D is not inside live device memory");
    if (at.workspace_bytes && !reachable(at.workspace, at.workspace_bytes))
        misuse(what, "the workspace is not inside live device memory");
    if (has_bias(of.desc.epilogue) &&
        !reachable(of.desc.bias, bias_count(of) * element_bytes(of.d.kind())))
        misuse(what, "the bias is not inside live device memory");
    if (has_aux(of.desc.epilogue) && !reachable(of.desc.aux, aux_bytes(of)))
        misuse(what, "the auxiliary buffer is not inside live device memory");
}

void run_matmul(const problem &of, const pointers &at) {
    check_reach(of, at);
    if (at.workspace_bytes)
        memset(at.workspace, 0xFF, at.workspace_bytes); /* its contents are anybody's guess */
    bool tf32 = of.desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    operand a = side(at.a, of.a, of.desc.transpose[0] != CUBLAS_OP_N, of.m, of.k, tf32);
    operand b = side(at.b, of.b, of.desc.transpose[1] == CUBLAS_OP_N, of.n, of.k, tf32);
    uint32_t epilogue = of.desc.epilogue;
    bool adds = epilogue != CUBLASLT_EPILOGUE_DEFAULT && (epilogue & CUBLASLT_EPILOGUE_BIAS);
    bool relu = (epilogue & CUBLASLT_EPILOGUE_RELU) != 0;
    bool masks = has_aux(epilogue) && relu, masked = has_aux(epilogue) && !relu;
    bool sums_rows = epilogue == CUBLASLT_EPILOGUE_DRELU_BGRAD;
    element type = of.d.kind();
    unsigned char *bits = static_cast<unsigned char *>(of.desc.aux);

    multiply(a, b, [&](size_t i, const double *row) {
        float bias = adds ? load(of.desc.bias, type, ptrdiff_t(i)) : 0;
        double sum = 0;
        for (size_t j = 0; j < of.n; j++) {
            double value = double(at.alpha) * row[j] + double(bias);
            if (at.beta != 0)
                value += double(at.beta) * double(load(at.c, type,
                                                       ptrdiff_t(i) * of.c.row_stride() +
                                                           ptrdiff_t(j) * of.c.column_stride()));
            size_t bit = j * size_t(of.desc.aux_ld) + i;
            if (masks)
                bits[bit / 8] = static_cast<unsigned char>((bits[bit / 8] & ~(1u << bit % 8)) |
                                                           unsigned(value > 0) << bit % 8);
            if (relu && value < 0) /* NaN passes */
                value = 0;
            if (masked && !(bits[bit / 8] >> bit % 8 & 1))
                value = 0;
            sum += value;
            store(at.d, type,
                  ptrdiff_t(i) * of.d.row_stride() + ptrdiff_t(j) * of.d.column_stride(),
                  float(value));
        }
        if (sums_rows)
            store(of.desc.bias, type, ptrdiff_t(i), float(sum));
    });
    if (epilogue == CUBLASLT_EPILOGUE_BGRADA)
        sum_operand(of, a);
    if (epilogue == CUBLASLT_EPILOGUE_BGRADB)
        sum_operand(of, b);
}

} // namespace blas
} // namespace emulator
