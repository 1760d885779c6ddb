/* The emulated CUDA runtime's streams, events, graphs and devices: what is promised is done, what
 * is not promised stays undone, and what the manual forbids is refused. */
#include "control.h"
#include "dies.h"

#include <cuda_runtime_api.h>

#define OK(call) assert_int_equal(call, cudaSuccess)
#define FAILS(call, code)                                                                          \
    do {                                                                                           \
        assert_int_equal(call, code);                                                              \
        assert_int_equal(cudaGetLastError(), code);                                                \
    } while (0)

enum { COUNT = 1000 };

static emulator_live before;

static int set_up(void **state) {
    (void)state;
    emulator_reset();
    before = emulator_count_live();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    emulator_live after = emulator_count_live();
    emulator_reset();
    return memcmp(&before, &after, sizeof before);
}

static cudaStream_t make_stream(unsigned flags) {
    cudaStream_t stream;
    OK(cudaStreamCreateWithFlags(&stream, flags));
    return stream;
}

static void *make_memory(size_t bytes) {
    void *data;
    OK(cudaMalloc(&data, bytes));
    assert_int_equal((uintptr_t)data % 256, 0);
    return data;
}

static int *make_pinned(void) {
    void *data;
    OK(cudaHostAlloc(&data, COUNT * sizeof(int), cudaHostAllocDefault));
    return data;
}

/* Streams ---------------------------------------------------------------------------------------*/

static void test_work_waits_for_a_wait(void **state) {
    (void)state;
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    int *pinned = make_pinned(), *data = make_memory(COUNT * sizeof *data);
    pinned[0] = 1;
    OK(cudaMemcpyAsync(data, pinned, sizeof *data, cudaMemcpyHostToDevice, stream));
    pinned[0] = 2; /* too early: the copy reads it later */
    OK(cudaMemcpyAsync(pinned + 1, data, sizeof *data, cudaMemcpyDeviceToHost, stream));
    pinned[1] = 77;
    assert_int_equal(emulator_work_done(), 0);
    assert_int_equal(pinned[1], 77);
    OK(cudaStreamSynchronize(stream));
    assert_int_equal(pinned[1], 2);
    assert_int_equal(emulator_work_done(), 2);
    OK(cudaFree(data));
    OK(cudaFreeHost(pinned));
    OK(cudaStreamDestroy(stream));
}

/* Pageable memory is staged: it may be used again at once. */
static void test_pageable_memory(void **state) {
    (void)state;
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    int host = 5, *data = make_memory(sizeof host);
    OK(cudaMemcpyAsync(data, &host, sizeof host, cudaMemcpyHostToDevice, stream));
    host = 6;
    OK(cudaMemcpyAsync(&host, data, sizeof host, cudaMemcpyDeviceToHost, stream));
    assert_int_equal(host, 5);
    OK(cudaFree(data));
    OK(cudaStreamDestroy(stream));
}

static void test_query_goes_step_by_step(void **state) {
    (void)state;
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    int *data = make_memory(8);
    OK(cudaMemsetAsync(data, 1, 4, stream));
    OK(cudaMemsetAsync(data, 2, 4, stream));
    FAILS(cudaStreamQuery(stream), cudaErrorNotReady);
    assert_int_equal(emulator_work_done(), 1);
    OK(cudaStreamQuery(stream));
    OK(cudaFree(data));
    OK(cudaStreamDestroy(stream));
}

static int first_of(const int *data) {
    int value;
    OK(cudaMemcpy(&value, data, sizeof value, cudaMemcpyDeviceToHost));
    return value;
}

