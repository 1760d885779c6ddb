/* What the device can do at best, measured: a large matrix product in the executor's precision, and
 * a copy from device memory to device memory. */
#include "plan.h"

enum { ROUNDS = 5, REPEATS_MAX = 20, COPY_BYTES = 256 << 20 };

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

/* Seconds that each of `repeats` runs in a row takes. */
static cairn_status time_runs(cuda_executor *executor, const cudaEvent_t ends[2],
                              cairn_status (*run)(const void *), const void *context, int repeats,
                              double *seconds) {
    float milliseconds = 0;
    cairn_status status = CAIRN_OK;
    TRY_CUDA(cudaEventRecord(ends[0], executor->stream));
    for (int i = 0; i < repeats && !status; i++)
        status = run(context);
    if (status)
        return status;
    TRY_CUDA(cudaEventRecord(ends[1], executor->stream));
    TRY_CUDA(cudaEventSynchronize(ends[1]));
    TRY_CUDA(cudaEventElapsedTime(&milliseconds, ends[0], ends[1]));
    *seconds = milliseconds * 1e-3 / repeats;
    return CAIRN_OK;
}

/* On an idle stream a few kernels of some microseconds wait for the host to launch each of them. So
 * short runs are timed many in a row, through which the launches stay ahead of the device. */
static cairn_status shortest(cuda_executor *executor, const cudaEvent_t ends[2],
                             cairn_status (*run)(const void *), const void *context,
                             double *seconds) {
    const double stretch = 5e-3;
    double one = 0;
    cairn_status status = CAIRN_OK;
    for (int i = 0; i < 2 && !status; i++) /* the first warms up */
        status = time_runs(executor, ends, run, context, 1, &one);
    const int repeats =
        one > 0 && stretch / one < REPEATS_MAX ? (int)(stretch / one) + 1 : REPEATS_MAX;
    *seconds = 1e30;
    for (int round = 0; round < ROUNDS && !status; round++) {
        status = time_runs(executor, ends, run, context, repeats, &one);
        if (!status && one > 0 && one < *seconds)
            *seconds = one;
    }
    return status;
}

cairn_status cuda_best_time(cuda_executor *executor, cairn_status (*run)(const void *),
                            const void *context, double *seconds) {
    cudaEvent_t ends[2] = {NULL, NULL};
    cairn_status status = cuda_check(cudaEventCreate(&ends[0]), "cudaEventCreate");
    if (!status)
        status = cuda_check(cudaEventCreate(&ends[1]), "cudaEventCreate");
    if (!status)
        status = shortest(executor, ends, run, context, seconds);
    for (int i = 0; i < 2; i++)
        if (ends[i])
            cudaEventDestroy(ends[i]);
    return status;
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
