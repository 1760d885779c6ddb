/* The emulated device itself: what CUDA allows gives CUDA's result, in whatever order the threads
 * run; what the manual forbids stops the test, and says where. */
#include "launch.h"

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
extern "C" {
#include <cmocka.h>
}

#include <cstdio>
#include <cstring>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

/* Launches of one argument, an array of unsigned on the device. */
typedef void (*array_kernel)(unsigned *);

static std::vector<unsigned> run(array_kernel kernel, launch_shape shape, size_t count) {
    unsigned *there;
    std::vector<unsigned> values(count);
    assert_int_equal(cudaMalloc((void **)&there, count * sizeof *there), cudaSuccess);
    cudaMemset(there, 0, count * sizeof *there);
    LAUNCH(kernel, shape, nullptr, there);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    cudaMemcpyAsync(values.data(), there, count * sizeof *there, cudaMemcpyDeviceToHost, nullptr);
    assert_int_equal(cudaStreamSynchronize(nullptr), cudaSuccess);
    cudaFree(there);
    return values;
}

/* The message that a launch stops with; "" when it does not. In a child, since it ends there. The
 * argument is device memory unless given. */
static std::string misuse_of(array_kernel kernel, launch_shape shape, unsigned *argument) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(nullptr);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        if (!argument)
            cudaMalloc((void **)&argument, 1 << 16);
        LAUNCH(kernel, shape, nullptr, argument);
        cudaStreamSynchronize(nullptr);
        _exit(0);
    }
    close(ends[1]);
    std::string text;
    char part[512];
    for (ssize_t got; (got = read(ends[0], part, sizeof part)) > 0;)
        text.append(part, (size_t)got);
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : text;
}

static void assert_misuse(array_kernel kernel, launch_shape shape, const char *words,
                          unsigned *argument = nullptr) {
    std::string text = misuse_of(kernel, shape, argument);
    if (text.find(words) == std::string::npos)
        fail_msg("the launch should have stopped with \"%s\", but said \"%s\"", words,
                 text.c_str());
}

static const launch_shape one_block = {dim3(1), dim3(64)};

/* What is allowed ---------------------------------------------------------------------------------
 */
static __global__ void number_all(unsigned *out) {
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned place = block * blockDim.x * blockDim.y * blockDim.z + thread;
    out[place] += place + 1;
}

static __global__ void sum_block(unsigned *out) {
    SHARED(unsigned, part, [256]);
    part[threadIdx.x] = threadIdx.x + blockIdx.x;
    __syncthreads();
    for (unsigned reach = blockDim.x / 2; reach > 0; reach /= 2) {
        if (threadIdx.x < reach)
            part[threadIdx.x] += part[threadIdx.x + reach];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        out[blockIdx.x] = part[0];
}

static __global__ void exchange_all(unsigned *out) {
    unsigned lane = threadIdx.x % 32, value = 100 + threadIdx.x;
    unsigned from_xor = __shfl_xor_sync(~0u, value, 5);
    unsigned from_down = __shfl_down_sync(~0u, value, 4);
    unsigned from_one = __shfl_sync(~0u, value, 7);
    unsigned odd = __ballot_sync(~0u, lane % 2);
    double wide = __shfl_xor_sync(~0u, value + 0.25, 1);
    unsigned low = 0;
    if (lane < 16) /* half a warp, with a mask that says so */
        low = __shfl_xor_sync(0xFFFFu, value, 15);
    __syncwarp();
    unsigned results[] = {from_xor, from_down, from_one, odd, (unsigned)(wide * 4), low};
    for (unsigned i = 0; i < 6; i++)
        out[threadIdx.x * 6 + i] = results[i];
}

static void in_every_order(void (*test)()) {
    for (unsigned order = 0; order < 4; order++) {
        emulator::order = order;
        test();
    }
    emulator::order = 0;
}

static void test_places(void **) {
    in_every_order([] {
        const launch_shape shape = {dim3(3, 2, 2), dim3(5, 3, 2)};
        std::vector<unsigned> got = run(number_all, shape, 12 * 30);
        for (unsigned i = 0; i < got.size(); i++)
            assert_int_equal(got[i], i + 1);
    });
}

static void test_barriers(void **) {
    in_every_order([] {
        std::vector<unsigned> got = run(sum_block, {dim3(5), dim3(256)}, 5);
        for (unsigned b = 0; b < 5; b++)
            assert_int_equal(got[b], 255 * 256 / 2 + 256 * b);
    });
}

static void test_exchanges(void **) {
    in_every_order([] {
        std::vector<unsigned> got = run(exchange_all, one_block, 64 * 6);
        for (unsigned t = 0; t < 64; t++) {
            unsigned lane = t % 32, base = 100 + t - lane;
            assert_int_equal(got[t * 6], base + (lane ^ 5));
            assert_int_equal(got[t * 6 + 1], base + (lane + 4 < 32 ? lane + 4 : lane));
            assert_int_equal(got[t * 6 + 2], base + 7);
            assert_int_equal(got[t * 6 + 3], 0xAAAAAAAAu);
            assert_int_equal(got[t * 6 + 4], 4 * (base + (lane ^ 1)) + 1);
            assert_int_equal(got[t * 6 + 5], lane < 16 ? base + (lane ^ 15) : 0);
        }
    });
}

/* Races and forgotten values ----------------------------------------------------------------------
 */
static __global__ void racy(unsigned *out) {
    SHARED(unsigned, last, [1]);
    *last = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = *last;
}

static __global__ void neighbour_without_barrier(unsigned *out) {
    SHARED(unsigned, part, [64]);
    part[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = part[63 - threadIdx.x];
}

static __global__ void forgotten(unsigned *out) {
    SHARED(float, part, [2]);
    if (threadIdx.x == 0 && blockIdx.x == 0)
        part[0] = 1; /* the second block finds no trace of it */
    __syncthreads();
    out[blockIdx.x] = part[0] != part[0];
}

static void test_races(void **) {
    for (array_kernel kernel : {racy, neighbour_without_barrier}) {
        std::vector<unsigned> forward = run(kernel, one_block, 64);
        emulator::order = 1;
        std::vector<unsigned> backward = run(kernel, one_block, 64);
        emulator::order = 2;
        std::vector<unsigned> shuffled = run(kernel, one_block, 64);
        emulator::order = 0;
        assert_true(forward != backward);
        assert_true(forward != shuffled);
    }
}

static void test_shared_begins_as_nan(void **) {
    std::vector<unsigned> got = run(forgotten, {dim3(2), dim3(4)}, 2);
    assert_int_equal(got[0], 0);
    assert_int_equal(got[1], 1);
}

/* What is forbidden -------------------------------------------------------------------------------
 */
static __global__ void left_barrier(unsigned *) {
    if (threadIdx.x == 3)
        return;
    __syncthreads();
}

static __global__ void two_barriers(unsigned *) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
}

static __global__ void barrier_and_exchange(unsigned *out) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        out[0] = __shfl_xor_sync(~0u, 1u, 1);
    if (threadIdx.x >= 32)
        return;
    __syncthreads();
}

