/* The emulator's cuDNN, but for convolutions and dropout: handles, descriptors and max-pooling. */
#include "cudnn_state.h"

#include <algorithm>
#include <set>

using namespace emulator;
using namespace emulator::dnn;

namespace emulator {
namespace dnn {
namespace {

std::set<const void *> objects;
unsigned pooling_calls; /* of the mode whose choice among equals is not fixed */

template <typename object> cudnnStatus_t create(const char *name, object **made, object start) {
    return call(name, [&] {
        if (!made)
            REFUSE(BAD_PARAM_NULL_POINTER, "no place for it");
        *made = new object(start);
        objects.insert(*made);
        live.cudnn++;
        return CUDNN_STATUS_SUCCESS;
    });
}

template <typename object> cudnnStatus_t destroy(const char *name, object *old) {
    return call(name, [&] {
        if (!old) /* as the library does */
            return CUDNN_STATUS_SUCCESS;
        if (!objects.erase(old))
            REFUSE(BAD_PARAM, "not alive");
        delete old;
        live.cudnn--;
        return CUDNN_STATUS_SUCCESS;
    });
}

bool known_type(cudnnDataType_t type) {
    return type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_BFLOAT16;
}

/* Calls visit(output offset, winner's offset in x, its value) for every window. */
template <typename visitor>
void each_window(const cudnnPoolingStruct &pool, const tensor &in, const tensor &out,
                 const void *data, bool last_of_equals, visitor visit) {
    bool nan_wins = pool.nan == CUDNN_PROPAGATE_NAN;
    for (int n = 0; n < out.n; n++)
        for (int c = 0; c < out.c; c++)
            for (int p = 0; p < out.h; p++)
                for (int q = 0; q < out.w; q++) {
                    ptrdiff_t winner = -1;
                    float best = 0;
                    for (int u = 0; u < pool.window_h; u++)
                        for (int v = 0; v < pool.window_w; v++) {
                            int h = p * pool.stride_h - pool.pad_h + u;
                            int w = q * pool.stride_w - pool.pad_w + v;
                            if (h < 0 || w < 0 || h >= in.h || w >= in.w)
                                continue;
                            ptrdiff_t at = offset(in, n, c, h, w);
                            float value = load(data, kind(in.type), at);
                            bool better = value > best || (last_of_equals && value == best) ||
                                          (nan_wins ? value != value && best == best
                                                    : value == value && best != best);
                            if (winner < 0 || better) {
                                winner = at;
                                best = value;
                            }
                        }
                    visit(offset(out, n, c, p, q), winner, best);
                }
}

cudnnStatus_t check_pooling(cudnnHandle_t handle, const cudnnPoolingStruct *pool, const tensor *x,
                            const tensor *y) {
    if (cudnnStatus_t status = check_handle(handle))
        return status;
    if (cudnnStatus_t status = check_set(pool, "the pooling descriptor"))
        return status;
    if (cudnnStatus_t status = check_set(x, "x's descriptor"))
        return status;
    if (cudnnStatus_t status = check_set(y, "y's descriptor"))
        return status;
    if (pool->mode != CUDNN_POOLING_MAX && pool->mode != CUDNN_POOLING_MAX_DETERMINISTIC)
        REFUSE(NOT_SUPPORTED, "the emulator pools by maximum only");
    if (x->type != y->type || x->n != y->n || x->c != y->c)
        REFUSE(BAD_PARAM, "x and y differ in type, count or channels");
    if (y->h != 1 + (x->h + 2 * pool->pad_h - pool->window_h) / pool->stride_h ||
        y->w != 1 + (x->w + 2 * pool->pad_w - pool->window_w) / pool->stride_w)
        REFUSE(BAD_PARAM, "y is not of the pooled shape");
    return CUDNN_STATUS_SUCCESS;
}

void blend(void *data, element type, ptrdiff_t at, const scales &by, double value) {
    double sum = double(by.alpha) * value;
    if (by.beta != 0)
        sum += double(by.beta) * double(load(data, type, at));
    store(data, type, at, float(sum));
}

} // namespace

bool alive(const void *object) {
    return objects.count(object) != 0;
}

cudnnStatus_t check_handle(cudnnHandle_t handle) {
    if (!alive(handle))
        REFUSE(NOT_INITIALIZED, "the handle is not alive");
    if (handle->device != current_device())
        REFUSE(BAD_PARAM, "the handle belongs to another device");
    if (!stream_valid(handle->stream))
        REFUSE(BAD_PARAM, "the handle's stream is not alive");
    return CUDNN_STATUS_SUCCESS;
}

bool is_nchw(const tensor &of) {
    return of.w_stride == 1 && of.h_stride == of.w && of.c_stride == ptrdiff_t(of.h) * of.w &&
           of.n_stride == of.c * of.c_stride;
}

bool is_nhwc(const tensor &of) {
    return of.c_stride == 1 && of.w_stride == of.c && of.h_stride == ptrdiff_t(of.w) * of.c &&
           of.n_stride == of.h * of.h_stride;
}

size_t bytes(const tensor &of) {
    return size_t(offset(of, of.n - 1, of.c - 1, of.h - 1, of.w - 1) + 1) *
           element_bytes(kind(of.type));
}

size_t bytes(const filter &of) {
    return size_t(of.k) * size_t(of.c) * size_t(of.r) * size_t(of.s) * element_bytes(kind(of.type));
}

cudnnStatus_t read_scales(const char *what, scales *to, const void *alpha, const void *beta) {
    if (!alpha || !beta)
        REFUSE(BAD_PARAM_NULL_POINTER, "alpha or beta is NULL");
    if (on_device(alpha) || on_device(beta))
        misuse(what, "alpha and beta have to be in host memory");
    memcpy(&to->alpha, alpha, sizeof to->alpha);
    memcpy(&to->beta, beta, sizeof to->beta);
    return CUDNN_STATUS_SUCCESS;
}

void check_reach(const char *what, const range &of) {
    if (of.bytes && !reachable(of.data, of.bytes))
        misuse(what, (std::string(of.name) + " is not inside live device memory").c_str());
}

bool overlap(const range &a, const range &b) {
    const char *x = static_cast<const char *>(a.data), *y = static_cast<const char *>(b.data);
    return x < y + b.bytes && y < x + a.bytes;
}

} // namespace dnn
} // namespace emulator

