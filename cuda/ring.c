/* The ring of slots by which the host tells the device what each step is. The host runs ahead of
 * the device by up to a ring; it waits only to reuse a slot, and asks for that once a group. */
#include "plan.h"

enum { GROUP_SLOTS = 16, RING_SLOTS = RING_GROUPS * GROUP_SLOTS, SLOT_ALIGNMENT = 128 };

cairn_status ring_create(cuda_executor *executor) {
    size_t bytes = sizeof(cuda_slot) + (size_t)executor->base.options.batch * sizeof(int32_t);
    size_t stride = (bytes + SLOT_ALIGNMENT - 1) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
    void *device = NULL;
    TRY_CUDA(
        cudaHostAlloc((void **)&executor->ring_host, RING_SLOTS * stride, cudaHostAllocMapped));
    TRY_CUDA(cudaHostGetDevicePointer(&device, executor->ring_host, 0));
    executor->ring = (cuda_ring){.slots = device, .stride = stride, .count = RING_SLOTS};
    for (int i = 0; i < RING_GROUPS; i++)
        TRY_CUDA(cudaEventCreateWithFlags(&executor->ring_done[i], cudaEventDisableTiming));
    return CAIRN_OK;
}

void ring_destroy(cuda_executor *executor) {
    for (int i = 0; i < RING_GROUPS; i++)
        if (executor->ring_done[i])
            cudaEventDestroy(executor->ring_done[i]);
    if (executor->ring_host)
        cudaFreeHost(executor->ring_host);
}

cairn_status ring_take(cuda_executor *executor, cuda_slot **slot) {
    uint64_t number = executor->ring_used % RING_SLOTS;
    if (executor->ring_used >= RING_SLOTS && number % GROUP_SLOTS == 0)
        TRY_CUDA(cudaEventSynchronize(executor->ring_done[number / GROUP_SLOTS]));
    *slot = (cuda_slot *)(executor->ring_host + number * executor->ring.stride);
    return CAIRN_OK;
}

cairn_status ring_commit(cuda_executor *executor) {
    uint64_t number = executor->ring_used++ % RING_SLOTS;
    if (number % GROUP_SLOTS == GROUP_SLOTS - 1)
        TRY_CUDA(cudaEventRecord(executor->ring_done[number / GROUP_SLOTS], executor->stream));
    return CAIRN_OK;
}
