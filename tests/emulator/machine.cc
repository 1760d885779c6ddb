/* The emulator's pretended machine: devices, versions, errors and the faults that tests inject. */
#include "state.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace emulator {

std::recursive_mutex mutex;
machine machine_now;
emulator_live live;

namespace {

struct fault {
    int countdown, code;
};
std::map<std::string, fault> faults;
std::map<std::string, int> calls;
std::string last_why;
thread_local int device_now;

struct error_text {
    cudaError_t code;
    const char *name, *text;
};
const error_text error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorInvalidDevicePointer, "cudaErrorInvalidDevicePointer", "invalid device pointer"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable",
     "CUDA-capable device(s) is/are busy or unavailable"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorLaunchTimeout, "cudaErrorLaunchTimeout", "the launch timed out and was terminated"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge",
     "operation would result in a merge of separate capture sequences"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
     "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const error_text *find_text(cudaError_t code) {
    for (const error_text &entry : error_texts)
        if (entry.code == code)
            return &entry;
    return nullptr;
}

bool device_exists(int device) {
    return device >= 0 && device < machine_now.devices;
}

} // namespace

int called(const char *function) {
    calls[function]++;
    auto found = faults.find(function);
    if (found == faults.end() || --found->second.countdown > 0)
        return 0;
    int code = found->second.code;
    faults.erase(found);
    return code;
}

void explain(const std::string &why) {
    last_why = why;
}

void misuse(const char *what, const char *why) {
    fprintf(stderr, "emulator: %s: %s\n", what, why);
    fflush(nullptr);
    abort();
}

/* A driver of the runtime's major version or a newer one will do (minor version compatibility). */
cudaError_t usable() {
    if (machine_now.driver / 1000 < CUDART_VERSION / 1000)
        return cudaErrorInsufficientDriver;
    if (machine_now.devices == 0)
        return cudaErrorNoDevice;
    return broken();
}

int current_device() {
    return device_now;
}

void reset_machine() {
    faults.clear();
    calls.clear();
    last_why.clear();
    machine_now = machine();
    device_now = 0;
}

cudaError_t record_error(cudaError_t code); /* queue.cc */

} // namespace emulator

using namespace emulator;

extern "C" {

cudaError_t cudaGetDeviceCount(int *count) {
    guard hold(mutex);
    if (int code = called(__func__))
        return record_error(cudaError_t(code));
    if (!count)
        return record_error(cudaErrorInvalidValue);
    *count = 0;
    cudaError_t error = usable();
    if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice)
        return record_error(error);
    *count = machine_now.devices;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    guard hold(mutex);
    if (int code = called(__func__))
        return record_error(cudaError_t(code));
    if (cudaError_t error = usable())
        return record_error(error);
    if (!device_exists(device))
        return record_error(cudaErrorInvalidDevice);
    device_now = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    guard hold(mutex);
    if (int code = called(__func__))
        return record_error(cudaError_t(code));
    if (cudaError_t error = usable())
        return record_error(error);
    *device = device_now;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
    guard hold(mutex);
    if (int code = called("cudaGetDeviceProperties"))
        return record_error(cudaError_t(code));
    if (cudaError_t error = usable())
        return record_error(error);
    if (!device_exists(device))
        return record_error(cudaErrorInvalidDevice);
    *properties = cudaDeviceProp();
    snprintf(properties->name, sizeof properties->name, "Emulated GPU");
    properties->totalGlobalMem = machine_now.memory;
    properties->major = machine_now.major;
    properties->minor = machine_now.minor;
    properties->multiProcessorCount = 4;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = 2147483647;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->sharedMemPerBlock = 48 << 10;
    properties->sharedMemPerBlockOptin = 227 << 10;
    properties->sharedMemPerMultiprocessor = 228 << 10;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->l2CacheSize = 32 << 20;
    properties->memoryBusWidth = 256;
    properties->unifiedAddressing = 1;
    properties->canMapHostMemory = 1;
    properties->concurrentKernels = 1;
    properties->asyncEngineCount = 1;
    properties->pciBusID = device + 1;
    properties->memPitch = 2147483647;
    properties->textureAlignment = 512;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    guard hold(mutex);
    if (int code = called(__func__))
        return record_error(cudaError_t(code));
    cudaDeviceProp properties;
    if (cudaError_t error = cudaGetDeviceProperties(&properties, device))
        return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = properties.maxThreadsPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = int(properties.sharedMemPerBlock);
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = int(properties.sharedMemPerBlockOptin);
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = int(properties.sharedMemPerMultiprocessor);
        break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = properties.maxThreadsPerMultiProcessor;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = properties.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = properties.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = properties.minor;
        break;
    case cudaDevAttrL2CacheSize:
        *value = properties.l2CacheSize;
        break;
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = properties.memoryBusWidth;
        break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
        *value = 1000000; /* kHz */
        break;
    case cudaDevAttrWarpSize:
        *value = properties.warpSize;
        break;
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrConcurrentKernels:
        *value = 1;
        break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrPageableMemoryAccess:
    case cudaDevAttrComputeMode:
        *value = 0;
        break;
    default:
        misuse("cudaDeviceGetAttribute", "the emulator does not know this attribute");
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device) {
    guard hold(mutex);
    if (int code = called(__func__))
        return record_error(cudaError_t(code));
    if (cudaError_t error = usable())
        return record_error(error);
    if (!device_exists(device))
        return record_error(cudaErrorInvalidDevice);
    if (size < 13)
        return record_error(cudaErrorInvalidValue);
    snprintf(text, size_t(size), "0000:%02x:00.0", (device + 1) & 0xff);
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    guard hold(mutex);
    if (int code = called(__func__))
        return record_error(cudaError_t(code));
    *version = machine_now.driver;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    guard hold(mutex);
    if (int code = called(__func__))
        return record_error(cudaError_t(code));
    *version = CUDART_VERSION;
    return cudaSuccess;
}

const char *cudaGetErrorName(cudaError_t code) {
    const error_text *found = find_text(code);
    return found ? found->name : "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t code) {
    const error_text *found = find_text(code);
    return found ? found->text : "unrecognized error code";
}

void emulator_set_devices(int count) {
    guard hold(mutex);
    if (count < 0 || count > 4)
        misuse("emulator_set_devices", "it knows 0 to 4 devices");
    machine_now.devices = count;
}

void emulator_set_capability(int major, int minor) {
    guard hold(mutex);
    machine_now.major = major;
    machine_now.minor = minor;
}

void emulator_set_memory(size_t total) {
    guard hold(mutex);
    machine_now.memory = total;
}

void emulator_set_driver(int version) {
    guard hold(mutex);
    machine_now.driver = version;
}

void emulator_set_cudnn(size_t version) {
    guard hold(mutex);
    machine_now.cudnn = version;
}

void emulator_set_cublaslt(size_t version) {
    guard hold(mutex);
    machine_now.cublaslt = version;
}

void emulator_fail(const char *function, int nth, int code) {
    guard hold(mutex);
    faults[function] = {nth, code};
}

int emulator_calls(const char *function) {
    guard hold(mutex);
    auto found = calls.find(function);
    return found == calls.end() ? 0 : found->second;
}

const char *emulator_why(void) {
    guard hold(mutex);
    return last_why.c_str();
}

emulator_live emulator_count_live(void) {
    guard hold(mutex);
    return live;
}
}
