/* What the device can do at best, measured: a large matrix product in the executor's precision, and
 * a copy from device memory to device memory. */
#include "roofline.h"

#include "cublas_matmul.h"
#include "cuda_executor.h"
#include "probe.h"
#include "cuda_timing.h"

enum { COPY_BYTES = 256 << 20 };

typedef struct {
    cuda_executor *executor;
    char *memory;
    size_t matrix_bytes;
    matmul product;
} bench;

static cairn_status multiply(const void *context) {
    const bench *b = context;
    char *a = b->memory;
    return matmul_run(b->executor, &b->product, a, a + b->matrix_bytes, a + 2 * b->matrix_bytes,
                      a + 3 * b->matrix_bytes);
}

static cairn_status copy(const void *context) {
    const bench *b = context;
    return cuda_check(cudaMemcpyAsync(b->memory + COPY_BYTES, b->memory, COPY_BYTES,
                                      cudaMemcpyDeviceToDevice, b->executor->stream),
                      "cudaMemcpyAsync");
}

static cairn_status measure(bench *b, int size, double *flops, double *bytes) {
    cuda_executor *executor = b->executor;
    matmul_shape shape = {CUBLAS_OP_T,
                          CUBLAS_OP_N,
                          size,
                          size,
                          size,
                          size,
                          size,
                          size,
                          executor->type,
                          executor->type,
                          CUBLASLT_EPILOGUE_DEFAULT,
                          NULL,
                          1};
    size_t workspace = 32 << 20, needed;
    double seconds;
    b->matrix_bytes = (size_t)size * (size_t)size * (executor->type == CUDA_BF16 ? 2 : 4);
    needed = 3 * b->matrix_bytes + workspace;
    if (needed < 2 * (size_t)COPY_BYTES)
        needed = 2 * (size_t)COPY_BYTES;
    TRY_CUDA(cudaMalloc((void **)&b->memory, needed));
    TRY_CUDA(cudaMemsetAsync(b->memory, 0, needed, executor->stream));
    cairn_status status = matmul_create(executor, &b->product, &shape, workspace);
    if (!status)
        status = cuda_best_time(executor, multiply, b, &seconds);
    if (!status) {
        *flops = 2.0 * size * size * size / seconds;
        status = cuda_best_time(executor, copy, b, &seconds);
    }
    if (!status)
        *bytes = 2.0 * COPY_BYTES / seconds; /* each byte is read and written */
    return status;
}

cairn_status roofline_measure(cuda_executor *executor, double *flops, double *bytes) {
    bench b = {.executor = executor};
    int processors = 0;
    TRY_CUDA(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount,
                                    executor->base.options.device));
    /* 64 rows and columns for each multiprocessor: enough to fill them all many times over. */
    cairn_status status = measure(&b, 64 * processors, flops, bytes);
    cudaStreamSynchronize(executor->stream);
    matmul_release(&b.product);
    if (b.memory)
        cudaFree(b.memory);
    return status;
}
