/* The emulator's CUDA runtime: allocations, copies and fills. */
#include "queue.h"

#include <algorithm>
#include <cstring>

using namespace emulator;

namespace {

/* A rectangle of bytes. */
struct copy {
    char *to;
    size_t to_pitch;
    const char *from;
    size_t from_pitch, width, height;
    size_t to_bytes() const {
        return width && height ? (height - 1) * to_pitch + width : 0;
    }
    size_t from_bytes() const {
        return width && height ? (height - 1) * from_pitch + width : 0;
    }
};

void run_copy(const copy &of) {
    if (of.to_pitch == of.width && of.from_pitch == of.width) {
        memmove(of.to, of.from, of.width * of.height);
        return;
    }
    for (size_t row = 0; row < of.height; row++)
        memmove(of.to + row * of.to_pitch, of.from + row * of.from_pitch, of.width);
}

work copy_work(const char *what, const copy &of) {
    return [what, of] {
        bool device_to = on_device(of.to), device_from = on_device(of.from);
        if ((device_to || pinned(of.to)) && !reachable(of.to, of.to_bytes()))
            misuse(what, "the destination was freed before the copy ran");
        if ((device_from || pinned(of.from)) && !reachable(of.from, of.from_bytes()))
            misuse(what, "the source was freed before the copy ran");
        block_access to(of.to), from(of.from);
        run_copy(of);
    };
}

/* Copies as cudaMemcpyAsync does. Pageable sources are staged at once; a copy to pageable memory
 * has ended when the call returns, and so has one between host addresses. */
cudaError_t copy_async(const char *what, const copy &of, cudaMemcpyKind kind, cudaStream_t stream) {
    if (!of.width || !of.height)
        return cudaSuccess;
    if (!of.to || !of.from)
        return because(cudaErrorInvalidValue, "a NULL address");
    if (of.to_pitch < of.width || of.from_pitch < of.width)
        return because(cudaErrorInvalidPitchValue, "a pitch smaller than the width");
    bool to_device = on_device(of.to), from_device = on_device(of.from);
    if (kind == cudaMemcpyDefault)
        kind = to_device ? (from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                         : (from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
    /* The device reads and writes pinned host memory as its own. */
    bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (wants_to != to_device && !(wants_to && pinned(of.to)))
        return because(cudaErrorInvalidValue, "the destination is not where the kind says");
    if (wants_from != from_device && !(wants_from && pinned(of.from)))
        return because(cudaErrorInvalidValue, "the source is not where the kind says");
    bool pinned_to = pinned(of.to), pinned_from = pinned(of.from);
    if ((to_device || pinned_to) && !reachable(of.to, of.to_bytes()))
        return because(cudaErrorInvalidValue, "the destination is not inside one allocation");
    if ((from_device || pinned_from) && !reachable(of.from, of.from_bytes()))
        return because(cudaErrorInvalidValue, "the source is not inside one allocation");

    bool pageable = (!to_device && !pinned_to) || (!from_device && !pinned_from);
    if (pageable && stream->capturing)
        return because(invalidate(*stream->capturing, cudaErrorStreamCaptureUnsupported),
                       "a copy from or to pageable memory cannot be captured");
    if (!to_device && !pinned_to) { /* to pageable memory */
        if (cudaError_t error = append(stream, what, copy_work(what, of)))
            return error;
        run_until(stream, order_now);
        return sticky;
    }
    if (pageable) { /* from it */
        auto staged = std::make_shared<vector<char>>(of.width * of.height);
        run_copy({staged->data(), of.width, of.from, of.from_pitch, of.width, of.height});
        copy later = of;
        later.from = staged->data();
        later.from_pitch = of.width;
        work run = copy_work(what, later);
        return append(stream, what, [staged, run] { run(); });
    }
    return append(stream, what, copy_work(what, of));
}

cudaError_t fill_async(const char *what, void *data, int value, size_t count, cudaStream_t stream) {
    if (!count)
        return cudaSuccess;
    if (!reachable(data, count))
        return because(cudaErrorInvalidValue, "not inside one allocation");
    return append(stream, what, [=] {
        if (!reachable(data, count))
            misuse(what, "the memory was freed before it was filled");
        block_access window(data);
        memset(data, value, count);
    });
}

} // namespace

extern "C" {

cudaError_t cudaMalloc(void **data, size_t bytes) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_unsafe())
            return error;
        if (!data)
            return cudaErrorInvalidValue;
        *data = nullptr;
        if (!bytes)
            return cudaSuccess;
        int device = current_device();
        if (bytes > machine_now.memory - std::min(machine_now.memory, used(device)))
            return cudaErrorMemoryAllocation;
        *data = allocate(bytes, device);
        return *data ? cudaSuccess : cudaErrorMemoryAllocation;
    });
}

