/* Probing devices and libraries, and wording what went wrong. */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Errors ----------------------------------------------------------------------------------------*/

/* What the user can do about it; "" where the library's own words have to do. */
static const char *advice(cudaError_t error) {
    switch (error) {
    case cudaErrorMemoryAllocation:
        return "; a smaller train.batch_size needs less";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
        return "; this build has no code for this GPU: build Cairn on this machine";
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
        return "; a kernel failed and this process cannot use the GPU any more; the last "
               "checkpoint is intact, --resume goes on from it";
    case cudaErrorDevicesUnavailable:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorSystemNotReady:
    case cudaErrorUnknown:
        return "; the GPU was lost; the last checkpoint is intact, --resume goes on from it when "
               "the GPU is back, or on another device";
    default:
        return "";
    }
}

cairn_status cuda_check(cudaError_t error, const char *what) {
    if (error == cudaSuccess)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_FAILED, "cuda: %.*s: %s (%s)%s", (int)strcspn(what, "("), what,
                           cudaGetErrorString(error), cudaGetErrorName(error), advice(error));
}

/* The libraries report a failed device as a failed execution; the runtime knows more. A library
 * that has a runtime of its own inside took the error from the device there, and ours learns of it
 * only by asking the device. A stream that is being captured cannot wait, which says nothing. */
static cairn_status library_error(const char *library, const char *what, const char *why) {
    cudaError_t error = cudaGetLastError();
    if (error == cudaSuccess) {
        error = cudaDeviceSynchronize();
        cudaGetLastError();
        if (*advice(error) == '\0')
            error = cudaSuccess;
    }
    if (error != cudaSuccess)
        return cuda_check(error, what);
    return cairn_error_set(CAIRN_FAILED, "cuda: %.*s: %s says: %s", (int)strcspn(what, "("), what,
                           library, why);
}

cairn_status cudnn_check(cudnnStatus_t error, const char *what) {
    return error == CUDNN_STATUS_SUCCESS ? CAIRN_OK
                                         : library_error("cuDNN", what, cudnnGetErrorString(error));
}

cairn_status cublas_check(cublasStatus_t error, const char *what) {
    return error == CUBLAS_STATUS_SUCCESS
               ? CAIRN_OK
               : library_error("cuBLAS", what, cublasLtGetStatusString(error));
}

/* Versions --------------------------------------------------------------------------------------*/

/* NVIDIA's numbers: CUDA's 13010 is 13.1; cuDNN's 91900 and cuBLAS's 130100 have a patch. */
typedef struct {
    int major, minor, patch;
} version;

static version cuda_version(int number) {
    return (version){number / 1000, number % 1000 / 10, 0};
}

static version library_version(size_t number) {
    return (version){(int)(number / 10000), (int)(number / 100 % 100), (int)(number % 100)};
}

/* A library serves programs that were built with it or an earlier one of the same major version. */
static cairn_status check_library(const char *name, version found, version built) {
    if (found.major == built.major && found.minor >= built.minor)
        return CAIRN_OK;
    return cairn_error_set(CAIRN_FAILED,
                           "cuda: %s %d.%d is installed, Cairn was built with %d.%d; install "
                           "%d.%d or newer of version %d, or build Cairn again",
                           name, found.major, found.minor, built.major, built.minor, built.major,
                           built.minor, built.major);
}

static cairn_status check_libraries(void) {
    const version cudnn = {CUDNN_MAJOR, CUDNN_MINOR, 0};
    const version cublas = {CUBLAS_VER_MAJOR, CUBLAS_VER_MINOR, 0};
    int runtime = 0;
    TRY_CUDA(cudaRuntimeGetVersion(&runtime));
    cairn_status status =
        check_library("the CUDA runtime", cuda_version(runtime), cuda_version(CUDART_VERSION));
    if (!status)
        status = check_library("cuDNN", library_version(cudnnGetVersion()), cudnn);
    if (!status)
        status = check_library("cuBLAS", library_version(cublasLtGetVersion()), cublas);
    return status;
}

/* A driver serves every toolkit of its major version, and all earlier ones. */
static cairn_status check_driver(void) {
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return cairn_error_set(CAIRN_FAILED, "cuda: no NVIDIA driver is installed; `nvidia-smi` "
                                             "shows one that is");
    if (driver / 1000 < CUDART_VERSION / 1000)
        return cairn_error_set(CAIRN_FAILED,
                               "cuda: the NVIDIA driver is for CUDA %d.%d, Cairn was built with "
                               "CUDA %d.%d; install a newer driver, or build with CUDA %d",
                               driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                               CUDART_VERSION % 1000 / 10, driver / 1000);
    return CAIRN_OK;
}

/* Devices ---------------------------------------------------------------------------------------*/

static cairn_status count_devices(int *count) {
    *count = 0;
    cudaError_t error = cudaGetDeviceCount(count);
    if (error == cudaSuccess && *count > 0)
        return CAIRN_OK;
    cudaGetLastError(); /* do not hand it to the next call */
    if (error != cudaSuccess && error != cudaErrorNoDevice)
        return cuda_check(error, "cudaGetDeviceCount");
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return cairn_error_set(CAIRN_FAILED, "cuda: no NVIDIA GPU is visible%s%s%s",
                           visible ? " (CUDA_VISIBLE_DEVICES is '" : "", visible ? visible : "",
                           visible ? "')" : "");
}

cairn_status device_probe(void) {
    int count;
    cairn_status status = check_driver();
    if (!status)
        status = check_libraries();
    return status ? status : count_devices(&count);
}

int device_count(void) {
    int count = 0;
    return device_probe() == CAIRN_OK && count_devices(&count) == CAIRN_OK ? count : 0;
}

bool device_identify(int ordinal, char *name, size_t size) {
    if (ordinal < device_count() && cudaDeviceGetPCIBusId(name, (int)size, ordinal) == cudaSuccess)
        return true;
    cudaGetLastError();
    return false;
}

cairn_status device_select(int ordinal) {
    int count;
    cairn_status status = count_devices(&count);
    if (status)
        return status;
    if (ordinal >= count)
        return cairn_error_set(CAIRN_FAILED, "device: cuda:%d is not here; the last is cuda:%d",
                               ordinal, count - 1);
    return cuda_check(cudaSetDevice(ordinal), "cudaSetDevice");
}

int device_capability(int ordinal) {
    int major = 0, minor = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal) ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal)) {
        cudaGetLastError();
        return 0;
    }
    return 10 * major + minor;
}

const char *device_describe(int ordinal, char *out, size_t size) {
    struct cudaDeviceProp device = {.name = "unknown GPU"};
    if (cudaGetDeviceProperties(&device, ordinal))
        cudaGetLastError();
    snprintf(out, size, "%s, compute capability %d.%d, %.1f GiB", device.name, device.major,
             device.minor, (double)device.totalGlobalMem / 0x1p30);
    return out;
}

const char *libraries_describe(char *out, size_t size) {
    int driver = 0, runtime = 0;
    version cudnn = library_version(cudnnGetVersion());
    version cublas = library_version(cublasLtGetVersion());
    if (cudaDriverGetVersion(&driver) || cudaRuntimeGetVersion(&runtime))
        cudaGetLastError();
    snprintf(out, size, "CUDA %d.%d, driver for CUDA %d.%d, cuDNN %d.%d.%d, cuBLAS %d.%d.%d",
             runtime / 1000, runtime % 1000 / 10, driver / 1000, driver % 1000 / 10, cudnn.major,
             cudnn.minor, cudnn.patch, cublas.major, cublas.minor, cublas.patch);
    return out;
}
