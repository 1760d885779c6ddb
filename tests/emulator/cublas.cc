/* The emulator's cuBLASLt: matmul with the epilogues that a training step uses, for float32, tf32
 * and bf16. What the manual's tables do not list is refused as the library refuses it; what it
 * leaves undefined (overlapping buffers, addresses outside live memory) stops the test. */
#include "matmul.h"

#include <algorithm>
#include <memory>
#include <set>

using namespace emulator;
using namespace emulator::blas;

struct cublasLtContext {
    int device;
};

namespace {

struct preference {
    uint64_t workspace = 0;
    uint32_t alignment[4] = {256, 256, 256, 256}; /* of A, B, C, D */
};

/* What lies in cublasLtMatmulAlgo_t. */
struct algorithm {
    uint64_t magic, problem, workspace;
    uint32_t alignment[4];
    uint32_t bias_alignment, index;
};
constexpr uint64_t magic = 0xca12b1a5;
static_assert(sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t), "it has to fit");

/* Every object alive, by kind. */
std::set<const void *> handles, descs, layouts, preferences;

template <typename inside, typename handle> handle keep(std::set<const void *> &in, inside *made) {
    in.insert(made);
    live.cublaslt++;
    return reinterpret_cast<handle>(made);
}

template <typename inside> cublasStatus_t drop(std::set<const void *> &from, const void *object) {
    if (!from.erase(object))
        return because(CUBLAS_STATUS_INVALID_VALUE, "not alive");
    delete static_cast<const inside *>(object);
    live.cublaslt--;
    return CUBLAS_STATUS_SUCCESS;
}

template <typename inside, typename handle>
const inside *known(const std::set<const void *> &in, handle object) {
    return in.count(object) ? reinterpret_cast<const inside *>(object) : nullptr;
}

template <typename function> cublasStatus_t call(const char *name, function body) {
    guard hold(mutex);
    if (int code = called(name))
        return cublasStatus_t(code);
    return body();
}

template <typename value> cublasStatus_t assign(value &to, const void *from, size_t bytes) {
    if (!from || bytes != sizeof to)
        return because(CUBLAS_STATUS_INVALID_VALUE, "an attribute of another size");
    memcpy(&to, from, sizeof to);
    return CUBLAS_STATUS_SUCCESS;
}

#define REFUSE(status, why) return because(CUBLAS_STATUS_##status, why)

cublasStatus_t check_layout(const layout &of, const char *name) {
    if (!of.rows || !of.columns || of.batch < 1)
        REFUSE(INVALID_VALUE, std::string(name) + " is empty");
    if (of.ld < int64_t(of.order == CUBLASLT_ORDER_COL ? of.rows : of.columns))
        REFUSE(INVALID_VALUE, std::string(name) + ": the leading dimension is too small");
    if (of.order != CUBLASLT_ORDER_COL && of.order != CUBLASLT_ORDER_ROW)
        REFUSE(NOT_SUPPORTED, std::string(name) + ": an order that the emulator does not know");
    if (of.batch != 1)
        REFUSE(NOT_SUPPORTED, "the emulator has no batches");
    return CUBLAS_STATUS_SUCCESS;
}

