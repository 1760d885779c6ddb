/* For tests of the emulated cuBLASLt and cuDNN: handles, and device memory whose values are known
 * in float64. Included by one test program each. */
#ifndef CAIRN_EMULATOR_LIBRARIES_H
#define CAIRN_EMULATOR_LIBRARIES_H

#include "control.h"
#include "dies.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <math.h>
#include <stdbool.h>

#define OK(call) assert_int_equal(call, 0)
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static const float one = 1, zero = 0;
static emulator_live before;
static cudaStream_t stream;
static cublasLtHandle_t cublas;
static cudnnHandle_t cudnn;

static int set_up(void **state) {
    (void)state;
    emulator_reset();
    before = emulator_count_live();
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cublasLtCreate(&cublas));
    OK(cudnnCreate(&cudnn));
    OK(cudnnSetStream(cudnn, stream));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    cudnnDestroy(cudnn);
    cublasLtDestroy(cublas);
    cudaStreamDestroy(stream);
    emulator_live after = emulator_count_live();
    emulator_reset();
    return memcmp(&before, &after, sizeof before);
}

/* Values ----------------------------------------------------------------------------------------*/

static float rounded(bool half, float value) {
    uint32_t bits;
    if (!half)
        return value;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Device memory and the values that it holds, float32 or bf16. */
typedef struct {
    bool half;
    size_t count;
    double *values;
    void *data;
} buffer;

static void *narrow(const buffer *from) {
    unsigned char *bytes = calloc(from->count, 4);
    assert_non_null(bytes);
    for (size_t i = 0; i < from->count; i++) {
        float value = (float)from->values[i];
        memcpy(bytes + i * (from->half ? 2 : 4), (unsigned char *)&value + (from->half ? 2 : 0),
               from->half ? 2 : 4);
    }
    return bytes;
}

static buffer make_buffer(bool half, size_t count) {
    static uint32_t state = 1;
    buffer made = {half, count, calloc(count, sizeof(double)), NULL};
    assert_non_null(made.values);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        made.values[i] = (double)rounded(half, (float)(state >> 8) * 0x1p-23f - 1);
    }
    OK(cudaMalloc(&made.data, count * (half ? 2 : 4)));
    void *bytes = narrow(&made);
    OK(cudaMemcpy(made.data, bytes, count * (half ? 2 : 4), cudaMemcpyHostToDevice));
    free(bytes);
    return made;
}

static void free_buffer(buffer *of) {
    free(of->values);
    OK(cudaFree(of->data));
}

/* The device's values, after the stream's work. */
static double *fetch(const buffer *of) {
    unsigned char *bytes = calloc(of->count, 4);
    double *values = calloc(of->count, sizeof *values);
    assert_true(bytes && values);
    OK(cudaStreamSynchronize(stream));
    OK(cudaMemcpy(bytes, of->data, of->count * (of->half ? 2 : 4), cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < of->count; i++) {
        float value = 0;
        memcpy((unsigned char *)&value + (of->half ? 2 : 0), bytes + i * (of->half ? 2 : 4),
               of->half ? 2 : 4);
        values[i] = (double)value;
    }
    free(bytes);
    return values;
}

/* |a - b| / |b|; NaN when anything is. */
static double distance(const double *a, const double *b, size_t count) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return sqrt(difference / size);
}

/* Compares with `wanted`, and frees it. */
static void assert_near(const buffer *of, double *wanted, double tolerance) {
    double *got = fetch(of);
    double error = distance(got, wanted, of->count);
    if (!(error < tolerance))
        fail_msg("differs by %g, more than %g", error, tolerance);
    free(got);
    free(wanted);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
