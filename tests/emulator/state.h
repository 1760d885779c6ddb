/* What the stand-ins for cudart, cuBLASLt and cuDNN share beyond emulator.h. */
#ifndef CAIRN_EMULATOR_STATE_H
#define CAIRN_EMULATOR_STATE_H

#include "control.h"
#include "emulator.h"

#include <cstdint>
#include <mutex>
#include <string>

namespace emulator {

/* Held by every call; work runs under it. */
extern std::recursive_mutex mutex;
using guard = std::lock_guard<std::recursive_mutex>;

/* The pretended machine. */
struct machine {
    int devices = 1;
    int major = 9, minor = 0;
    size_t memory = size_t(8) << 30;
    int driver = CUDART_VERSION;
    size_t cudnn = 0, cublaslt = 0; /* 0: as the headers say */
};
extern machine machine_now;
extern emulator_live live;

/* Counts a call; returns the code that it has to fail with, 0 for none. */
int called(const char *function);

/* Sets emulator_why and returns `status`. */
void explain(const std::string &why);
template <typename status> status because(status code, const std::string &why) {
    explain(why);
    return code;
}

/* The device's sticky error. */
cudaError_t broken();

/* What every call that needs a device begins with: driver, device and sticky errors. */
cudaError_t usable();

/* Whether `stream` is one; the device it belongs to is the current one. */
bool stream_valid(cudaStream_t stream);

/* Runs the stream's work to the end, as cudaStreamSynchronize does. Invalidates captures. */
cudaError_t finish(cudaStream_t stream, const char *what);

int current_device();

/* Device memory (memory.cc). Blocks lie between guards and begin as 0xFF. */
void *allocate(size_t bytes, int device);
bool release(void *data);
bool on_device(const void *data); /* an address of device memory, alive or not */
size_t used(int device);
void *allocate_pinned(size_t bytes);
bool release_pinned(void *data);
bool pinned(const void *data);
void check_guards(const char *what);

/* Device memory can be touched from the first device_access of a session to the session's end. */
struct device_session {
    device_session();
    ~device_session();
    device_session(const device_session &) = delete;
    device_session &operator=(const device_session &) = delete;
};
struct device_access : device_session {
    device_access();
};

/* While one exists, the block around `data` can be touched, if there is one. */
struct block_access {
    explicit block_access(const void *data);
    ~block_access();
    block_access(const block_access &) = delete;
    block_access &operator=(const block_access &) = delete;
    char *start;
    size_t size;
};

} // namespace emulator

#endif
