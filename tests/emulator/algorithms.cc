/* The table of the emulator's convolution algorithms, and what follows from it. */
#include "algorithms.h"

namespace emulator {
namespace dnn {

const std::vector<algorithm> algorithms = {
    {forward_pass, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED, true, false, true, true, 5, true,
     large_space},
    {forward_pass, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, true, true, true, true, 0,
     false, index_space},
    {forward_pass, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD, true, false, false, false, 3, true,
     no_space},
    {forward_pass, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, true, true, true, false, 0, false,
     no_space},
    {forward_pass, CUDNN_CONVOLUTION_FWD_ALGO_GEMM, true, false, true, false, 0, true,
     partial_space},
    {forward_pass, CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING, true, false, false, false, 32, true,
     large_space},
    {forward_pass, CUDNN_CONVOLUTION_FWD_ALGO_FFT, true, false, false, false, 32, true,
     large_space},
    {data_pass, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, false, true, true, false, 0, false, no_space},
    {data_pass, CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED, true, false, true, true, 5, true,
     large_space},
    {data_pass, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, true, true, true, true, 0, false, index_space},
    {data_pass, CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD, true, false, false, false, 3, true,
     no_space},
    {data_pass, CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING, true, false, false, false, 32, true,
     large_space},
    {data_pass, CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT, true, false, false, false, 32, true,
     large_space},
    {filter_pass, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, false, false, true, false, 0, false,
     index_space},
    {filter_pass, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, false, true, true, false, 0, false,
     no_space},
    {filter_pass, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED, true, false, true, true, 5,
     true, large_space},
    {filter_pass, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, true, true, true, true, 0, false,
     partial_space},
    {filter_pass, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING, true, false, false, false, 32, true,
     large_space},
    {filter_pass, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT, true, false, false, false, 32, true,
     large_space},
};

bool on_tensor_cores(const algorithm &algo, const problem &of) {
    return algo.tensor_cores && of.conv.math != CUDNN_FMA_MATH;
}

cudnnStatus_t check_support(const algorithm &algo, const problem &of) {
    bool half = of.x.type == CUDNN_DATA_BFLOAT16;
    if (half && machine_now.major < 8)
        REFUSE(NOT_SUPPORTED, "bf16 needs compute capability 8.0");
    if (half && (!algo.bf16 || of.conv.math == CUDNN_FMA_MATH))
        REFUSE(NOT_SUPPORTED, "not for bf16, or not without tensor cores");
    if (of.w.format == CUDNN_TENSOR_NHWC) {
        if (!algo.nhwc)
            REFUSE(NOT_SUPPORTED, "not for NHWC filters");
        if (!is_nhwc(of.x) || !is_nhwc(of.y))
            REFUSE(NOT_SUPPORTED, "an NHWC filter needs packed NHWC tensors");
        int unit = half ? 8 : on_tensor_cores(algo, of) ? 4 : 1;
        if (of.x.c % unit || of.y.c % unit)
            REFUSE(NOT_SUPPORTED, "the channels are not padded as the tensor cores want");
    } else if (algo.filter_limit || !algo.nhwc) {
        if (!is_nchw(of.x) || !is_nchw(of.y))
            REFUSE(NOT_SUPPORTED, "needs packed NCHW tensors");
    }
    if (algo.undilated && (of.conv.dilation_h != 1 || of.conv.dilation_w != 1))
        REFUSE(NOT_SUPPORTED, "not with dilation");
    if (algo.filter_limit) {
        if (of.conv.stride_h != 1 || of.conv.stride_w != 1)
            REFUSE(NOT_SUPPORTED, "only with stride 1");
        bool square3 = of.w.r == 3 && of.w.s == 3, square5 = of.w.r == 5 && of.w.s == 5;
        bool fits = algo.filter_limit == 3   ? square3
                    : algo.filter_limit == 5 ? square3 || square5
                                             : of.w.r <= 32 && of.w.s <= 32 &&
                                                   of.conv.pad_h < of.w.r && of.conv.pad_w < of.w.s;
        if (!fits)
            REFUSE(NOT_SUPPORTED, "not for a filter of this size");
    }
    return CUDNN_STATUS_SUCCESS;
}

size_t space_of(const algorithm &algo, const problem &of) {
    size_t patch = size_t(of.w.c) * size_t(of.w.r) * size_t(of.w.s);
    size_t index = 1024 + (16 * patch + 255) / 256 * 256;
    switch (algo.space) {
    case no_space:
        return 0;
    case index_space:
        return index;
    case partial_space:
        return index +
               4 * patch *
                   (algo.pass == forward_pass ? size_t(of.y.h) * size_t(of.y.w) : size_t(of.w.k));
    case large_space:
        return index + bytes(of.x) + bytes(of.y) + 4 * bytes(of.w);
    }
    return 0;
}

const algorithm *find(direction pass, int number) {
    for (const algorithm &algo : algorithms)
        if (algo.pass == pass && algo.number == number)
            return &algo;
    return nullptr;
}

} // namespace dnn
} // namespace emulator
