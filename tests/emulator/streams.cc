/* The emulator's CUDA runtime: streams and events. */
#include "queue.h"

#include <algorithm>

using namespace emulator;

namespace {

cudaError_t create_event(const char *function, cudaEvent_t *event, unsigned flags) {
    if (cudaError_t error = begin(function))
        return error;
    if (!event || flags & ~unsigned(cudaEventDisableTiming | cudaEventBlockingSync))
        return because(cudaErrorInvalidValue, "no place for the event, or an unknown flag");
    *event = new CUevent_st{current_device(), !(flags & cudaEventDisableTiming), {}, {}, false, {}};
    events.insert(*event);
    live.events++;
    return cudaSuccess;
}

cudaError_t create_stream(const char *function, cudaStream_t *stream, unsigned flags) {
    if (cudaError_t error = begin(function))
        return error;
    if (!stream || flags > cudaStreamNonBlocking)
        return because(cudaErrorInvalidValue, "no place for the stream, or an unknown flag");
    *stream = new CUstream_st{current_device(), flags == cudaStreamDefault, false, {}, {}, {}};
    streams.insert(*stream);
    live.streams++;
    return cudaSuccess;
}

} // namespace

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    guard hold(mutex);
    return record_error(create_stream(__func__, stream, cudaStreamDefault));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    guard hold(mutex);
    return record_error(create_stream(__func__, stream, flags));
}

/* What is queued still runs, as it would on a GPU. */
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    return call_release(__func__, [&]() -> cudaError_t {
        if (!stream || !streams.count(stream))
            return cudaErrorInvalidResourceHandle;
        if (stream->capturing)
            stream->capturing->invalid = true;
        else
            run_until(stream, order_now);
        streams.erase(stream);
        delete stream;
        live.streams--;
        return cudaSuccess;
    });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return call(__func__, [&]() -> cudaError_t { return finish(stream, "cudaStreamSynchronize"); });
}

/* Lets the device get one piece further. */
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_stream(&stream))
            return error;
        if (stream->capturing)
            return invalidate(*stream->capturing, cudaErrorStreamCaptureUnsupported);
        if (cudaError_t error = check_legacy(stream))
            return error;
        run_one(stream, order_now);
        if (sticky)
            return sticky;
        return stream->queue.empty() ? cudaSuccess : cudaErrorNotReady;
    });
}

/* A wait for an event of a capture takes the stream into it. */
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_stream(&stream))
            return error;
        if (!events.count(event))
            return cudaErrorInvalidResourceHandle;
        if (flags & ~unsigned(cudaEventWaitExternal))
            return cudaErrorInvalidValue;
        if (!event->captured) {
            if (stream->capturing)
                return invalidate(*stream->capturing, cudaErrorStreamCaptureIsolation);
            if (event->record)
                push(stream, "cudaStreamWaitEvent", nullptr, event->record);
            return cudaSuccess;
        }
        shared_ptr<capture> joined = event->captured_by.lock();
        if (!joined || joined->invalid)
            return cudaErrorStreamCaptureInvalidated;
        if (stream->legacy)
            return invalidate(*joined, cudaErrorStreamCaptureImplicit);
        if (stream->capturing && stream->capturing != joined)
            return invalidate(*joined, cudaErrorStreamCaptureMerge);
        if (!stream->capturing) {
            stream->capturing = joined;
            stream->tips.clear();
            joined->members.insert(stream);
        }
        for (size_t tip : event->tips)
            if (std::find(stream->tips.begin(), stream->tips.end(), tip) == stream->tips.end())
                stream->tips.push_back(tip);
        return cudaSuccess;
    });
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    guard hold(mutex);
    return record_error(create_event(__func__, event, cudaEventDefault));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    guard hold(mutex);
    return record_error(create_event(__func__, event, flags));
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    return call_release(__func__, [&]() -> cudaError_t {
        if (!events.erase(event))
            return cudaErrorInvalidResourceHandle;
        delete event;
        live.events--;
        return cudaSuccess;
    });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_stream(&stream))
            return error;
        if (!events.count(event) || event->device != stream->device)
            return because(cudaErrorInvalidResourceHandle, "not an event of this device");
        if (cudaError_t error = check_legacy(stream))
            return error;
        event->captured = stream->capturing != nullptr;
        event->captured_by = stream->capturing;
        event->tips = stream->tips;
        event->record = nullptr;
        if (event->captured)
            return stream->capturing->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
        event->record = std::make_shared<event_record>();
        push(stream, "cudaEventRecord", nullptr, nullptr, event->record);
        event->record->stream = stream;
        event->record->order = order_now;
        return cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    return call(__func__, [&]() -> cudaError_t {
        if (!events.count(event))
            return cudaErrorInvalidResourceHandle;
        if (event->captured)
            return cudaErrorCapturedEvent;
        if (cudaError_t error = check_unsafe())
            return error;
        if (event->record)
            run_to(*event->record);
        return sticky;
    });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    return call(__func__, [&]() -> cudaError_t {
        if (!events.count(event))
            return cudaErrorInvalidResourceHandle;
        if (event->captured)
            return cudaErrorCapturedEvent;
        if (cudaError_t error = check_unsafe())
            return error;
        if (event->record && !event->record->done)
            run_one(event->record->stream, event->record->order);
        if (sticky)
            return sticky;
        return !event->record || event->record->done ? cudaSuccess : cudaErrorNotReady;
    });
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    return call(__func__, [&]() -> cudaError_t {
        if (!events.count(start) || !events.count(end) || !start->timing || !end->timing ||
            !start->record || !end->record)
            return because(cudaErrorInvalidResourceHandle, "an event without a time");
        if (!start->record->done || !end->record->done)
            return cudaErrorNotReady;
        *milliseconds =
            std::chrono::duration<float, std::milli>(end->record->time - start->record->time)
                .count();
        return cudaSuccess;
    });
}
}
