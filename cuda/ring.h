/* The ring of slots by which the host tells the device what each step is: pinned host memory that
 * the device reads in place. */
#ifndef CAIRN_CUDA_RING_H
#define CAIRN_CUDA_RING_H

#include "kernels.h"

#include "cairn/status.h"

enum { RING_GROUPS = 4 };

typedef struct {
    unsigned char *host;           /* the slots */
    cuda_ring device;              /* the same as the device sees them */
    uint64_t used;                 /* slots handed out so far; the device's cursor follows */
    cudaEvent_t done[RING_GROUPS]; /* a group's last slot has been read */
} slot_ring;

/* With slots for `batch` samples; and of one of zeros, or that was made in part. */
cairn_status ring_create(slot_ring *ring, int batch);
void ring_destroy(slot_ring *ring);

/* A slot to fill, waiting until the device has read its last content; and the mark that work which
 * reads it is enqueued on the stream. */
cairn_status ring_take(slot_ring *ring, cuda_slot **slot);
cairn_status ring_commit(slot_ring *ring, cudaStream_t stream);

#endif
