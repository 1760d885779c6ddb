/* What the kernels' tests share: device memory, and activations that go there and come back. They
 * call cudart and cuda/kernels.h alone, and so run on the emulator and on a GPU. Values are float
 * [n][c][h][w] on the host, whatever the type and layout on the device. */
#ifndef CAIRN_TESTS_TENSORS_H
#define CAIRN_TESTS_TENSORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cairn/rng.h"
#include "kernels.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline void must(cudaError_t error) {
    if (error != cudaSuccess)
        fail_msg("%s", cudaGetErrorString(error));
}

/* The launches before this were accepted and ran well. */
static inline void finish(void) {
    must(cudaGetLastError());
    must(cudaStreamSynchronize(NULL));
}

static inline void *host_memory(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    assert_non_null(memory);
    return memory;
}

/* Device memory of a test: freed together by device_clear, every test's teardown. */
static struct {
    void *block[64];
    int count;
} device;

static inline void *device_memory(size_t bytes) {
    assert_true(device.count < 64);
    must(cudaMalloc(&device.block[device.count], bytes ? bytes : 1));
    return device.block[device.count++];
}

static inline int device_clear(void **state) {
    (void)state;
    while (device.count > 0)
        if (cudaFree(device.block[--device.count]) != cudaSuccess)
            return -1;
    return 0;
}

static inline void *to_device(const void *values, size_t bytes) {
    void *memory = device_memory(bytes);
    must(cudaMemcpyAsync(memory, values, bytes, cudaMemcpyHostToDevice, NULL));
    must(cudaStreamSynchronize(NULL));
    return memory;
}

static inline void from_device(void *values, const void *memory, size_t bytes) {
    finish();
    must(cudaMemcpyAsync(values, memory, bytes, cudaMemcpyDeviceToHost, NULL));
    must(cudaStreamSynchronize(NULL));
}

/* bf16 --------------------------------------------------------------------------------------------
 */
