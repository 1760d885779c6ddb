/* The emulator's cuDNN convolutions: forward, backward by data, filter and bias. Every algorithm
 * computes the same product; what the manual says of each (layouts, sizes, workspace, determinism,
 * tensor cores) is in one table, fastest first, and holds. Those that the manual calls
 * non-deterministic differ in the last bits from call to call. */
#include "algorithms.h"

#include <algorithm>

using namespace emulator;
using namespace emulator::dnn;

namespace {

cudnnStatus_t output_shape(const cudnnConvolutionStruct &conv, const tensor &x, const filter &w,
                           int *n, int *k, int *p, int *q) {
    if (x.c != w.c)
        REFUSE(BAD_PARAM, "the filter's channels are not the input's");
    int height = x.h + 2 * conv.pad_h - ((w.r - 1) * conv.dilation_h + 1);
    int width = x.w + 2 * conv.pad_w - ((w.s - 1) * conv.dilation_w + 1);
    if (height < 0 || width < 0)
        REFUSE(BAD_PARAM, "the filter is larger than the padded input");
    *n = x.n;
    *k = w.k;
    *p = 1 + height / conv.stride_h;
    *q = 1 + width / conv.stride_w;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_problem(problem *of, cudnnHandle_t handle, cudnnTensorDescriptor_t x,
                            cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t conv,
                            cudnnTensorDescriptor_t y) {
    if (cudnnStatus_t status = check_handle(handle))
        return status;
    if (cudnnStatus_t status = check_set(x, "the input's descriptor"))
        return status;
    if (cudnnStatus_t status = check_set(w, "the filter's descriptor"))
        return status;
    if (cudnnStatus_t status = check_set(conv, "the convolution's descriptor"))
        return status;
    if (cudnnStatus_t status = check_set(y, "the output's descriptor"))
        return status;
    *of = {*x, *y, *w, *conv};
    int n, k, p, q;
    if (cudnnStatus_t status = output_shape(*conv, *x, *w, &n, &k, &p, &q))
        return status;
    if (y->n != n || y->c != k || y->h != p || y->w != q)
        REFUSE(BAD_PARAM, "the output is not of the convolution's shape");
    if (x->type != w->type || x->type != y->type)
        REFUSE(NOT_SUPPORTED, "input, filter and output have to be of one type");
    return CUDNN_STATUS_SUCCESS;
}

uint32_t wavering = 1;

writer write_to(void *data, element type, const scales &by, const algorithm &algo) {
    return {data, type, by, !algo.deterministic, algo.deterministic ? 0 : wavering++ * 2654435761u};
}

/* A call's buffers: what it reads, and what it writes. */
struct buffers {
    const char *what;
    std::vector<range> in;
    range out, space;
    void check() const {
        check_reach(what, out);
        check_reach(what, space);
        for (const range &each : in) {
            check_reach(what, each);
            if (overlap(each, out))
                misuse(what, (std::string(out.name) + " overlaps " + each.name).c_str());
            if (space.bytes && overlap(each, space))
                misuse(what, (std::string("the workspace overlaps ") + each.name).c_str());
        }
        if (space.bytes && overlap(out, space))
            misuse(what, (std::string("the workspace overlaps ") + out.name).c_str());
    }
};

cudnnStatus_t check_call(const problem &of, const algorithm *algo, buffers *at) {
    if (!algo)
        REFUSE(NOT_SUPPORTED, "no such algorithm");
    if (cudnnStatus_t status = check_support(*algo, of))
        return status;
    size_t needed = space_of(*algo, of);
    if (needed > at->space.bytes || (needed && !at->space.data))
        REFUSE(BAD_PARAM_SIZE_INSUFFICIENT, "the workspace is smaller than the algorithm's");
    at->space.bytes = needed;
    at->in.push_back(at->out);
    bool aligned = true;
    for (const range &each : at->in) {
        if (!each.data)
            REFUSE(BAD_PARAM_NULL_POINTER, std::string(each.name) + " is NULL");
        uintptr_t unit = on_tensor_cores(*algo, of) ? 16 : element_bytes(kind(of.x.type));
        aligned = aligned && reinterpret_cast<uintptr_t>(each.data) % unit == 0;
    }
    at->in.pop_back();
    if (!aligned || reinterpret_cast<uintptr_t>(at->space.data) % 16)
        REFUSE(BAD_PARAM_MISALIGNED_POINTER, "a buffer is not aligned as the algorithm wants");
    at->check();
    return CUDNN_STATUS_SUCCESS;
}

/* Enqueues the work with what every convolution does first. */
cudnnStatus_t start(cudnnHandle_t handle, const buffers &at, std::function<void()> run) {
    return launched(enqueue(handle->stream, at.what, [at, run] {
        at.check();
        if (at.space.bytes) /* its contents are anybody's guess */
            memset(const_cast<void *>(at.space.data), 0xFF, at.space.bytes);
        run();
    }));
}

/* Fills the results of a Get or Find call: the supported algorithms, fastest first, then the
 * others with the reason. Those that need more than `space` are not tried. */
template <typename perf>
void report(direction pass, const problem &of, bool timed, size_t space, int requested,
            int *returned, perf *results) {
    int count = 0;
    std::string reason = emulator_why();
    for (int refused = 0; refused < 2; refused++)
        for (const algorithm &algo : algorithms) {
            if (algo.pass != pass || count == requested)
                continue;
            cudnnStatus_t status = check_support(algo, of);
            if (!status && timed && space_of(algo, of) > space)
                status = CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
            if ((status != CUDNN_STATUS_SUCCESS) != (refused == 1))
                continue;
            perf &result = results[count++];
            result = perf();
            result.algo = decltype(result.algo)(algo.number);
            result.status = status;
            result.time = timed && !status ? float(count) * 0.01f : -1;
            result.memory = status ? 0 : space_of(algo, of);
            result.determinism = algo.deterministic ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
            result.mathType = of.conv.math == CUDNN_FMA_MATH ? CUDNN_FMA_MATH
                              : algo.tensor_cores && kind(of.x.type) == element::bf16
                                  ? CUDNN_TENSOR_OP_MATH
                                  : CUDNN_DEFAULT_MATH;
        }
    explain(reason);
    *returned = count;
}

int count_of(direction pass) {
    int count = 0;
    for (const algorithm &algo : algorithms)
        count += algo.pass == pass;
    return count;
}

/* A Find call waits for the device, uses the workspace and overwrites the output. */
template <typename perf>
cudnnStatus_t find_fastest(cudnnHandle_t handle, direction pass, const problem &of, buffers at,
                           int requested, int *returned, perf *results) {
    if (requested < 1 || !returned || !results)
        REFUSE(BAD_PARAM, "no place for results");
    at.check();
    auto spoil = [at] {
        at.check();
        memset(const_cast<void *>(at.out.data), 0xFF, at.out.bytes);
        if (at.space.bytes)
            memset(const_cast<void *>(at.space.data), 0xFF, at.space.bytes);
    };
    if (enqueue(handle->stream, at.what, spoil) || finish(handle->stream, at.what))
        return CUDNN_STATUS_EXECUTION_FAILED;
    report(pass, of, true, at.space.bytes, requested, returned, results);
    return CUDNN_STATUS_SUCCESS;
}

template <typename perf>
cudnnStatus_t guess_fastest(direction pass, const problem &of, int requested, int *returned,
                            perf *results) {
    if (requested < 1 || !returned || !results)
        REFUSE(BAD_PARAM, "no place for results");
    report(pass, of, false, 0, requested, returned, results);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t tell_space(direction pass, const problem &of, int number, size_t *size) {
    const algorithm *algo = find(pass, number);
    if (!algo)
        REFUSE(NOT_SUPPORTED, "no such algorithm");
    if (cudnnStatus_t status = check_support(*algo, of))
        return status;
    *size = space_of(*algo, of);
    return CUDNN_STATUS_SUCCESS;
}

} // namespace

#define CHECK(expression)                                                                          \
    do {                                                                                           \
        if (cudnnStatus_t checked = (expression))                                                  \
            return checked;                                                                        \
    } while (0)

extern "C" {

cudnnStatus_t cudnnGetConvolution2dForwardOutputDim(const cudnnConvolutionDescriptor_t conv,
                                                    const cudnnTensorDescriptor_t x,
                                                    const cudnnFilterDescriptor_t w, int *n, int *c,
                                                    int *h, int *width) {
    return call(__func__, [&] {
        CHECK(check_set(conv, "the convolution's descriptor"));
        CHECK(check_set(x, "the input's descriptor"));
        CHECK(check_set(w, "the filter's descriptor"));
        return output_shape(*conv, *x, *w, n, c, h, width);
    });
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithmMaxCount(cudnnHandle_t, int *count) {
    *count = count_of(forward_pass);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithmMaxCount(cudnnHandle_t, int *count) {
    *count = count_of(data_pass);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithmMaxCount(cudnnHandle_t, int *count) {
    *count = count_of(filter_pass);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
    const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t y, const int requested,
    int *returned, cudnnConvolutionFwdAlgoPerf_t *results) {
    return call(__func__, [&] {
        problem of;
        CHECK(check_problem(&of, handle, x, w, conv, y));
        return guess_fastest(forward_pass, of, requested, returned, results);
    });
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t dx, const int requested,
    int *returned, cudnnConvolutionBwdDataAlgoPerf_t *results) {
    return call(__func__, [&] {
        problem of;
        CHECK(check_problem(&of, handle, dx, w, conv, dy));
        return guess_fastest(data_pass, of, requested, returned, results);
    });
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t conv, const cudnnFilterDescriptor_t dw, const int requested,
    int *returned, cudnnConvolutionBwdFilterAlgoPerf_t *results) {
    return call(__func__, [&] {
        problem of;
        CHECK(check_problem(&of, handle, x, dw, conv, dy));
        return guess_fastest(filter_pass, of, requested, returned, results);
    });
}

cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x_desc, const void *x,
    const cudnnFilterDescriptor_t w_desc, const void *w, const cudnnConvolutionDescriptor_t conv,
    const cudnnTensorDescriptor_t y_desc, void *y, const int requested, int *returned,
    cudnnConvolutionFwdAlgoPerf_t *results, void *space, size_t space_bytes) {
    static const char *const what = "cudnnFindConvolutionForwardAlgorithmEx";
    return call(what, [&] {
        problem of;
        CHECK(check_problem(&of, handle, x_desc, w_desc, conv, y_desc));
        buffers at = {what,
                      {{"x", x, bytes(of.x)}, {"w", w, bytes(of.w)}},
                      {"y", y, bytes(of.y)},
                      {"the workspace", space, space_bytes}};
        return find_fastest(handle, forward_pass, of, at, requested, returned, results);
    });
}

cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t w_desc, const void *w,
    const cudnnTensorDescriptor_t dy_desc, const void *dy, const cudnnConvolutionDescriptor_t conv,
    const cudnnTensorDescriptor_t dx_desc, void *dx, const int requested, int *returned,
    cudnnConvolutionBwdDataAlgoPerf_t *results, void *space, size_t space_bytes) {
    static const char *const what = "cudnnFindConvolutionBackwardDataAlgorithmEx";
    return call(what, [&] {
        problem of;
        CHECK(check_problem(&of, handle, dx_desc, w_desc, conv, dy_desc));
        buffers at = {what,
                      {{"w", w, bytes(of.w)}, {"dy", dy, bytes(of.y)}},
                      {"dx", dx, bytes(of.x)},
                      {"the workspace", space, space_bytes}};
        return find_fastest(handle, data_pass, of, at, requested, returned, results);
    });
}

cudnnStatus_t cudnnFindConvolutionBackwardFilterAlgorithmEx(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x_desc, const void *x,
    const cudnnTensorDescriptor_t dy_desc, const void *dy, const cudnnConvolutionDescriptor_t conv,
    const cudnnFilterDescriptor_t dw_desc, void *dw, const int requested, int *returned,
    cudnnConvolutionBwdFilterAlgoPerf_t *results, void *space, size_t space_bytes) {
    static const char *const what = "cudnnFindConvolutionBackwardFilterAlgorithmEx";
    return call(what, [&] {
        problem of;
        CHECK(check_problem(&of, handle, x_desc, dw_desc, conv, dy_desc));
        buffers at = {what,
                      {{"x", x, bytes(of.x)}, {"dy", dy, bytes(of.y)}},
                      {"dw", dw, bytes(of.w)},
                      {"the workspace", space, space_bytes}};
        return find_fastest(handle, filter_pass, of, at, requested, returned, results);
    });
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
    const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t y,
    cudnnConvolutionFwdAlgo_t algo, size_t *size) {
    return call(__func__, [&] {
        problem of;
        CHECK(check_problem(&of, handle, x, w, conv, y));
        return tell_space(forward_pass, of, algo, size);
    });
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t dx,
    cudnnConvolutionBwdDataAlgo_t algo, size_t *size) {
    return call(__func__, [&] {
        problem of;
        CHECK(check_problem(&of, handle, dx, w, conv, dy));
        return tell_space(data_pass, of, algo, size);
    });
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t conv, const cudnnFilterDescriptor_t dw,
    cudnnConvolutionBwdFilterAlgo_t algo, size_t *size) {
    return call(__func__, [&] {
        problem of;
        CHECK(check_problem(&of, handle, x, dw, conv, dy));
        return tell_space(filter_pass, of, algo, size);
    });
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha,
                                      const cudnnTensorDescriptor_t x_desc, const void *x,
                                      const cudnnFilterDescriptor_t w_desc, const void *w,
                                      const cudnnConvolutionDescriptor_t conv,
                                      cudnnConvolutionFwdAlgo_t number, void *space,
                                      size_t space_bytes, const void *beta,
                                      const cudnnTensorDescriptor_t y_desc, void *y) {
    static const char *const what = "cudnnConvolutionForward";
    return call(what, [&] {
        problem of;
        scales by;
        CHECK(check_problem(&of, handle, x_desc, w_desc, conv, y_desc));
        CHECK(read_scales(what, &by, alpha, beta));
        const algorithm *algo = find(forward_pass, number);
        buffers at = {what,
                      {{"x", x, bytes(of.x)}, {"w", w, bytes(of.w)}},
                      {"y", y, bytes(of.y)},
                      {"the workspace", space, space_bytes}};
        CHECK(check_call(of, algo, &at));
        return start(handle, at, [=] {
            convolve_forward(of, on_tensor_cores(*algo, of), x, w,
                             write_to(y, kind(of.y.type), by, *algo));
        });
    });
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha,
                                           const cudnnFilterDescriptor_t w_desc, const void *w,
                                           const cudnnTensorDescriptor_t dy_desc, const void *dy,
                                           const cudnnConvolutionDescriptor_t conv,
                                           cudnnConvolutionBwdDataAlgo_t number, void *space,
                                           size_t space_bytes, const void *beta,
                                           const cudnnTensorDescriptor_t dx_desc, void *dx) {
    static const char *const what = "cudnnConvolutionBackwardData";
    return call(what, [&] {
        problem of;
        scales by;
        CHECK(check_problem(&of, handle, dx_desc, w_desc, conv, dy_desc));
        CHECK(read_scales(what, &by, alpha, beta));
        const algorithm *algo = find(data_pass, number);
        buffers at = {what,
                      {{"w", w, bytes(of.w)}, {"dy", dy, bytes(of.y)}},
                      {"dx", dx, bytes(of.x)},
                      {"the workspace", space, space_bytes}};
        CHECK(check_call(of, algo, &at));
        return start(handle, at, [=] {
            convolve_data(of, on_tensor_cores(*algo, of), dy, w,
                          write_to(dx, kind(of.x.type), by, *algo));
        });
    });
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha,
                                             const cudnnTensorDescriptor_t x_desc, const void *x,
                                             const cudnnTensorDescriptor_t dy_desc, const void *dy,
                                             const cudnnConvolutionDescriptor_t conv,
                                             cudnnConvolutionBwdFilterAlgo_t number, void *space,
                                             size_t space_bytes, const void *beta,
                                             const cudnnFilterDescriptor_t dw_desc, void *dw) {
    static const char *const what = "cudnnConvolutionBackwardFilter";
    return call(what, [&] {
        problem of;
        scales by;
        CHECK(check_problem(&of, handle, x_desc, dw_desc, conv, dy_desc));
        CHECK(read_scales(what, &by, alpha, beta));
        const algorithm *algo = find(filter_pass, number);
        buffers at = {what,
                      {{"x", x, bytes(of.x)}, {"dy", dy, bytes(of.y)}},
                      {"dw", dw, bytes(of.w)},
                      {"the workspace", space, space_bytes}};
        CHECK(check_call(of, algo, &at));
        return start(handle, at, [=] {
            convolve_filter(of, on_tensor_cores(*algo, of), x, dy,
                            write_to(dw, kind(of.w.type), by, *algo));
        });
    });
}

cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void *alpha,
                                           const cudnnTensorDescriptor_t dy_desc, const void *dy,
                                           const void *beta, const cudnnTensorDescriptor_t db_desc,
                                           void *db) {
    static const char *const what = "cudnnConvolutionBackwardBias";
    return call(what, [&] {
        scales by;
        CHECK(check_handle(handle));
        CHECK(check_set(dy_desc, "dy's descriptor"));
        CHECK(check_set(db_desc, "db's descriptor"));
        CHECK(read_scales(what, &by, alpha, beta));
        tensor from = *dy_desc, to = *db_desc;
        if (to.n != 1 || to.h != 1 || to.w != 1 || to.c != from.c || to.type != from.type)
            REFUSE(BAD_PARAM, "db has to be [1,c,1,1] of dy's channels and type");
        buffers at = {
            what, {{"dy", dy, bytes(from)}}, {"db", db, bytes(to)}, {"the workspace", nullptr, 0}};
        at.check();
        return start(handle, at, [=] {
            writer out = {db, kind(to.type), by, false, 0};
            std::vector<ptrdiff_t> at_pixels = pixels(from);
            for (int c = 0; c < from.c; c++) {
                double sum = 0;
                for (ptrdiff_t pixel : at_pixels)
                    sum += double(load(dy, kind(from.type), pixel + c * from.c_stride));
                out.write(c * to.c_stride, sum);
            }
        });
    });
}
}
