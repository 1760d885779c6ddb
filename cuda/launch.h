/* The one way to start a kernel: <<<>>> under nvcc, tests/emulator/device.h under a plain C++
 * compiler. C++ only; a template kernel's name goes in brackets: LAUNCH((name<T, 4>), ...). */
#ifndef CAIRN_CUDA_LAUNCH_H
#define CAIRN_CUDA_LAUNCH_H

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#ifdef __CUDACC__
#define LAUNCH(kernel, shape, stream, ...)                                                         \
    kernel<<<(shape).grid, (shape).block, 0, stream>>>(__VA_ARGS__)
#define UNROLL _Pragma("unroll")
#else
#include "device.h"
#define LAUNCH(kernel, shape, stream, ...)                                                         \
    emulator::launch(#kernel, kernel, (shape).grid, (shape).block, stream, __VA_ARGS__)
#define UNROLL
#endif

struct launch_shape {
    dim3 grid, block;
};

#endif