/* The manual's table of types, for compute types of 32 bits. */
cublasStatus_t check_types(const problem &of) {
    const matmul_desc &desc = of.desc;
    bool plain = desc.compute == CUBLAS_COMPUTE_32F || desc.compute == CUBLAS_COMPUTE_32F_PEDANTIC;
    bool tf32 = desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    if ((!plain && !tf32) || desc.scale != CUDA_R_32F)
        REFUSE(NOT_SUPPORTED, "a compute or scale type that the emulator does not know");
    if (of.a.type != of.b.type || of.c.type != of.d.type)
        REFUSE(NOT_SUPPORTED, "A and B, and C and D, have to be of one type each");
    bool single = of.a.type == CUDA_R_32F && of.c.type == CUDA_R_32F;
    bool half = of.a.type == CUDA_R_16BF && (of.c.type == CUDA_R_16BF || of.c.type == CUDA_R_32F);
    if (!single && !(half && plain))
        REFUSE(NOT_SUPPORTED, "a combination of types that is not in the table");
    if (has_bias(desc.epilogue) && desc.bias_type != -1 && desc.bias_type != int32_t(of.d.type))
        REFUSE(NOT_SUPPORTED, "the bias has to be of D's type");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t check_epilogue(const problem &of) {
    uint32_t epilogue = of.desc.epilogue;
    switch (epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
    case CUBLASLT_EPILOGUE_RELU_AUX:
    case CUBLASLT_EPILOGUE_RELU_AUX_BIAS:
    case CUBLASLT_EPILOGUE_DRELU:
    case CUBLASLT_EPILOGUE_DRELU_BGRAD:
    case CUBLASLT_EPILOGUE_BGRADA:
    case CUBLASLT_EPILOGUE_BGRADB:
        break;
    default:
        REFUSE(NOT_SUPPORTED, "an epilogue that the emulator does not know");
    }
    if (epilogue != CUBLASLT_EPILOGUE_DEFAULT &&
        (of.d.order != CUBLASLT_ORDER_COL || of.c.order != CUBLASLT_ORDER_COL))
        REFUSE(NOT_SUPPORTED, "epilogues need a column-major D");
    if (has_aux(epilogue) && (of.desc.aux_ld % 128 || of.desc.aux_ld < int64_t(of.d.rows)))
        REFUSE(INVALID_VALUE, "EPILOGUE_AUX_LD has to be a multiple of 128 and at least D's rows");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t check_problem(problem *of, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                             cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                             cublasLtMatrixLayout_t d) {
    const matmul_desc *operation = known<matmul_desc>(descs, desc);
    const layout *all[4] = {known<layout>(layouts, a), known<layout>(layouts, b),
                            known<layout>(layouts, c), known<layout>(layouts, d)};
    if (!operation || !all[0] || !all[1] || !all[2] || !all[3])
        REFUSE(INVALID_VALUE, "a descriptor that is not alive");
    *of = {*operation, *all[0], *all[1], *all[2], *all[3], 0, 0, 0};
    static const char *const names[] = {"A", "B", "C", "D"};
    for (int i = 0; i < 4; i++)
        if (cublasStatus_t status = check_layout(*all[i], names[i]))
            return status;
    bool ta = operation->transpose[0] != CUBLAS_OP_N, tb = operation->transpose[1] != CUBLAS_OP_N;
    of->m = ta ? of->a.columns : of->a.rows;
    of->k = ta ? of->a.rows : of->a.columns;
    of->n = tb ? of->b.rows : of->b.columns;
    if (of->k != (tb ? of->b.columns : of->b.rows))
        REFUSE(INVALID_VALUE, "op(A)'s columns and op(B)'s rows differ");
    if (of->d.rows != of->m || of->d.columns != of->n || of->c.rows != of->m ||
        of->c.columns != of->n)
        REFUSE(INVALID_VALUE, "C or D is not of op(A) op(B)'s shape");
    if (cublasStatus_t status = check_types(*of))
        return status;
    return check_epilogue(*of);
}

/* What an algorithm was chosen for, in one number (FNV-1a). */
uint64_t digest(const problem &of) {
    uint64_t sum = 14695981039346656037ull;
    auto add = [&sum](uint64_t value) { sum = (sum ^ value) * 1099511628211ull; };
    for (const layout *each : {&of.a, &of.b, &of.c, &of.d})
        for (uint64_t value : {uint64_t(each->type), uint64_t(each->order), each->rows,
                               each->columns, uint64_t(each->ld)})
            add(value);
    add(uint64_t(of.desc.compute));
    add(uint64_t(of.desc.transpose[0]));
    add(uint64_t(of.desc.transpose[1]));
    add(of.desc.epilogue);
    add(uint64_t(of.desc.aux_ld));
    return sum;
}

uint32_t alignment_of(const void *data) {
    uintptr_t at = reinterpret_cast<uintptr_t>(data);
    return at ? uint32_t(std::min<uintptr_t>(at & -at, 16)) : 16;
}

bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    const char *x = static_cast<const char *>(a), *y = static_cast<const char *>(b);
    return x < y + b_bytes && y < x + a_bytes;
}

/* Which of the buffers may be one another. */
cublasStatus_t check_overlap(const problem &of, const pointers &at) {
    const char *const what = "cublasLtMatmul";
    if (at.c == at.d && at.beta != 0 && !(of.c == of.d))
        REFUSE(INVALID_VALUE, "C is D, but not of its layout");
    if (overlap(at.d, of.d.bytes(), at.a, of.a.bytes()) ||
        overlap(at.d, of.d.bytes(), at.b, of.b.bytes()))
        misuse(what, "D overlaps A or B");
    if (at.beta != 0 && at.c != at.d && overlap(at.d, of.d.bytes(), at.c, of.c.bytes()))
        misuse(what, "D overlaps C in part");
    if (at.workspace_bytes)
        for (auto &each : {std::make_pair(at.a, of.a.bytes()), std::make_pair(at.b, of.b.bytes()),
                           std::make_pair(static_cast<const void *>(at.d), of.d.bytes())})
            if (overlap(at.workspace, at.workspace_bytes, each.first, each.second))
                misuse(what, "the workspace overlaps a matrix");
    return CUBLAS_STATUS_SUCCESS;
}

/* Two algorithms: the first, said to be the faster, wants a workspace where one is allowed. */
constexpr uint64_t wanted_workspace = 32 << 10;

cublasStatus_t check_algorithm(const problem &of, const pointers &at, const algorithm &chosen) {
    if (chosen.magic != magic)
        REFUSE(INVALID_VALUE, "the algorithm is not one of the heuristic's");
    if (chosen.problem != digest(of))
        REFUSE(INVALID_VALUE, "the algorithm was chosen for another problem");
    if (at.workspace_bytes < chosen.workspace)
        REFUSE(INVALID_VALUE, "the workspace is smaller than the algorithm's");
    const void *const data[4] = {at.a, at.b, at.beta != 0 ? at.c : nullptr, at.d};
    for (int i = 0; i < 4; i++)
        if (alignment_of(data[i]) < std::min<uint32_t>(chosen.alignment[i], 16))
            misuse("cublasLtMatmul", "a matrix is aligned less than the heuristic was promised");
    if (has_bias(of.desc.epilogue) && alignment_of(of.desc.bias) < chosen.bias_alignment)
        misuse("cublasLtMatmul", "the bias is aligned less than when the algorithm was chosen");
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

extern "C" {

size_t cublasLtGetVersion(void) {
    guard hold(mutex);
    called(__func__);
    return machine_now.cublaslt
               ? machine_now.cublaslt
               : size_t(CUBLAS_VER_MAJOR * 10000 + CUBLAS_VER_MINOR * 100 + CUBLAS_VER_PATCH);
}

size_t cublasLtGetCudartVersion(void) {
    return CUDART_VERSION;
}

const char *cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
#define NAME(name)                                                                                 \
    case name:                                                                                     \
        return #name;
        NAME(CUBLAS_STATUS_SUCCESS)
        NAME(CUBLAS_STATUS_NOT_INITIALIZED)
        NAME(CUBLAS_STATUS_ALLOC_FAILED)
        NAME(CUBLAS_STATUS_INVALID_VALUE)
        NAME(CUBLAS_STATUS_ARCH_MISMATCH)
        NAME(CUBLAS_STATUS_MAPPING_ERROR)
        NAME(CUBLAS_STATUS_EXECUTION_FAILED)
        NAME(CUBLAS_STATUS_INTERNAL_ERROR)
        NAME(CUBLAS_STATUS_NOT_SUPPORTED)
        NAME(CUBLAS_STATUS_LICENSE_ERROR)
#undef NAME
    }
    return "CUBLAS_STATUS_UNKNOWN";
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the functionality requested is not supported";
    default:
        return cublasLtGetStatusName(status);
    }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    return call(__func__, [&] {
        if (!handle)
            return CUBLAS_STATUS_INVALID_VALUE;
        *handle = nullptr;
        if (usable())
            return CUBLAS_STATUS_NOT_INITIALIZED;
        *handle =
            keep<cublasLtContext, cublasLtHandle_t>(handles, new cublasLtContext{current_device()});
        return CUBLAS_STATUS_SUCCESS;
    });
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    return call(__func__, [&] {
        return handles.count(handle) ? drop<cublasLtContext>(handles, handle)
                                     : CUBLAS_STATUS_NOT_INITIALIZED;
    });
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    return call(__func__, [&] {
        matmul_desc *made = new matmul_desc;
        made->compute = int32_t(compute);
        made->scale = int32_t(scale);
        *desc = keep<matmul_desc, cublasLtMatmulDesc_t>(descs, made);
        return CUBLAS_STATUS_SUCCESS;
    });
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    return call(__func__, [&] { return drop<matmul_desc>(descs, desc); });
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
    return call(__func__, [&] {
        if (!descs.count(desc))
            REFUSE(INVALID_VALUE, "a descriptor that is not alive");
        matmul_desc &of = *reinterpret_cast<matmul_desc *>(desc);
        switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA:
            return assign(of.transpose[0], value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB:
            return assign(of.transpose[1], value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE:
            return assign(of.epilogue, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
            return assign(of.bias, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
            return assign(of.bias_type, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
            return assign(of.aux, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
            return assign(of.aux_ld, value, bytes);
        default:
            REFUSE(NOT_SUPPORTED, "an attribute that the emulator does not know");
        }
    });
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *made, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
    return call(__func__, [&] {
        if (type != CUDA_R_32F && type != CUDA_R_16BF)
            REFUSE(NOT_SUPPORTED, "a type that the emulator does not know");
        layout *of = new layout;
        of->type = uint32_t(type);
        of->rows = rows;
        of->columns = columns;
        of->ld = ld;
        *made = keep<layout, cublasLtMatrixLayout_t>(layouts, of);
        return CUBLAS_STATUS_SUCCESS;
    });
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t of) {
    return call(__func__, [&] { return drop<layout>(layouts, of); });
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t object,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes) {
    return call(__func__, [&] {
        if (!layouts.count(object))
            REFUSE(INVALID_VALUE, "a layout that is not alive");
        layout &of = *reinterpret_cast<layout *>(object);
        switch (attribute) {
        case CUBLASLT_MATRIX_LAYOUT_TYPE:
            return assign(of.type, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_ORDER:
            return assign(of.order, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_ROWS:
            return assign(of.rows, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_COLS:
            return assign(of.columns, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_LD:
            return assign(of.ld, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
            return assign(of.batch, value, bytes);
        default:
            REFUSE(NOT_SUPPORTED, "an attribute that the emulator does not know");
        }
    });
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *made) {
    return call(__func__, [&] {
        *made = keep<preference, cublasLtMatmulPreference_t>(preferences, new preference);
        return CUBLAS_STATUS_SUCCESS;
    });
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t of) {
    return call(__func__, [&] { return drop<preference>(preferences, of); });
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t object,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    return call(__func__, [&] {
        if (!preferences.count(object))
            REFUSE(INVALID_VALUE, "a preference that is not alive");
        preference &of = *reinterpret_cast<preference *>(object);
        uint32_t mask;
        switch (attribute) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
            return assign(of.workspace, value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
            return assign(of.alignment[0], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
            return assign(of.alignment[1], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
            return assign(of.alignment[2], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            return assign(of.alignment[3], value, bytes);
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: /* its sums have one order anyway */
            return assign(mask, value, bytes);
        default:
            REFUSE(NOT_SUPPORTED, "an attribute that the emulator does not know");
        }
    });
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t wish, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *returned) {
    return call(__func__, [&] {
        if (!handles.count(handle))
            return CUBLAS_STATUS_NOT_INITIALIZED;
        const preference *limits = known<preference>(preferences, wish);
        if (requested <= 0 || !results || !returned || !limits)
            REFUSE(INVALID_VALUE, "no place for results, or no preference");
        *returned = 0;
        problem of;
        if (cublasStatus_t status = check_problem(&of, desc, a, b, c, d))
            return status;
        for (uint32_t i = limits->workspace >= wanted_workspace ? 0 : 1; i < 2 && requested-- > 0;
             i++) {
            algorithm chosen = {magic, digest(of), i == 0 ? wanted_workspace : 0, {}, 16, i};
            memcpy(chosen.alignment, limits->alignment, sizeof chosen.alignment);
            chosen.bias_alignment = alignment_of(of.desc.bias);
            cublasLtMatmulHeuristicResult_t &result = results[(*returned)++];
            result = cublasLtMatmulHeuristicResult_t();
            result.state = cublasStatus_t(called("cublasLtMatmulHeuristicResult_t"));
            if (result.state != CUBLAS_STATUS_SUCCESS)
                continue; /* the rest of the row is not valid */
            memcpy(&result.algo, &chosen, sizeof chosen);
            result.workspaceSize = chosen.workspace;
            result.wavesCount = 1;
        }
        return CUBLAS_STATUS_SUCCESS;
    });
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream) {
    return call(__func__, [&] {
        if (!handles.count(handle))
            return CUBLAS_STATUS_NOT_INITIALIZED;
        if (reinterpret_cast<cublasLtContext *>(handle)->device != current_device())
            REFUSE(INVALID_VALUE, "the handle belongs to another device");
        problem of;
        if (cublasStatus_t status =
                check_problem(&of, desc, a_layout, b_layout, c_layout, d_layout))
            return status;
        if (!alpha || !beta || !a || !b || !d)
            REFUSE(INVALID_VALUE, "a NULL address");
        if (on_device(alpha) || on_device(beta))
            misuse("cublasLtMatmul", "alpha and beta are in device memory, but the pointer mode "
                                     "says host");
        pointers at = {a, b, c, d, workspace, workspace_bytes, 0, 0};
        memcpy(&at.alpha, alpha, sizeof at.alpha);
        memcpy(&at.beta, beta, sizeof at.beta);
        if (at.beta != 0 && !c)
            REFUSE(INVALID_VALUE, "C is NULL, but beta is not 0");
        if (has_bias(of.desc.epilogue) && !of.desc.bias)
            REFUSE(INVALID_VALUE, "the epilogue needs BIAS_POINTER");
        if (has_aux(of.desc.epilogue) && !of.desc.aux)
            REFUSE(INVALID_VALUE, "the epilogue needs EPILOGUE_AUX_POINTER");
        if (workspace_bytes && (!workspace || alignment_of(workspace) < 16))
            REFUSE(INVALID_VALUE, "the workspace is NULL or not aligned to 16 bytes");
        if (algo) {
            algorithm chosen;
            memcpy(&chosen, algo, sizeof chosen);
            if (cublasStatus_t status = check_algorithm(of, at, chosen))
                return status;
        }
        check_reach(of, at);
        if (cublasStatus_t status = check_overlap(of, at))
            return status;
        return enqueue(stream, "cublasLtMatmul", [of, at] { run_matmul(of, at); })
                   ? CUBLAS_STATUS_EXECUTION_FAILED
                   : CUBLAS_STATUS_SUCCESS;
    });
}
}