extern "C" {

size_t cudnnGetVersion(void) {
    guard hold(mutex);
    called(__func__);
    return machine_now.cudnn ? machine_now.cudnn : size_t(CUDNN_VERSION);
}

size_t cudnnGetCudartVersion(void) {
    return CUDART_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
    switch (status) {
#define NAME(name)                                                                                 \
    case name:                                                                                     \
        return #name;
        NAME(CUDNN_STATUS_SUCCESS)
        NAME(CUDNN_STATUS_NOT_INITIALIZED)
        NAME(CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH)
        NAME(CUDNN_STATUS_BAD_PARAM)
        NAME(CUDNN_STATUS_BAD_PARAM_NULL_POINTER)
        NAME(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER)
        NAME(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT)
        NAME(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH)
        NAME(CUDNN_STATUS_NOT_SUPPORTED)
        NAME(CUDNN_STATUS_INTERNAL_ERROR)
        NAME(CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED)
        NAME(CUDNN_STATUS_EXECUTION_FAILED)
#undef NAME
    default:
        return "CUDNN_UNKNOWN_STATUS";
    }
}

void cudnnGetLastErrorString(char *message, size_t size) {
    guard hold(mutex);
    if (size)
        snprintf(message, size, "%s", emulator_why());
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    {
        guard hold(mutex);
        if (usable())
            REFUSE(NOT_INITIALIZED, "there is no usable device");
    }
    return create(__func__, handle, cudnnContext{current_device(), nullptr});
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    return destroy(__func__, handle);
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    return call(__func__, [&] {
        if (!alive(handle))
            REFUSE(NOT_INITIALIZED, "the handle is not alive");
        if (!stream_valid(stream))
            REFUSE(BAD_PARAM, "not a stream of this device");
        handle->stream = stream;
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
    return call(__func__, [&] {
        if (!alive(handle) || !stream)
            REFUSE(BAD_PARAM, "the handle is not alive");
        *stream = handle->stream;
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *made) {
    return create(__func__, made, cudnnTensorStruct());
}

cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t old) {
    return destroy(__func__, old);
}

static cudnnStatus_t set_tensor(cudnnTensorDescriptor_t of, const cudnnTensorStruct &to) {
    if (!alive(of))
        REFUSE(BAD_PARAM, "the descriptor is not alive");
    if (!known_type(to.type))
        REFUSE(NOT_SUPPORTED, "a type that the emulator does not know");
    if (std::min({to.n, to.c, to.h, to.w}) <= 0)
        REFUSE(BAD_PARAM, "a dimension is not positive");
    if (std::min({to.n_stride, to.c_stride, to.h_stride, to.w_stride}) <= 0)
        REFUSE(BAD_PARAM, "a stride is not positive");
    if (bytes(to) > size_t(2) << 30)
        REFUSE(NOT_SUPPORTED, "a tensor of more than 2 GiB");
    *of = to;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t of, cudnnTensorFormat_t format,
                                         cudnnDataType_t type, int n, int c, int h, int w) {
    return call(__func__, [&] {
        ptrdiff_t area = ptrdiff_t(h) * w, whole = c * area;
        if (format == CUDNN_TENSOR_NCHW)
            return set_tensor(of, {true, type, n, c, h, w, whole, area, w, 1});
        if (format == CUDNN_TENSOR_NHWC)
            return set_tensor(of, {true, type, n, c, h, w, whole, 1, ptrdiff_t(w) * c, c});
        REFUSE(NOT_SUPPORTED, "a format that the emulator does not know");
    });
}

cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t of, cudnnDataType_t type, int n,
                                           int c, int h, int w, int n_stride, int c_stride,
                                           int h_stride, int w_stride) {
    return call(__func__, [&] {
        return set_tensor(of, {true, type, n, c, h, w, n_stride, c_stride, h_stride, w_stride});
    });
}

cudnnStatus_t cudnnGetTensorSizeInBytes(const cudnnTensorDescriptor_t of, size_t *size) {
    return call(__func__, [&] {
        if (cudnnStatus_t status = check_set(of, "the descriptor"))
            return status;
        *size = bytes(*of);
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *made) {
    return create(__func__, made, cudnnFilterStruct());
}

cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t old) {
    return destroy(__func__, old);
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t of, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int k, int c, int r, int s) {
    return call(__func__, [&] {
        if (!alive(of))
            REFUSE(BAD_PARAM, "the descriptor is not alive");
        if (std::min({k, c, r, s}) <= 0)
            REFUSE(BAD_PARAM, "a dimension is not positive");
        if (!known_type(type) || (format != CUDNN_TENSOR_NCHW && format != CUDNN_TENSOR_NHWC))
            REFUSE(NOT_SUPPORTED, "a type or format that the emulator does not know");
        ptrdiff_t area = ptrdiff_t(r) * s;
        if (format == CUDNN_TENSOR_NCHW)
            *of = {true, type, format, k, c, r, s, c * area, area, s, 1};
        else
            *of = {true, type, format, k, c, r, s, c * area, 1, ptrdiff_t(s) * c, c};
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *made) {
    return create(__func__, made, cudnnConvolutionStruct());
}

cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t old) {
    return destroy(__func__, old);
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t of, int pad_h, int pad_w,
                                              int stride_h, int stride_w, int dilation_h,
                                              int dilation_w, cudnnConvolutionMode_t mode,
                                              cudnnDataType_t compute) {
    return call(__func__, [&] {
        if (!alive(of))
            REFUSE(BAD_PARAM, "the descriptor is not alive");
        if (pad_h < 0 || pad_w < 0 || std::min({stride_h, stride_w, dilation_h, dilation_w}) <= 0)
            REFUSE(BAD_PARAM, "a negative padding, or a stride or dilation that is not positive");
        if (compute != CUDNN_DATA_FLOAT)
            REFUSE(NOT_SUPPORTED, "float32 and bf16 tensors compute in float32");
        cudnnMathType_t math = of->set ? of->math : CUDNN_DEFAULT_MATH;
        *of = {true, pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode, math};
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t of, cudnnMathType_t math) {
    return call(__func__, [&] {
        if (!alive(of) || math < CUDNN_DEFAULT_MATH || math > CUDNN_FMA_MATH)
            REFUSE(BAD_PARAM, "the descriptor is not alive, or no such math type");
        if (!of->set)
            REFUSE(BAD_PARAM, "the descriptor has not been set");
        of->math = math;
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnCreateDropoutDescriptor(cudnnDropoutDescriptor_t *made) {
    return create(__func__, made, cudnnDropoutStruct());
}

cudnnStatus_t cudnnDestroyDropoutDescriptor(cudnnDropoutDescriptor_t old) {
    return destroy(__func__, old);
}

cudnnStatus_t cudnnCreatePoolingDescriptor(cudnnPoolingDescriptor_t *made) {
    return create(__func__, made, cudnnPoolingStruct());
}

cudnnStatus_t cudnnDestroyPoolingDescriptor(cudnnPoolingDescriptor_t old) {
    return destroy(__func__, old);
}

cudnnStatus_t cudnnSetPooling2dDescriptor(cudnnPoolingDescriptor_t of, cudnnPoolingMode_t mode,
                                          cudnnNanPropagation_t nan, int window_h, int window_w,
                                          int pad_h, int pad_w, int stride_h, int stride_w) {
    return call(__func__, [&] {
        if (!alive(of))
            REFUSE(BAD_PARAM, "the descriptor is not alive");
        if (std::min({window_h, window_w, stride_h, stride_w}) <= 0 || pad_h < 0 || pad_w < 0 ||
            pad_h >= window_h || pad_w >= window_w)
            REFUSE(BAD_PARAM, "a window or stride is not positive, or the padding fills a window");
        *of = {true, mode, nan, window_h, window_w, pad_h, pad_w, stride_h, stride_w};
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnGetPooling2dForwardOutputDim(const cudnnPoolingDescriptor_t of,
                                                const cudnnTensorDescriptor_t in, int *n, int *c,
                                                int *h, int *w) {
    return call(__func__, [&] {
        if (cudnnStatus_t status = check_set(of, "the pooling descriptor"))
            return status;
        if (cudnnStatus_t status = check_set(in, "the input's descriptor"))
            return status;
        *n = in->n;
        *c = in->c;
        *h = 1 + (in->h + 2 * of->pad_h - of->window_h) / of->stride_h;
        *w = 1 + (in->w + 2 * of->pad_w - of->window_w) / of->stride_w;
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnPoolingForward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t pooling,
                                  const void *alpha, const cudnnTensorDescriptor_t x_desc,
                                  const void *x, const void *beta,
                                  const cudnnTensorDescriptor_t y_desc, void *y) {
    static const char *const what = "cudnnPoolingForward";
    return call(what, [&] {
        if (cudnnStatus_t status = check_pooling(handle, pooling, x_desc, y_desc))
            return status;
        scales by;
        if (cudnnStatus_t status = read_scales(what, &by, alpha, beta))
            return status;
        cudnnPoolingStruct pool = *pooling;
        tensor in = *x_desc, out = *y_desc;
        range from = {"x", x, bytes(in)}, to = {"y", y, bytes(out)};
        auto check = [=] {
            check_reach(what, from);
            check_reach(what, to);
            if (overlap(from, to))
                misuse(what, "y overlaps x");
        };
        check();
        return launched(enqueue(handle->stream, what, [=] {
            check();
            each_window(pool, in, out, x, false, [&](ptrdiff_t at, ptrdiff_t, float best) {
                blend(y, kind(out.type), at, by, double(best));
            });
        }));
    });
}

cudnnStatus_t cudnnPoolingBackward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t pooling,
                                   const void *alpha, const cudnnTensorDescriptor_t y_desc,
                                   const void *y, const cudnnTensorDescriptor_t dy_desc,
                                   const void *dy, const cudnnTensorDescriptor_t x_desc,
                                   const void *x, const void *beta,
                                   const cudnnTensorDescriptor_t dx_desc, void *dx) {
    static const char *const what = "cudnnPoolingBackward";
    return call(what, [&] {
        if (cudnnStatus_t status = check_pooling(handle, pooling, x_desc, y_desc))
            return status;
        if (cudnnStatus_t status = check_set(dy_desc, "dy's descriptor"))
            return status;
        if (cudnnStatus_t status = check_set(dx_desc, "dx's descriptor"))
            return status;
        if (!same(*y_desc, *dy_desc) || !same(*x_desc, *dx_desc))
            REFUSE(BAD_PARAM, "y and dy, and x and dx, have to be alike, strides included");
        scales by;
        if (cudnnStatus_t status = read_scales(what, &by, alpha, beta))
            return status;
        cudnnPoolingStruct pool = *pooling;
        tensor in = *x_desc, out = *y_desc;
        range all[] = {{"x", x, bytes(in)}, {"y", y, bytes(out)}, {"dy", dy, bytes(out)}};
        range to = {"dx", dx, bytes(in)};
        auto check = [=] {
            check_reach(what, to);
            for (const range &each : all) {
                check_reach(what, each);
                if (overlap(each, to))
                    misuse(what, "dx overlaps an input");
            }
        };
        check();
        return launched(enqueue(handle->stream, what, [=] {
            check();
            /* Who wins among equals is fixed in the deterministic mode only. */
            bool last = pool.mode == CUDNN_POOLING_MAX && pooling_calls++ % 2;
            std::vector<double> sums(bytes(in) / element_bytes(kind(in.type)));
            each_window(pool, in, out, x, last, [&](ptrdiff_t at, ptrdiff_t winner, float) {
                sums[size_t(winner)] += double(load(dy, kind(out.type), at));
            });
            for (int n = 0; n < in.n; n++)
                for (int c = 0; c < in.c; c++)
                    for (int h = 0; h < in.h; h++)
                        for (int w = 0; w < in.w; w++) {
                            ptrdiff_t at = offset(in, n, c, h, w);
                            blend(dx, kind(in.type), at, by, sums[size_t(at)]);
                        }
        }));
    });
}
}
