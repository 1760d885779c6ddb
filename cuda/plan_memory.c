/* The device memory that plans live in, and what to say when it runs out. */
#include "plan_memory.h"

#include "compile.h"
#include "cuda_executor.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>

/* The largest batch whose plan fits into so many bytes, to about 1%; 0 when not even one sample
 * does. */
static cairn_status find_fitting(cuda_executor *executor, int count, size_t available, int *fits) {
    int low = 0, high = count;
    while (high - low > 1 + low / 128) {
        size_t bytes = 0;
        int middle = low + (high - low) / 2;
        cairn_status status = cuda_plan_measure(executor, middle, CAIRN_PLAN_TRAINS, &bytes);
        if (status)
            return status;
        if (bytes <= available)
            low = middle;
        else
            high = middle;
    }
    *fits = low;
    return CAIRN_OK;
}

/* Memory ran out: says how much was asked, what is free, and which batch would fit. */
static cairn_status too_large(cuda_executor *executor, const cuda_plan *plan, size_t bytes) {
    size_t available = 0, total = 0;
    char advice[64] = "free some, or use another device";
    int fits = 0;
    cudaGetLastError(); /* not a failure of the device */
    TRY_CUDA(cudaMemGetInfo(&available, &total));
    if (plan->graph.training) { /* the driver hands out whole blocks of 2 MiB, and keeps some */
        cairn_status status =
            find_fitting(executor, plan->count, available - available / 32, &fits);
        if (status)
            return status;
    }
    if (fits > 0)
        snprintf(advice, sizeof advice, "%d would fit", fits);
    return cairn_error_set(CAIRN_FAILED,
                           "%s: out of GPU memory: a batch of %d asks for %.2f GiB, %.2f GiB of "
                           "%.2f are free; %s",
                           plan->graph.training ? "train.batch_size" : "cuda", plan->count,
                           (double)bytes / 0x1p30, (double)available / 0x1p30,
                           (double)total / 0x1p30, advice);
}

cairn_status cuda_plan_find_memory(cuda_executor *executor, const cuda_plan *plan) {
    size_t bytes = cuda_plan_total(plan), workspace = plan->workspace_bytes;
    const cuda_block *newest = executor->blocks;
    if (newest && newest->bytes >= bytes && newest->workspace_bytes >= workspace)
        return CAIRN_OK;
    cuda_block *block = calloc(1, sizeof *block);
    if (!block)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a plan");
    cudaError_t error = cudaMalloc((void **)&block->data, bytes + workspace);
    if (error) {
        free(block);
        return error == cudaErrorMemoryAllocation ? too_large(executor, plan, bytes + workspace)
                                                  : cuda_check(error, "cudaMalloc");
    }
    block->bytes = bytes;
    block->workspace = block->data + bytes;
    block->workspace_bytes = workspace;
    block->next = executor->blocks;
    executor->blocks = block;
    return CAIRN_OK;
}
