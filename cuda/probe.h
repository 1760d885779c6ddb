/* The machine's side of the cuda backend: which devices and library versions are there, and what
 * went wrong, in one line. */
#ifndef CAIRN_CUDA_PROBE_H
#define CAIRN_CUDA_PROBE_H

#include "cairn/status.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <stdbool.h>
#include <stddef.h>

/* Turn a library's status into ours. `what` names the call or the part; only what stands before a
 * bracket is shown. */
cairn_status cuda_check(cudaError_t error, const char *what);
cairn_status cudnn_check(cudnnStatus_t error, const char *what);
cairn_status cublas_check(cublasStatus_t error, const char *what);

/* For functions that have nothing to undo when a call fails. */
#define TRY(check, call)                                                                           \
    do {                                                                                           \
        cairn_status tried = check(call, #call);                                                   \
        if (tried)                                                                                 \
            return tried;                                                                          \
    } while (0)
#define TRY_CUDA(call) TRY(cuda_check, call)
#define TRY_CUDNN(call) TRY(cudnn_check, call)
#define TRY_CUBLAS(call) TRY(cublas_check, call)

/* CAIRN_OK where a device, its driver and the libraries can be used; else why not. */
cairn_status device_probe(void);

/* Devices that CUDA_VISIBLE_DEVICES leaves, as cuda:0, cuda:1, ...; 0 when the probe fails. */
int device_count(void);

/* The device's PCI address, by which every process on this machine knows it; false beyond the last
 * device. */
bool device_identify(int ordinal, char *name, size_t size);

/* Makes it the calling thread's device; the error names those that there are. */
cairn_status device_select(int ordinal);

/* 10 * major + minor of its compute capability, or 0. */
int device_capability(int ordinal);

/* "NVIDIA H100 80GB HBM3, compute capability 9.0, 79.1 GiB". Returns `out`. */
const char *device_describe(int ordinal, char *out, size_t size);

/* "CUDA 13.0, driver for CUDA 13.0, cuDNN 9.19.0, cuBLAS 13.1.0". Returns `out`. */
const char *libraries_describe(char *out, size_t size);

#endif