/* A non-blocking stream is not ordered with the legacy one; another is; events order any two. */
static void test_order_between_streams(void **state) {
    (void)state;
    cudaStream_t apart = make_stream(cudaStreamNonBlocking);
    cudaStream_t blocking = make_stream(cudaStreamDefault);
    cudaEvent_t event;
    OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    int *data = make_memory(sizeof *data);
    OK(cudaMemset(data, 0, sizeof *data));
    OK(cudaMemsetAsync(data, 1, sizeof *data, apart));
    assert_int_equal(first_of(data), 0);
    OK(cudaMemsetAsync(data, 2, sizeof *data, blocking));
    assert_int_equal(first_of(data), 0x02020202);
    OK(cudaEventRecord(event, apart));
    assert_int_equal(cudaEventQuery(event), cudaErrorNotReady);
    OK(cudaStreamWaitEvent(blocking, event, 0));
    OK(cudaStreamSynchronize(blocking));
    assert_int_equal(cudaEventQuery(event), cudaSuccess);
    assert_int_equal(first_of(data), 0x01010101);
    cudaGetLastError();
    OK(cudaMemset(data, 3, sizeof *data));
    OK(cudaEventRecord(event, NULL));
    OK(cudaStreamWaitEvent(apart, event, 0));
    size_t done = emulator_work_done();
    OK(cudaStreamSynchronize(apart));
    assert_int_equal(emulator_work_done(), done + 1);
    int value = 0;
    OK(cudaMemset(data, 4, sizeof *data)); /* waits in the legacy stream */
    OK(cudaMemcpyAsync(&value, data, sizeof value, cudaMemcpyDeviceToHost, apart));
    assert_int_equal(value, 0x03030303);
    OK(cudaMemcpyAsync(&value, data, sizeof value, cudaMemcpyDeviceToHost, blocking));
    assert_int_equal(value, 0x04040404);
    OK(cudaEventDestroy(event));
    OK(cudaStreamDestroy(apart));
    OK(cudaStreamDestroy(blocking));
    OK(cudaFree(data));
}

static void test_events_measure(void **state) {
    (void)state;
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    cudaEvent_t start, end, untimed;
    float milliseconds = -1;
    OK(cudaEventCreate(&start));
    OK(cudaEventCreate(&end));
    OK(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming));
    FAILS(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorInvalidResourceHandle);
    OK(cudaEventRecord(start, stream));
    OK(cudaEventRecord(end, stream));
    OK(cudaEventRecord(untimed, stream));
    FAILS(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorNotReady);
    OK(cudaEventSynchronize(end));
    OK(cudaEventElapsedTime(&milliseconds, start, end));
    assert_true(milliseconds >= 0);
    FAILS(cudaEventElapsedTime(&milliseconds, start, untimed), cudaErrorInvalidResourceHandle);
    OK(cudaEventDestroy(start));
    OK(cudaEventDestroy(end));
    OK(cudaEventDestroy(untimed));
    OK(cudaStreamDestroy(stream));
}

static void test_dead_handles(void **state) {
    (void)state;
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    cudaEvent_t event;
    OK(cudaEventCreate(&event));
    OK(cudaEventDestroy(event));
    FAILS(cudaEventRecord(event, stream), cudaErrorInvalidResourceHandle);
    FAILS(cudaEventDestroy(event), cudaErrorInvalidResourceHandle);
    OK(cudaStreamDestroy(stream));
    FAILS(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
    FAILS(cudaStreamDestroy(stream), cudaErrorInvalidResourceHandle);
}

/* Graphs ----------------------------------------------------------------------------------------*/

static void test_graph(void **state) {
    (void)state;
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    enum cudaStreamCaptureStatus status;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    cudaGraphNode_t nodes[8];
    size_t count = 0;
    int *pinned = make_pinned(), *data = make_memory(sizeof *data);
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(cudaStreamIsCapturing(stream, &status));
    assert_int_equal(status, cudaStreamCaptureStatusActive);
    OK(cudaMemcpyAsync(data, pinned, sizeof *data, cudaMemcpyHostToDevice, stream));
    OK(cudaMemcpyAsync(pinned + 1, data, sizeof *data, cudaMemcpyDeviceToHost, stream));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaStreamSynchronize(stream));
    assert_int_equal(emulator_work_done(), 0);
    OK(cudaGraphGetNodes(graph, NULL, &count));
    assert_int_equal(count, 2);
    count = 8;
    OK(cudaGraphGetNodes(graph, nodes, &count));
    assert_int_equal(count, 2);
    OK(cudaGraphInstantiate(&executable, graph, 0));
    OK(cudaGraphDestroy(graph));
    for (int i = 1; i < 4; i++) {
        pinned[0] = i;
        OK(cudaGraphLaunch(executable, stream));
        assert_int_not_equal(pinned[1], i);
        OK(cudaStreamSynchronize(stream));
        assert_int_equal(pinned[1], i);
    }
    assert_int_equal(emulator_work_done(), 6);
    OK(cudaGraphExecDestroy(executable));
    FAILS(cudaGraphLaunch(executable, stream), cudaErrorInvalidValue);
    OK(cudaFree(data));
    OK(cudaFreeHost(pinned));
    OK(cudaStreamDestroy(stream));
}

