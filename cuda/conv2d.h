/* A convolution as cuDNN has it: descriptors, and an algorithm for each pass. */
#ifndef CAIRN_CUDA_CONV2D_H
#define CAIRN_CUDA_CONV2D_H

#include "cairn/net.h"

#include <cudnn.h>

enum { CONV_FORWARD, CONV_DATA, CONV_FILTER, CONV_PASSES };

typedef struct {
    cudnnConvolutionDescriptor_t descriptor;
    int algorithm; /* a cudnnConvolution{Fwd,BwdData,BwdFilter}Algo_t */
} conv_pass;

typedef struct {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    conv_pass pass[CONV_PASSES];
} convolution;

/* "features.0 forward IMPLICIT_PRECOMP_GEMM". Returns `out`. */
const char *conv_choice(const cairn_op *layer, const convolution *conv, int pass, char *out,
                        size_t size);

#endif
