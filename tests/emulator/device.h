/* The device half of the emulator: what lets a plain C++ compiler take the .cu files as they are.
 *
 * A block's threads run one after another, each until it waits at a barrier or in a warp's
 * exchange; only then does another stack begin. So a kernel that never synchronises costs a loop.
 * The order in which they run is the test's to choose (emulator::order): threads that race give
 * different results in different orders.
 *
 * What the CUDA manual forbids stops the test: a barrier that not all threads reach, an exchange
 * whose mask names absent lanes or leaves out the caller, reading a lane outside the mask, pointers
 * that a device could not follow. Shared memory begins every block as a pattern of NaN. */
#ifndef CAIRN_EMULATOR_DEVICE_H
#define CAIRN_EMULATOR_DEVICE_H

#include "emulator.h"

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace emulator {

/* 0: threads and blocks run first to last; 1: last to first; else shuffled, by this seed. Begins as
 * the environment's CAIRN_EMULATOR_ORDER. */
extern unsigned order;

/* The running thread's own variables. */
struct thread_place {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
};
extern thread_place here;

/* Where in the source a thread waits: threads that meet must meet at one place. */
struct site {
    const char *file;
    int line;
};

enum class exchange_kind { shuffle, ballot, barrier };

/* Waits for all threads of the block. */
void barrier(site at);

/* Waits for the lanes in `mask`. A shuffle returns what lane `source` put in, a ballot the lanes
 * whose value is not 0. */
uint64_t exchange(exchange_kind kind, unsigned mask, uint64_t value, int source, site at);

/* The caller's number within its warp. */
int lane();

/* Every thread says so where it declares a shared variable: the first of a block spoils it. */
void begin_shared(void *variable, size_t bytes);

/* True when a launch of this shape would be accepted; otherwise it has been refused. */
bool accept(const char *kernel, dim3 grid, dim3 block);

/* Stops the test unless a device can follow the pointer. */
void check_pointer(const char *kernel, const void *pointer);

/* Runs `body` once for every thread of the grid. */
void run(const char *kernel, dim3 grid, dim3 block, const std::function<void()> &body);

template <typename T> void check_argument(const char *kernel, const T &argument) {
    if constexpr (std::is_pointer_v<T>)
        check_pointer(kernel, (const void *)argument);
}

/* kernel<<<grid, block, 0, stream>>>(arguments...): they are copied now, as CUDA does. */
template <typename... P, typename... A>
void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream,
            A... arguments) {
    if (!accept(name, grid, block))
        return;
    std::tuple<P...> kept(arguments...);
    enqueue(stream, name, [=] {
        std::apply([&](const P &...each) { (check_argument(name, each), ...); }, kept);
        run(name, grid, block, [&] { std::apply(kernel, kept); });
    });
}

template <typename T> T shuffle(unsigned mask, T value, int source, site at) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "shuffles move at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = exchange(exchange_kind::shuffle, mask, bits, source, at);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace emulator

/* CUDA's own words --------------------------------------------------------------------------------
 */
#undef __shared__
#define __shared__ SHARED_is_how_cuda_launch_h_declares_it
#undef __launch_bounds__
#define __launch_bounds__(...)

#define threadIdx (emulator::here.thread)
#define blockIdx (emulator::here.block)
#define blockDim (emulator::here.block_dim)
#define gridDim (emulator::here.grid_dim)

using std::max;
using std::min;

#define CAIRN_EMULATOR_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CAIRN_EMULATOR_SITE) {
    emulator::barrier({file, line});
}
inline void __syncwarp(unsigned mask = ~0u, CAIRN_EMULATOR_SITE) {
    emulator::exchange(emulator::exchange_kind::barrier, mask, 0, 0, {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CAIRN_EMULATOR_SITE) {
    return (unsigned)emulator::exchange(emulator::exchange_kind::ballot, mask, predicate != 0, 0,
                                        {file, line});
}
template <typename T> T __shfl_sync(unsigned mask, T value, int source, CAIRN_EMULATOR_SITE) {
    return emulator::shuffle(mask, value, source & 31, {file, line});
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int distance, CAIRN_EMULATOR_SITE) {
    return emulator::shuffle(mask, value, emulator::lane() ^ distance, {file, line});
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, CAIRN_EMULATOR_SITE) {
    int source = emulator::lane() + (int)distance;
    return emulator::shuffle(mask, value, source > 31 ? emulator::lane() : source, {file, line});
}

/* A product that is rounded by itself, whatever is added to it. */
inline float __fmul_rn(float a, float b) {
    volatile float product = a * b;
    return product;
}

/* Threads take turns, so nothing comes between. */
template <typename T> T atomicAdd(T *at, T value) {
    T before = *at;
    *at += value;
    return before;
}

#endif
