/* The CUDA emulator from a test's side: which machine it pretends to be, which calls fail, what is
 * still alive. Everything is process-wide; emulator_reset brings back the defaults. */
#ifndef CAIRN_EMULATOR_CONTROL_H
#define CAIRN_EMULATOR_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One "Emulated GPU" of capability 9.0 and 8 GiB, a driver as new as the runtime, no faults; counts
 * of calls begin at 0. Queued work is dropped; what is alive stays so. */
void emulator_reset(void);

void emulator_set_devices(int count); /* at most 4 */
void emulator_set_capability(int major, int minor);
void emulator_set_memory(size_t total);     /* bytes a device has; cudaMalloc fails beyond */
void emulator_set_driver(int version);      /* as cudaDriverGetVersion: 13000; 0: no driver */
void emulator_set_cudnn(size_t version);    /* as cudnnGetVersion */
void emulator_set_cublaslt(size_t version); /* as cublasLtGetVersion */

/* The nth call (1: the next) of the function of that name fails with `code` (a cudaError_t,
 * cublasStatus_t or cudnnStatus_t), once, without doing anything else: where it destroys something,
 * that stays alive. "cublasLtMatmulHeuristicResult_t" stands for the state of a row that
 * cublasLtMatmulAlgoGetHeuristic fills. */
void emulator_fail(const char *function, int nth, int code);

/* The nth piece of work that runs (1: the next) breaks the device, as an illegal access does: what
 * is queued is dropped, and the call that waits and every later one return `code`. */
void emulator_fail_work(int nth, int code);

/* The device breaks now. */
void emulator_lose_device(int code);

/* Work of that name, a library's function or a kernel as it stands in its LAUNCH, takes a second
 * longer by the clock of events. */
void emulator_slow(const char *what);

/* How often the function of that name was called. */
int emulator_calls(const char *function);

/* Pieces of work (kernels, copies, library calls) that ran; a graph counts for its nodes. */
size_t emulator_work_done(void);

/* Why the last launch or library call was refused; "" when none was. */
const char *emulator_why(void);

/* Whether the host may touch device memory while no work runs (default: no, it crashes). */
void emulator_open_memory(bool open);

/* What is alive. */
typedef struct {
    int allocations, pinned, streams, events, graphs, graph_executables;
    int cublaslt; /* handles, descriptors, layouts and preferences */
    int cudnn;    /* handles and descriptors */
    size_t bytes; /* of device memory */
} emulator_live;
emulator_live emulator_count_live(void);

#ifdef __cplusplus
}
#endif
#endif
