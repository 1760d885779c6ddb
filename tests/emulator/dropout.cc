/* The emulator's cuDNN dropout. Its masks come from the generator whose states the caller holds,
 * and so depend on how often it was called before; the reserve space carries a mask from the
 * forward to the backward call. Which elements are dropped is the library's secret: here, a hash of
 * a counter in the states. The library takes float16, float32 and float64, and so no bf16. */
#include "cudnn_state.h"

using namespace emulator;
using namespace emulator::dnn;

namespace {

enum { STATES_BYTES = 1 << 16 };

size_t mask_bytes(const tensor &of) {
    return (size_t(of.n) * size_t(of.c) * size_t(of.h) * size_t(of.w) + 7) / 8;
}

cudnnStatus_t check_call(cudnnHandle_t handle, cudnnDropoutDescriptor_t dropout,
                         cudnnTensorDescriptor_t from, cudnnTensorDescriptor_t to, void *reserve,
                         size_t reserve_bytes) {
    if (cudnnStatus_t status = check_handle(handle))
        return status;
    if (cudnnStatus_t status = check_set(dropout, "the dropout descriptor"))
        return status;
    if (cudnnStatus_t status = check_set(from, "the input's descriptor"))
        return status;
    if (cudnnStatus_t status = check_set(to, "the output's descriptor"))
        return status;
    if (from->type != to->type || !same_shape(*from, *to))
        REFUSE(BAD_PARAM, "input and output differ in type or shape");
    if (from->type == CUDNN_DATA_BFLOAT16)
        REFUSE(NOT_SUPPORTED, "no dropout of bf16");
    if (!same(*from, *to) || !(is_nchw(*from) || is_nhwc(*from)))
        REFUSE(NOT_SUPPORTED, "input and output have to be packed, of like strides");
    if (!reserve || reserve_bytes < mask_bytes(*from))
        REFUSE(BAD_PARAM, "the reserve space is smaller than what it has to be");
    return CUDNN_STATUS_SUCCESS;
}

/* Enqueues y = x / (1 - p) where the mask keeps, else 0; forward makes the mask. May be in place.
 */
cudnnStatus_t start(const char *what, cudnnHandle_t handle, const cudnnDropoutStruct &dropout,
                    const tensor &of, const void *x, void *y, unsigned char *mask, bool forward) {
    range ranges[] = {{"the input", x, bytes(of)},
                      {"the output", y, bytes(of)},
                      {"the reserve space", mask, mask_bytes(of)},
                      {"the states", dropout.states, dropout.bytes}};
    auto check = [=] {
        for (const range &each : ranges)
            check_reach(what, each);
        if (x != y && overlap(ranges[0], ranges[1]))
            misuse(what, "the output overlaps the input");
        if (overlap(ranges[1], ranges[2]))
            misuse(what, "the output overlaps the reserve space");
    };
    check();
    return launched(enqueue(handle->stream, what, [=] {
        check();
        uint64_t *counter = static_cast<uint64_t *>(dropout.states);
        size_t count = bytes(of) / element_bytes(kind(of.type));
        for (size_t i = 0; i < count; i++) {
            unsigned char bit = static_cast<unsigned char>(1u << i % 8);
            if (forward) {
                uint64_t word = ++*counter * 0x9E3779B97F4A7C15u;
                word = (word ^ word >> 31) * 0xBF58476D1CE4E5B9u;
                bool keeps = float(word >> 40) >= dropout.p * 0x1p24f;
                mask[i / 8] =
                    static_cast<unsigned char>(keeps ? mask[i / 8] | bit : mask[i / 8] & ~bit);
            }
            float value = load(x, kind(of.type), ptrdiff_t(i)) / (1 - dropout.p);
            store(y, kind(of.type), ptrdiff_t(i), mask[i / 8] & bit ? value : 0);
        }
    }));
}

} // namespace

extern "C" {

cudnnStatus_t cudnnDropoutGetStatesSize(cudnnHandle_t handle, size_t *size) {
    return call(__func__, [&] {
        if (cudnnStatus_t status = check_handle(handle))
            return status;
        *size = STATES_BYTES;
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnDropoutGetReserveSpaceSize(cudnnTensorDescriptor_t of, size_t *size) {
    return call(__func__, [&] {
        if (cudnnStatus_t status = check_set(of, "the descriptor"))
            return status;
        *size = mask_bytes(*of);
        return CUDNN_STATUS_SUCCESS;
    });
}

cudnnStatus_t cudnnSetDropoutDescriptor(cudnnDropoutDescriptor_t of, cudnnHandle_t handle, float p,
                                        void *states, size_t size, unsigned long long seed) {
    static const char *const what = "cudnnSetDropoutDescriptor";
    return call(what, [&] {
        if (!alive(of))
            REFUSE(BAD_PARAM, "the descriptor is not alive");
        if (cudnnStatus_t status = check_handle(handle))
            return status;
        if (!(p >= 0 && p < 1))
            REFUSE(BAD_PARAM, "the probability is not in [0, 1)");
        if (!states || size < STATES_BYTES)
            REFUSE(BAD_PARAM, "the states are smaller than what they have to be");
        range to = {"the states", states, size};
        check_reach(what, to);
        *of = {true, p, states, size};
        return launched(enqueue(handle->stream, what, [=] {
            check_reach(what, to);
            *static_cast<uint64_t *>(states) = seed;
        }));
    });
}

cudnnStatus_t cudnnDropoutForward(cudnnHandle_t handle, const cudnnDropoutDescriptor_t dropout,
                                  const cudnnTensorDescriptor_t x_desc, const void *x,
                                  const cudnnTensorDescriptor_t y_desc, void *y, void *reserve,
                                  size_t reserve_bytes) {
    static const char *const what = "cudnnDropoutForward";
    return call(what, [&] {
        if (cudnnStatus_t status =
                check_call(handle, dropout, x_desc, y_desc, reserve, reserve_bytes))
            return status;
        return start(what, handle, *dropout, *x_desc, x, y, static_cast<unsigned char *>(reserve),
                     true);
    });
}

cudnnStatus_t cudnnDropoutBackward(cudnnHandle_t handle, const cudnnDropoutDescriptor_t dropout,
                                   const cudnnTensorDescriptor_t dy_desc, const void *dy,
                                   const cudnnTensorDescriptor_t dx_desc, void *dx, void *reserve,
                                   size_t reserve_bytes) {
    static const char *const what = "cudnnDropoutBackward";
    return call(what, [&] {
        if (cudnnStatus_t status =
                check_call(handle, dropout, dy_desc, dx_desc, reserve, reserve_bytes))
            return status;
        return start(what, handle, *dropout, *dy_desc, dy, dx,
                     static_cast<unsigned char *>(reserve), false);
    });
}
}