/* Captures two writes to one place in two streams, the second ordered after the first or not, and
 * returns what two launches leave. */
static void launch_fork(int ordered, int left[2]) {
    cudaStream_t main = make_stream(cudaStreamNonBlocking);
    cudaStream_t side = make_stream(cudaStreamNonBlocking);
    cudaEvent_t fork_event, join;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    int *pinned = make_pinned(), *data = make_memory(sizeof *data);
    OK(cudaEventCreateWithFlags(&fork_event, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    OK(cudaStreamBeginCapture(main, cudaStreamCaptureModeGlobal));
    if (!ordered)
        OK(cudaEventRecord(fork_event, main));
    OK(cudaMemsetAsync(data, 1, sizeof *data, main));
    if (ordered)
        OK(cudaEventRecord(fork_event, main));
    OK(cudaStreamWaitEvent(side, fork_event, 0));
    OK(cudaMemsetAsync(data, 2, sizeof *data, side));
    OK(cudaEventRecord(join, side));
    OK(cudaStreamWaitEvent(main, join, 0));
    OK(cudaMemcpyAsync(pinned, data, sizeof *data, cudaMemcpyDeviceToHost, main));
    OK(cudaStreamEndCapture(main, &graph));
    OK(cudaGraphInstantiate(&executable, graph, 0));
    for (int i = 0; i < 2; i++) {
        OK(cudaGraphLaunch(executable, main));
        OK(cudaStreamSynchronize(main));
        left[i] = pinned[0] & 0xff;
    }
    OK(cudaGraphExecDestroy(executable));
    OK(cudaGraphDestroy(graph));
    OK(cudaEventDestroy(fork_event));
    OK(cudaEventDestroy(join));
    OK(cudaStreamDestroy(side));
    OK(cudaStreamDestroy(main));
    OK(cudaFree(data));
    OK(cudaFreeHost(pinned));
}

static void test_unordered_nodes_change_places(void **state) {
    (void)state;
    int left[2];
    launch_fork(1, left);
    assert_int_equal(left[0], 2);
    assert_int_equal(left[1], 2);
    launch_fork(0, left);
    assert_int_not_equal(left[0], left[1]);
}

static void test_unjoined_work(void **state) {
    (void)state;
    cudaStream_t main = make_stream(cudaStreamNonBlocking);
    cudaStream_t side = make_stream(cudaStreamNonBlocking);
    cudaEvent_t event;
    cudaGraph_t graph;
    int *data = make_memory(sizeof *data);
    OK(cudaEventCreate(&event));
    OK(cudaStreamBeginCapture(main, cudaStreamCaptureModeGlobal));
    OK(cudaEventRecord(event, main));
    OK(cudaStreamWaitEvent(side, event, 0));
    OK(cudaMemsetAsync(data, 0, sizeof *data, side));
    FAILS(cudaEventQuery(event), cudaErrorCapturedEvent);
    FAILS(cudaStreamEndCapture(main, &graph), cudaErrorStreamCaptureUnjoined);
    assert_null(graph);
    OK(cudaEventDestroy(event));
    OK(cudaStreamDestroy(side));
    OK(cudaStreamDestroy(main));
    OK(cudaFree(data));
}

typedef struct {
    cudaStream_t stream;
    int *data;
} setting;

static cudaError_t synchronise(const setting *in) {
    return cudaStreamSynchronize(in->stream);
}

static cudaError_t query(const setting *in) {
    return cudaStreamQuery(in->stream);
}

static cudaError_t synchronise_device(const setting *in) {
    (void)in;
    return cudaDeviceSynchronize();
}

static cudaError_t allocate(const setting *in) {
    (void)in;
    void *data;
    return cudaMalloc(&data, 4);
}

static cudaError_t copy_blocking(const setting *in) {
    int host = 0;
    return cudaMemcpy(in->data, &host, sizeof host, cudaMemcpyHostToDevice);
}

static cudaError_t copy_pageable(const setting *in) {
    static int host;
    return cudaMemcpyAsync(in->data, &host, sizeof host, cudaMemcpyHostToDevice, in->stream);
}

static cudaError_t use_legacy(const setting *in) {
    return cudaMemsetAsync(in->data, 0, sizeof *in->data, NULL);
}

static void test_forbidden_in_capture(void **state) {
    (void)state;
    const struct {
        cudaError_t (*call)(const setting *);
        unsigned flags;
        cudaError_t error;
    } forbidden[] = {
        {synchronise, cudaStreamNonBlocking, cudaErrorStreamCaptureUnsupported},
        {query, cudaStreamNonBlocking, cudaErrorStreamCaptureUnsupported},
        {synchronise_device, cudaStreamNonBlocking, cudaErrorStreamCaptureUnsupported},
        {allocate, cudaStreamNonBlocking, cudaErrorStreamCaptureUnsupported},
        {copy_blocking, cudaStreamNonBlocking, cudaErrorStreamCaptureUnsupported},
        {copy_pageable, cudaStreamNonBlocking, cudaErrorStreamCaptureUnsupported},
        {use_legacy, cudaStreamDefault, cudaErrorStreamCaptureImplicit},
    };
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        setting in = {make_stream(forbidden[i].flags), make_memory(sizeof(int))};
        cudaGraph_t graph = NULL;
        OK(cudaStreamBeginCapture(in.stream, cudaStreamCaptureModeGlobal));
        FAILS(forbidden[i].call(&in), forbidden[i].error);
        FAILS(cudaMemsetAsync(in.data, 0, sizeof(int), in.stream),
              cudaErrorStreamCaptureInvalidated);
        FAILS(cudaStreamEndCapture(in.stream, &graph), cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
        OK(cudaStreamDestroy(in.stream));
        OK(cudaFree(in.data));
    }
}

/* A relaxed capture allows what may wait, as long as it does not wait for the captured stream. */
static void test_relaxed_capture(void **state) {
    (void)state;
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    cudaGraph_t graph;
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    void *data = make_memory(4);
    OK(cudaMemsetAsync(data, 0, 4, stream));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphDestroy(graph));
    OK(cudaFree(data));
    FAILS(cudaStreamEndCapture(stream, &graph), cudaErrorIllegalState);
    FAILS(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeRelaxed),
          cudaErrorStreamCaptureUnsupported);
    OK(cudaStreamDestroy(stream));
}