/* Memory is given back even where the device is broken, as it dies with its context. */
cudaError_t cudaFree(void *data) {
    return call_release(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_unsafe())
            return error;
        if (data && !release(data))
            return cudaErrorInvalidValue;
        return cudaSuccess;
    });
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    return call(__func__, [&]() -> cudaError_t {
        *total = machine_now.memory;
        *free = machine_now.memory - std::min(machine_now.memory, used(current_device()));
        return cudaSuccess;
    });
}

cudaError_t cudaHostAlloc(void **data, size_t bytes, unsigned flags) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_unsafe())
            return error;
        if (!data || flags & ~7u)
            return cudaErrorInvalidValue;
        *data = bytes ? allocate_pinned(bytes) : nullptr;
        return *data || !bytes ? cudaSuccess : cudaErrorMemoryAllocation;
    });
}

cudaError_t cudaMallocHost(void **data, size_t bytes) {
    return cudaHostAlloc(data, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *data) {
    return call_release(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_unsafe())
            return error;
        if (data && !release_pinned(data))
            return cudaErrorInvalidValue;
        return cudaSuccess;
    });
}

cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned flags) {
    return call(__func__, [&]() -> cudaError_t {
        if (!device || flags || !pinned(host))
            return cudaErrorInvalidValue;
        *device = host; /* unified addressing */
        return cudaSuccess;
    });
}

/* The blocking copy works in the legacy stream and waits for it, except between device addresses,
 * where it only enqueues. */
cudaError_t cudaMemcpy(void *to, const void *from, size_t count, cudaMemcpyKind kind) {
    return call(__func__, [&]() -> cudaError_t {
        cudaStream_t stream = resolve(nullptr);
        if (cudaError_t error = check_unsafe())
            return error;
        if (cudaError_t error = check_legacy(stream))
            return error;
        copy of = {
            static_cast<char *>(to), count, static_cast<const char *>(from), count, count, 1};
        if (cudaError_t error = copy_async("cudaMemcpy", of, kind, stream))
            return error;
        if (!on_device(to) || !on_device(from))
            run_until(stream, order_now);
        return sticky;
    });
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t count, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_stream(&stream))
            return error;
        copy of = {
            static_cast<char *>(to), count, static_cast<const char *>(from), count, count, 1};
        return copy_async("cudaMemcpyAsync", of, kind, stream);
    });
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_stream(&stream))
            return error;
        copy of = {static_cast<char *>(to),
                   to_pitch,
                   static_cast<const char *>(from),
                   from_pitch,
                   width,
                   height};
        return copy_async("cudaMemcpy2DAsync", of, kind, stream);
    });
}

cudaError_t cudaMemset(void *data, int value, size_t count) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_unsafe())
            return error;
        cudaStream_t stream = resolve(nullptr);
        if (cudaError_t error = fill_async("cudaMemset", data, value, count, stream))
            return error;
        if (!on_device(data)) /* asynchronous for device memory */
            run_until(stream, order_now);
        return sticky;
    });
}

cudaError_t cudaMemsetAsync(void *data, int value, size_t count, cudaStream_t stream) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_stream(&stream))
            return error;
        return fill_async("cudaMemsetAsync", data, value, count, stream);
    });
}
}
