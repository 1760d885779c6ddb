/* What differs between nvcc and a plain C++ compiler, where tests/emulator/device.h takes the
 * device's part: how a kernel starts, LAUNCH(kernel, shape, stream, arguments...), with a
 * template's name in brackets: LAUNCH((name<T, 4>), ...); and how shared memory is declared,
 * SHARED(float, tile, [32][33]). C++ only. */
#ifndef CAIRN_CUDA_LAUNCH_H
#define CAIRN_CUDA_LAUNCH_H

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#ifdef __CUDACC__
#define LAUNCH(kernel, shape, stream, ...)                                                         \
    kernel<<<(shape).grid, (shape).block, 0, stream>>>(__VA_ARGS__)
#define SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#define UNROLL _Pragma("unroll")
#else
#include "emulator/device.h" /* tests/ */
#define LAUNCH(kernel, shape, stream, ...)                                                         \
    emulator::launch(#kernel, kernel, (shape).grid, (shape).block, stream, __VA_ARGS__)
#define SHARED(type, name, ...)                                                                    \
    static type name __VA_ARGS__;                                                                  \
    emulator::begin_shared(&name, sizeof name)
#define UNROLL
#endif

struct launch_shape {
    dim3 grid, block;
};

#endif
