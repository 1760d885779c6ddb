/* What the two halves of the emulator's cuDNN share: descriptors, and how a call begins. */
#ifndef CAIRN_EMULATOR_CUDNN_STATE_H
#define CAIRN_EMULATOR_CUDNN_STATE_H

#include "multiply.h"
#include "state.h"

#include <cudnn.h>

#include <string>

struct cudnnContext {
    int device;
    cudaStream_t stream;
};

struct cudnnTensorStruct {
    bool set;
    cudnnDataType_t type;
    int n, c, h, w;
    ptrdiff_t n_stride, c_stride, h_stride, w_stride;
};

struct cudnnFilterStruct {
    bool set;
    cudnnDataType_t type;
    cudnnTensorFormat_t format;
    int k, c, r, s;
    ptrdiff_t k_stride, c_stride, r_stride, s_stride;
};

struct cudnnConvolutionStruct {
    bool set;
    int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w;
    cudnnConvolutionMode_t mode;
    cudnnMathType_t math;
};

struct cudnnPoolingStruct {
    bool set;
    cudnnPoolingMode_t mode;
    cudnnNanPropagation_t nan;
    int window_h, window_w, pad_h, pad_w, stride_h, stride_w;
};

struct cudnnDropoutStruct {
    bool set;
    float p;
    void *states;
    size_t bytes;
};

namespace emulator {
namespace dnn {

using tensor = cudnnTensorStruct;
using filter = cudnnFilterStruct;

/* Whether it is an object of cuDNN's that is alive. */
bool alive(const void *object);

#define REFUSE(status, why) return because(CUDNN_STATUS_##status, why)

template <typename function> cudnnStatus_t call(const char *name, function body) {
    guard hold(mutex);
    if (int code = called(name))
        return cudnnStatus_t(code);
    return body();
}

cudnnStatus_t check_handle(cudnnHandle_t handle);

/* An alive descriptor that has been set. */
template <typename descriptor> cudnnStatus_t check_set(const descriptor *of, const char *name) {
    if (!alive(of))
        REFUSE(BAD_PARAM, std::string(name) + " is not alive");
    if (!of->set)
        REFUSE(BAD_PARAM, std::string(name) + " has not been set");
    return CUDNN_STATUS_SUCCESS;
}

inline element kind(cudnnDataType_t type) {
    return type == CUDNN_DATA_FLOAT ? element::f32 : element::bf16;
}

bool is_nchw(const tensor &of); /* packed */
bool is_nhwc(const tensor &of);
size_t bytes(const tensor &of);
size_t bytes(const filter &of);

inline ptrdiff_t offset(const tensor &of, int n, int c, int h, int w) {
    return n * of.n_stride + c * of.c_stride + h * of.h_stride + w * of.w_stride;
}

inline bool same_shape(const tensor &a, const tensor &b) {
    return a.n == b.n && a.c == b.c && a.h == b.h && a.w == b.w;
}

inline bool same(const tensor &a, const tensor &b) {
    return a.type == b.type && same_shape(a, b) && a.n_stride == b.n_stride &&
           a.c_stride == b.c_stride && a.h_stride == b.h_stride && a.w_stride == b.w_stride;
}

/* alpha and beta: float32 in host memory, for tensors of float32 and bf16. */
struct scales {
    float alpha, beta;
};
cudnnStatus_t read_scales(const char *what, scales *to, const void *alpha, const void *beta);

/* Where data lies; checked when a call is made, and when its work runs. */
struct range {
    const char *name;
    const void *data;
    size_t bytes;
};
void check_reach(const char *what, const range &of);
bool overlap(const range &a, const range &b);

inline cudnnStatus_t launched(cudaError_t error) {
    return error ? CUDNN_STATUS_EXECUTION_FAILED : CUDNN_STATUS_SUCCESS;
}

} // namespace dnn
} // namespace emulator

#endif
