/* The CUDA emulator's inside: what its parts share. It lets g++ compile the real .cu files and run
 * them, and stands in for the cudart, cuBLASLt and cuDNN calls that Cairn makes, so that the whole
 * CUDA executor runs in tests on a machine without a GPU. A test tool: never shipped.
 *
 * Like a GPU it is asynchronous: enqueued work runs only when somebody waits for it (a synchronise
 * call, a blocking copy), so that a result read too early, or memory reused too early, is seen. */
#ifndef CAIRN_EMULATOR_H
#define CAIRN_EMULATOR_H

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

namespace emulator {

/* Appends work to a stream, or to the graph that the stream is capturing. `what` names it in
 * messages. An error is also what cudaGetLastError returns next; nothing is enqueued then. */
cudaError_t enqueue(cudaStream_t stream, const char *what, std::function<void()> work);

/* Refuses a launch (bad grid, too much shared memory, ...): nothing runs, cudaGetLastError returns
 * `error`. */
void refuse(const char *what, cudaError_t error, const char *why);

/* Stops the test with a message: a use that the manuals forbid, found while work runs (a pointer
 * outside live device memory, ...). */
[[noreturn]] void misuse(const char *what, const char *why);

/* True when [data, data + bytes) lies inside one live device or mapped host allocation. */
bool reachable(const void *data, size_t bytes);

} // namespace emulator

#endif