static inline float bf16_to_float(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To nearest, ties to even; NaN stays NaN. */
static inline uint16_t float_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return value != value ? 0x7FFF : (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static inline float rounded(cuda_type type, float value) {
    return type == CUDA_BF16 ? bf16_to_float(float_to_bf16(value)) : value;
}

static inline bool same(float a, float b) {
    return a == b || (isnan(a) && isnan(b));
}

/* Activations -------------------------------------------------------------------------------------
 */
static inline size_t true_count(cuda_tensor t) {
    return (size_t)t.count * (size_t)t.c * (size_t)t.h * (size_t)t.w;
}
static inline size_t memory_count(cuda_tensor t) {
    return (size_t)t.count * (size_t)t.pitch * (size_t)t.h * (size_t)t.w;
}
static inline size_t element_bytes(cuda_tensor t) {
    return t.type == CUDA_BF16 ? 2 : 4;
}

/* The tensor with other sizes. */
static inline cuda_tensor sized(cuda_tensor t, int h, int w) {
    t.h = h;
    t.w = w;
    return t;
}

/* Where element (n, c, place in the plane) lies in memory. */
static inline size_t memory_index(cuda_tensor t, size_t n, size_t c, size_t place) {
    size_t plane = (size_t)t.h * (size_t)t.w;
    if (t.layout == CUDA_NCHW)
        return (n * (size_t)t.c + c) * plane + place;
    return (n * plane + place) * (size_t)t.pitch + c;
}

static inline void *put_tensor(cuda_tensor t, const float *values) {
    size_t plane = (size_t)t.h * (size_t)t.w;
    unsigned char *memory = calloc(memory_count(t) + 1, element_bytes(t));
    assert_non_null(memory);
    for (size_t n = 0; n < (size_t)t.count; n++)
        for (size_t c = 0; c < (size_t)t.c; c++)
            for (size_t p = 0; p < plane; p++) {
                size_t at = memory_index(t, n, c, p);
                float value = *values++;
                uint16_t half = float_to_bf16(value);
                if (t.type == CUDA_BF16)
                    memcpy(memory + 2 * at, &half, 2);
                else
                    memcpy(memory + 4 * at, &value, 4);
            }
    void *put = to_device(memory, memory_count(t) * element_bytes(t));
    free(memory);
    return put;
}

/* Checks as well that the padded channels are 0. */
static inline void take_tensor(cuda_tensor t, const void *from, float *values) {
    size_t plane = (size_t)t.h * (size_t)t.w, bytes = memory_count(t) * element_bytes(t);
    unsigned char *memory = host_memory(bytes);
    from_device(memory, from, bytes);
    for (size_t n = 0; n < (size_t)t.count; n++)
        for (size_t c = 0; c < (size_t)t.pitch; c++)
            for (size_t p = 0; p < plane; p++) {
                size_t at = memory_index(t, n, c, p);
                float value;
                uint16_t half;
                memcpy(&half, memory + 2 * at, 2);
                if (t.type == CUDA_BF16)
                    value = bf16_to_float(half);
                else
                    memcpy(&value, memory + 4 * at, 4);
                if (c < (size_t)t.c)
                    values[(n * (size_t)t.c + c) * plane + p] = value;
                else if (value != 0)
                    fail_msg("padded channel %zu of sample %zu holds %g", c, n, (double)value);
            }
    free(memory);
}

/* A new tensor on the device, filled with what no kernel would leave there. */
static inline void *blank_tensor(cuda_tensor t) {
    void *memory = device_memory(memory_count(t) * element_bytes(t));
    must(cudaMemset(memory, 0xA5, memory_count(t) * element_bytes(t)));
    return memory;
}

/* `got` is what the rule says, to the last bit. */
static inline void assert_values(const char *what, cuda_tensor t, const float *got,
                                 const float *wanted) {
    for (size_t i = 0; i < true_count(t); i++)
        if (!same(got[i], wanted[i]))
            fail_msg("%s of [%d,%d,%d,%d] pitch %d (type %d, layout %d): element %zu is %.9g, not "
                     "%.9g",
                     what, t.count, t.c, t.h, t.w, t.pitch, (int)t.type, (int)t.layout, i,
                     (double)got[i], (double)wanted[i]);
}

/* Random values -----------------------------------------------------------------------------------
 */
static inline uint32_t word_at(uint32_t stream, uint64_t index) {
    return cairn_rng(7, CAIRN_RNG_TEST, 0, stream, index).word[0];
}

/* In [-1, 1), rounded to the type; every 50th a NaN where `nan`. */
static inline float *random_values(cuda_type type, size_t count, uint32_t stream, bool nan) {
    float *values = host_memory(count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        uint32_t word = word_at(stream, i);
        values[i] = rounded(type, 2 * cairn_rng_unit(word) - 1);
        if (nan && word % 50 == 0)
            values[i] = NAN;
    }
    return values;
}

/* Every type and layout
 * ----------------------------------------------------------------------------- Calls `test` for a
 * [count, c, h, w] in both types and layouts, with CUDA_NHWC's channels padded as the executor
 * does, and, once, not at all. */
static inline void in_every_form(int count, int c, int h, int w, void (*test)(cuda_tensor)) {
    for (int type = 0; type < 2; type++) {
        int wide = type == CUDA_BF16 ? 8 : 4;
        cuda_tensor t = {(cuda_type)type, CUDA_NCHW, count, c, h, w, c};
        test(t);
        device_clear(NULL);
        t.layout = CUDA_NHWC;
        test(t);
        device_clear(NULL);
        t.pitch = (c + wide - 1) / wide * wide;
        if (t.pitch != c)
            test(t);
        device_clear(NULL);
    }
}

static inline void in_every_size(void (*test)(cuda_tensor)) {
    in_every_form(1, 1, 1, 1, test);
    in_every_form(3, 5, 7, 9, test);
    in_every_form(127, 10, 1, 1, test);
    in_every_form(2, 32, 16, 16, test);
    in_every_form(5, 17, 6, 3, test);
}

/* Run once before the tests: without a GPU, and without an emulator, they are skipped. */
static inline bool device_missing(void) {
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0)
        return false;
    print_message("skipped: %s\n", error ? cudaGetErrorString(error) : "no CUDA device");
    return true;
}

#endif