/* The machine and its faults --------------------------------------------------------------------*/

static void test_machines(void **state) {
    (void)state;
    int count = -1, version;
    struct cudaDeviceProp properties;
    OK(cudaGetDeviceCount(&count));
    assert_int_equal(count, 1);
    OK(cudaGetDeviceProperties(&properties, 0));
    assert_string_equal(properties.name, "Emulated GPU");
    assert_int_equal(properties.major * 10 + properties.minor, 90);
    FAILS(cudaSetDevice(1), cudaErrorInvalidDevice);
    FAILS(cudaGetDeviceProperties(&properties, -1), cudaErrorInvalidDevice);
    emulator_set_devices(0);
    FAILS(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    assert_int_equal(count, 0);
    emulator_set_devices(1);
    emulator_set_driver(0);
    FAILS(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    OK(cudaDriverGetVersion(&version));
    assert_int_equal(version, 0);
    emulator_set_driver((CUDART_VERSION / 1000 - 1) * 1000 + 80);
    void *data;
    FAILS(cudaMalloc(&data, 4), cudaErrorInsufficientDriver);
    emulator_set_driver(CUDART_VERSION / 1000 * 1000);
    OK(cudaGetDeviceCount(&count));
}

static void test_devices_are_apart(void **state) {
    (void)state;
    emulator_set_devices(2);
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    cudaEvent_t event;
    size_t free_bytes, total;
    void *data = make_memory(1 << 20);
    OK(cudaSetDevice(1));
    OK(cudaMemGetInfo(&free_bytes, &total));
    assert_int_equal(free_bytes, total);
    OK(cudaEventCreate(&event));
    FAILS(cudaEventRecord(event, stream), cudaErrorInvalidResourceHandle);
    OK(cudaEventDestroy(event));
    OK(cudaSetDevice(0));
    OK(cudaStreamDestroy(stream));
    OK(cudaFree(data));
}

static void test_injected_failure(void **state) {
    (void)state;
    void *first, *second;
    emulator_fail("cudaMalloc", 2, cudaErrorMemoryAllocation);
    OK(cudaMalloc(&first, 4));
    FAILS(cudaMalloc(&second, 4), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&second, 4));
    assert_int_equal(emulator_calls("cudaMalloc"), 3);
    OK(cudaFree(first));
    OK(cudaFree(second));
}

/* As after an illegal access: found by the call that waits, then by all; what is given back is. */
static void test_sticky_failure(void **state) {
    (void)state;
    cudaStream_t stream = make_stream(cudaStreamNonBlocking);
    int *data = make_memory(sizeof *data);
    void *more;
    emulator_fail_work(2, cudaErrorIllegalAddress);
    for (int i = 0; i < 3; i++)
        OK(cudaMemsetAsync(data, i, sizeof *data, stream));
    FAILS(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
    assert_int_equal(emulator_work_done(), 1);
    FAILS(cudaMalloc(&more, 4), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress); /* stays */
    assert_int_equal(cudaFree(data), cudaErrorIllegalAddress);
    assert_int_equal(cudaStreamDestroy(stream), cudaErrorIllegalAddress);
}

static void reset_too_early(void *data) {
    (void)data;
    cudaDeviceReset();
}

static void test_device_reset(void **state) {
    (void)state;
    void *data = make_memory(4);
    assert_dies(reset_too_early, NULL, "still alive");
    OK(cudaFree(data));
    emulator_lose_device(cudaErrorUnknown);
    FAILS(cudaDeviceSynchronize(), cudaErrorUnknown);
    OK(cudaDeviceReset());
    OK(cudaDeviceSynchronize());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_work_waits_for_a_wait),
        TEST(test_pageable_memory),
        TEST(test_query_goes_step_by_step),
        TEST(test_order_between_streams),
        TEST(test_events_measure),
        TEST(test_dead_handles),
        TEST(test_graph),
        TEST(test_unordered_nodes_change_places),
        TEST(test_unjoined_work),
        TEST(test_forbidden_in_capture),
        TEST(test_relaxed_capture),
        TEST(test_machines),
        TEST(test_devices_are_apart),
        TEST(test_injected_failure),
        TEST(test_sticky_failure),
        TEST(test_device_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
