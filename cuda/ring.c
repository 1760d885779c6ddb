/* The ring of slots by which the host tells the device what each step is. The host runs ahead of
 * the device by up to a ring; it waits only to reuse a slot, and asks for that once a group. */
#include "ring.h"

#include "probe.h"

enum { GROUP_SLOTS = 16, RING_SLOTS = RING_GROUPS * GROUP_SLOTS, SLOT_ALIGNMENT = 128 };

cairn_status ring_create(slot_ring *ring, int batch) {
    size_t bytes = sizeof(cuda_slot) + (size_t)batch * sizeof(int32_t);
    size_t stride = (bytes + SLOT_ALIGNMENT - 1) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
    void *device = NULL;
    TRY_CUDA(cudaHostAlloc((void **)&ring->host, RING_SLOTS * stride, cudaHostAllocMapped));
    TRY_CUDA(cudaHostGetDevicePointer(&device, ring->host, 0));
    ring->device = (cuda_ring){.slots = device, .stride = stride, .count = RING_SLOTS};
    for (int i = 0; i < RING_GROUPS; i++)
        TRY_CUDA(cudaEventCreateWithFlags(&ring->done[i], cudaEventDisableTiming));
    return CAIRN_OK;
}

void ring_destroy(slot_ring *ring) {
    for (int i = 0; i < RING_GROUPS; i++)
        if (ring->done[i])
            cudaEventDestroy(ring->done[i]);
    if (ring->host)
        cudaFreeHost(ring->host);
}

cairn_status ring_take(slot_ring *ring, cuda_slot **slot) {
    uint64_t number = ring->used % RING_SLOTS;
    if (ring->used >= RING_SLOTS && number % GROUP_SLOTS == 0)
        TRY_CUDA(cudaEventSynchronize(ring->done[number / GROUP_SLOTS]));
    *slot = (cuda_slot *)(ring->host + number * ring->device.stride);
    return CAIRN_OK;
}

cairn_status ring_commit(slot_ring *ring, cudaStream_t stream) {
    uint64_t number = ring->used++ % RING_SLOTS;
    if (number % GROUP_SLOTS == GROUP_SLOTS - 1)
        TRY_CUDA(cudaEventRecord(ring->done[number / GROUP_SLOTS], stream));
    return CAIRN_OK;
}
