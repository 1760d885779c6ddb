/* The emulated CUDA runtime's memory: copies and fills, its end, and that nothing touches what it
 * must not: the host while no work runs, work what it was not given. */
#include "control.h"
#include "emulator.h"

extern "C" {
#include "dies.h"
}

#include <cuda_runtime_api.h>

#define OK(call) assert_int_equal(call, cudaSuccess)
#define FAILS(call, code)                                                                          \
    do {                                                                                           \
        assert_int_equal(call, code);                                                              \
        assert_int_equal(cudaGetLastError(), code);                                                \
    } while (0)

#if defined(__SANITIZE_ADDRESS__)
static const bool in_asan = true;
#elif defined(__has_feature)
static const bool in_asan = __has_feature(address_sanitizer);
#else
static const bool in_asan = false;
#endif

enum { COUNT = 1000 };

static int *make_ints(size_t count) {
    void *data;
    OK(cudaMalloc(&data, count * sizeof(int)));
    assert_int_equal(reinterpret_cast<uintptr_t>(data) % 256, 0);
    return static_cast<int *>(data);
}

static int set_up(void **) {
    emulator_reset();
    return 0;
}

static int tear_down(void **) {
    emulator_live alive = emulator_count_live();
    return alive.allocations || alive.pinned || alive.bytes;
}

static void test_copies(void **) {
    int there[COUNT], back[COUNT];
    for (int i = 0; i < COUNT; i++)
        there[i] = i * 7;
    int *a = make_ints(COUNT), *b = make_ints(COUNT);
    OK(cudaMemcpy(a, there, sizeof there, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(b, a, sizeof there, cudaMemcpyDeviceToDevice));
    OK(cudaMemset(b + 10, 0, 5 * sizeof *b));
    OK(cudaMemcpy(back, b, sizeof there, cudaMemcpyDefault));
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(back[i], i >= 10 && i < 15 ? 0 : there[i]);

    int columns[4][2];
    OK(cudaMemcpy2DAsync(columns, sizeof columns[0], a, 10 * sizeof *a, sizeof columns[0], 4,
                         cudaMemcpyDeviceToHost, NULL));
    assert_int_equal(columns[3][1], there[31]);
    OK(cudaFree(a));
    OK(cudaFree(b));
}

static void test_fresh_memory_is_nan(void **) {
    float value = 0;
    int *data = make_ints(1);
    OK(cudaMemcpy(&value, data, sizeof value, cudaMemcpyDeviceToHost));
    assert_true(value != value);
    OK(cudaFree(data));
}

static void test_wrong_copies(void **) {
    int host[8] = {0};
    int *data = make_ints(8);
    FAILS(cudaMemcpy(data + 1, host, sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    FAILS(cudaMemcpy(host, host, sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    FAILS(cudaMemcpy(host, data, sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    FAILS(cudaMemset(data + 1, 0, sizeof host), cudaErrorInvalidValue);
    FAILS(cudaMemcpy2DAsync(data, 4, host, 8, 8, 2, cudaMemcpyHostToDevice, NULL),
          cudaErrorInvalidPitchValue);
    FAILS(cudaFree(data + 1), cudaErrorInvalidValue);
    OK(cudaFree(data));
    FAILS(cudaFree(data), cudaErrorInvalidValue);
    FAILS(cudaMemcpy(data, host, sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    OK(cudaFree(NULL));
}

static void test_memory_ends(void **) {
    void *first, *second;
    size_t free_bytes, total;
    emulator_set_memory(1 << 20);
    OK(cudaMalloc(&first, 600 << 10));
    OK(cudaMemGetInfo(&free_bytes, &total));
    assert_int_equal(total, 1 << 20);
    assert_int_equal(free_bytes, (1024 - 600) << 10);
    FAILS(cudaMalloc(&second, 600 << 10), cudaErrorMemoryAllocation);
    assert_null(second);
    OK(cudaFree(first));
    OK(cudaMalloc(&second, 600 << 10));
    OK(cudaFree(second));
}

static void read_device(void *data) {
    volatile int *there = static_cast<int *>(data);
    _exit(*there == 12345 ? 1 : 0); /* either way it went on */
}

static void test_the_host_cannot_touch_device_memory(void **) {
    int *data = make_ints(1);
    assert_dies(read_device, data, NULL);
    OK(cudaFree(data));
}

static void copy_freed(void *data) {
    void *pinned;
    cudaStream_t stream;
    OK(cudaHostAlloc(&pinned, sizeof(int), cudaHostAllocDefault));
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaMemcpyAsync(pinned, data, sizeof(int), cudaMemcpyDeviceToHost, stream));
    OK(cudaFree(data));
    cudaStreamSynchronize(stream);
}

static void test_freed_before_used(void **) {
    int *data = make_ints(1);
    assert_dies(copy_freed, data, "freed before the copy ran");
    OK(cudaFree(data));
}

/* Work, unlike the host, can touch it, but nothing around it. */
static void write_at(int *place) {
    OK(emulator::enqueue(nullptr, "a test's work", [place] { *place = 1; }));
    OK(cudaStreamSynchronize(nullptr));
}

static void write_there(void *place) {
    write_at(static_cast<int *>(place));
}

static void test_guards(void **) {
    int *data = make_ints(3), value;
    write_at(data + 2);
    OK(cudaMemcpy(&value, data + 2, sizeof value, cudaMemcpyDeviceToHost));
    assert_int_equal(value, 1);
    assert_dies(write_there, data + 3, in_asan ? "AddressSanitizer" : "past the end");
    assert_dies(write_there, data - 1, in_asan ? "AddressSanitizer" : "before the start");
    OK(cudaFree(data));
    assert_dies(write_there, data, nullptr);
}

static void test_reachable(void **) {
    int *data = make_ints(3), host = 0;
    void *pinned;
    OK(cudaHostAlloc(&pinned, 8, cudaHostAllocDefault));
    assert_true(emulator::reachable(data, 12) && emulator::reachable(data + 2, 4));
    assert_false(emulator::reachable(data, 13) || emulator::reachable(data - 1, 4));
    assert_true(emulator::reachable(pinned, 8));
    assert_false(emulator::reachable(pinned, 9) || emulator::reachable(&host, 1));
    OK(cudaFreeHost(pinned));
    OK(cudaFree(data));
    assert_false(emulator::reachable(data, 1) || emulator::reachable(pinned, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_copies),
        TEST(test_fresh_memory_is_nan),
        TEST(test_wrong_copies),
        TEST(test_memory_ends),
        TEST(test_the_host_cannot_touch_device_memory),
        TEST(test_freed_before_used),
        TEST(test_guards),
        TEST(test_reachable),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