static __global__ void absent_lane(unsigned *out) {
    if (threadIdx.x % 32 < 30)
        out[threadIdx.x] = __shfl_xor_sync(~0u, 1u, 1);
}

static __global__ void own_lane_left_out(unsigned *out) {
    out[threadIdx.x] = __shfl_xor_sync(0xFFFFu, 1u, 1);
}

static __global__ void source_left_out(unsigned *out) {
    if (threadIdx.x % 32 < 16)
        out[threadIdx.x] = __shfl_xor_sync(0xFFFFu, 1u, 16);
}

static __global__ void other_mask(unsigned *) {
    __ballot_sync(threadIdx.x % 2 ? ~0u : 0x7FFFFFFFu, 1);
}

static __global__ void full_mask(unsigned *) {
    __syncwarp();
}

static __global__ void greedy(unsigned *out) {
    SHARED(double, much, [6 * 1024 + 1]);
    out[0] = (unsigned)much[0];
}

static void test_divergence(void **) {
    assert_misuse(left_barrier, one_block, "thread 3 left out by returning");
    assert_misuse(two_barriers, one_block, "waits at the barrier of");
    assert_misuse(barrier_and_exchange, one_block, "left out by returning");
    assert_misuse(absent_lane, one_block, "for lane 30, which has returned");
    assert_misuse(own_lane_left_out, one_block, "lane 16 is not in the mask");
    assert_misuse(source_left_out, one_block, "lane 0 reads lane 16, which is not in the mask");
    assert_misuse(other_mask, one_block, "which waits at");
    assert_misuse(full_mask, {dim3(1), dim3(40)}, "lane 8 in the mask");
    assert_misuse(greedy, one_block, "more than 48 KiB of shared memory");
}

static void test_host_pointer(void **) {
    static unsigned on_the_host[64];
    assert_misuse(number_all, one_block, "not the device's", on_the_host);
}

static void assert_refused(launch_shape shape) {
    unsigned *there;
    assert_int_equal(cudaMalloc((void **)&there, 1 << 16), cudaSuccess);
    LAUNCH(number_all, shape, nullptr, there);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(nullptr), cudaSuccess);
    cudaFree(there);
}

static void test_refused_shapes(void **) {
    assert_refused({dim3(0), dim3(32)});
    assert_refused({dim3(1, 0), dim3(32)});
    assert_refused({dim3(1, 65536), dim3(32)});
    assert_refused({dim3(1, 1, 65536), dim3(32)});
    assert_refused({dim3(1), dim3(0)});
    assert_refused({dim3(1), dim3(1025)});
    assert_refused({dim3(1), dim3(64, 32)});
    assert_refused({dim3(1), dim3(1, 1, 65)});
}

int main() {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_races),
        cmocka_unit_test(test_shared_begins_as_nan),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_host_pointer),
        cmocka_unit_test(test_refused_shapes),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
