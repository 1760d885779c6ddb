/* What the device can do at best, measured: a large matrix product in the executor's precision, and
 * a copy from device memory to device memory. */
#include "plan.h"

enum { ROUNDS = 5, COPY_BYTES = 256 << 20 };

typedef struct {
    cuda_executor *executor;
    char *memory;
    size_t matrix_bytes;
    matmul product;
    cudaEvent_t begin, end;
} bench;

static cairn_status multiply(const bench *b) {
    char *a = b->memory;
    return matmul_run(b->executor, &b->product, a, a + b->matrix_bytes, a + 2 * b->matrix_bytes,
                      a + 3 * b->matrix_bytes);
}

static cairn_status copy(const bench *b) {
    return cuda_check(cudaMemcpyAsync(b->memory + COPY_BYTES, b->memory, COPY_BYTES,
                                      cudaMemcpyDeviceToDevice, b->executor->stream),
                      "cudaMemcpyAsync");
}

/* The shortest of some runs, in seconds. */
static cairn_status best_time(const bench *b, cairn_status (*run)(const bench *), double *seconds) {
    *seconds = 1e30;
    for (int round = 0; round <= ROUNDS; round++) {
        float milliseconds = 0;
        TRY_CUDA(cudaEventRecord(b->begin, b->executor->stream));
        cairn_status status = run(b);
        if (status)
            return status;
        TRY_CUDA(cudaEventRecord(b->end, b->executor->stream));
        TRY_CUDA(cudaEventSynchronize(b->end));
        TRY_CUDA(cudaEventElapsedTime(&milliseconds, b->begin, b->end));
        if (round > 0 && milliseconds > 0 && milliseconds * 1e-3 < *seconds) /* 0: warming up */
            *seconds = milliseconds * 1e-3;
    }
    return CAIRN_OK;
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
                          NULL};
    size_t workspace = 32 << 20, needed;
    double seconds;
    b->matrix_bytes = (size_t)size * (size_t)size * (executor->type == CUDA_BF16 ? 2 : 4);
    needed = 3 * b->matrix_bytes + workspace;
    if (needed < 2 * (size_t)COPY_BYTES)
        needed = 2 * (size_t)COPY_BYTES;
    TRY_CUDA(cudaEventCreate(&b->begin));
    TRY_CUDA(cudaEventCreate(&b->end));
    TRY_CUDA(cudaMalloc((void **)&b->memory, needed));
    TRY_CUDA(cudaMemsetAsync(b->memory, 0, needed, executor->stream));
    cairn_status status = matmul_create(executor, &b->product, &shape, workspace);
    if (!status)
        status = best_time(b, multiply, &seconds);
    if (!status) {
        *flops = 2.0 * size * size * size / seconds;
        status = best_time(b, copy, &seconds);
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
    if (b.end)
        cudaEventDestroy(b.end);
    if (b.begin)
        cudaEventDestroy(b.begin);
    return status;
}
