/* The cuda backend: NVIDIA GPUs, by cuDNN, cuBLASLt and kernels of our own. */
#ifndef CAIRN_CUDA_BACKEND_H
#define CAIRN_CUDA_BACKEND_H

#include "cairn/executor.h"

extern const cairn_backend cairn_backend_cuda;

#endif
