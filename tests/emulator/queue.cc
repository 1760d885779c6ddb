/* The emulator's streams as queues. Work runs when a call waits for it, and then only as much as
 * that wait promises: the stream's work before it, what that waits for through events, and what the
 * legacy stream orders. Work that nobody waits for stays undone, so a missing dependency gives a
 * stale result. */
#include "queue.h"

#include <ctime>

namespace emulator {

void reset_machine(); /* machine.cc */

std::set<cudaStream_t> streams;
std::set<cudaEvent_t> events;
uint64_t order_now;
cudaError_t sticky;

namespace {

CUstream_st legacy[4];
int work_countdown, work_code;
size_t work_done;
std::set<std::string> slow;
std::chrono::seconds pretended; /* that slow work has taken */
thread_local cudaError_t last_error;

} // namespace

cudaStream_t resolve(cudaStream_t stream) {
    if (stream && stream != cudaStreamLegacy)
        return streams.count(stream) ? stream : nullptr;
    cudaStream_t found = &legacy[current_device()];
    found->device = current_device();
    found->legacy = found->blocking = true;
    return found;
}

/* This thread's, which works for the device: what other programs take of the processor is not
 * the device's time. */
static std::chrono::nanoseconds processor_time() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

void execute(const std::string &what, const work &run) {
    if (sticky)
        return;
    if (work_countdown && --work_countdown == 0) {
        sticky = cudaError_t(work_code);
        return;
    }
    run();
    work_done++;
    if (slow.count(what))
        pretended += std::chrono::seconds(1);
    check_guards(what.c_str());
}

void run_to(const event_record &record) {
    bool exists = record.stream >= legacy && record.stream < legacy + 4;
    if (!record.done && (exists || streams.count(record.stream)))
        run_until(record.stream, record.order);
}

/* What stands before this piece of work in other streams. */
static void run_dependencies(cudaStream_t stream, const queued &next) {
    if (next.wait)
        run_to(*next.wait);
    if (stream->legacy) {
        for (cudaStream_t other : streams)
            if (other->blocking && other->device == stream->device)
                run_until(other, next.order);
    } else if (stream->blocking) {
        run_until(&legacy[stream->device], next.order);
    }
}

bool run_one(cudaStream_t stream, uint64_t order) {
    if (stream->queue.empty() || stream->queue.front().order > order)
        return false;
    queued next = std::move(stream->queue.front());
    stream->queue.pop_front();
    device_session piece;
    run_dependencies(stream, next);
    if (next.run)
        execute(next.what, next.run);
    if (next.mark) {
        next.mark->done = true;
        next.mark->time = processor_time() + pretended;
    }
    return true;
}

void run_until(cudaStream_t stream, uint64_t order) {
    device_session all; /* opens memory once, not for every piece */
    while (run_one(stream, order))
        ;
}

void push(cudaStream_t stream, const char *what, work run, shared_ptr<event_record> wait,
          shared_ptr<event_record> mark) {
    stream->queue.push_back({++order_now, what, std::move(run), std::move(wait), std::move(mark)});
}

cudaError_t invalidate(capture &of, cudaError_t error) {
    of.invalid = true;
    return error;
}

cudaError_t check_unsafe() {
    cudaError_t error = cudaSuccess;
    each_capture([&](capture &active) {
        bool mine = active.thread == std::this_thread::get_id();
        if (active.mode == cudaStreamCaptureModeGlobal ||
            (active.mode == cudaStreamCaptureModeThreadLocal && mine))
            error = invalidate(active, cudaErrorStreamCaptureUnsupported);
    });
    return error;
}

cudaError_t check_legacy(cudaStream_t stream) {
    cudaError_t error = cudaSuccess;
    if (stream->legacy)
        for (cudaStream_t other : streams)
            if (other->capturing && other->blocking && other->device == stream->device)
                error = invalidate(*other->capturing, cudaErrorStreamCaptureImplicit);
    return error;
}

cudaError_t append(cudaStream_t stream, const char *what, work run) {
    if (cudaError_t error = check_legacy(stream))
        return error;
    if (!stream->capturing) {
        push(stream, what, std::move(run));
        return cudaSuccess;
    }
    capture &into = *stream->capturing;
    if (into.invalid)
        return cudaErrorStreamCaptureInvalidated;
    into.graph.nodes.push_back({what, std::move(run), stream->tips});
    stream->tips = {into.graph.nodes.size() - 1};
    return cudaSuccess;
}

cudaError_t check_stream(cudaStream_t *stream) {
    *stream = resolve(*stream);
    if (!*stream)
        return because(cudaErrorInvalidResourceHandle, "not a stream");
    return cudaSuccess;
}

cudaError_t begin(const char *function) {
    if (int code = called(function))
        return cudaError_t(code);
    return usable();
}

cudaError_t record_error(cudaError_t code) {
    if (code)
        last_error = code;
    return code;
}

cudaError_t broken() {
    return sticky;
}

bool stream_valid(cudaStream_t stream) {
    cudaStream_t found = resolve(stream);
    return found && found->device == current_device();
}

cudaError_t enqueue(cudaStream_t stream, const char *what, work run) {
    guard hold(mutex);
    cudaError_t error = usable();
    if (!error)
        error = check_stream(&stream);
    if (!error && stream->device != current_device())
        error = because(cudaErrorInvalidResourceHandle, "a stream of another device");
    if (!error)
        error = append(stream, what, [run] {
            device_access memory;
            run();
        });
    return record_error(error);
}

void refuse(const char *what, cudaError_t error, const char *why) {
    guard hold(mutex);
    explain(std::string(what) + ": " + why);
    record_error(error);
}

cudaError_t finish(cudaStream_t stream, const char *what) {
    if (cudaError_t error = check_stream(&stream))
        return error;
    if (stream->capturing)
        return because(invalidate(*stream->capturing, cudaErrorStreamCaptureUnsupported),
                       std::string(what) + ": waits for a stream that is being captured");
    if (cudaError_t error = check_legacy(stream))
        return error;
    run_until(stream, order_now);
    return sticky;
}

} // namespace emulator

using namespace emulator;

extern "C" {

cudaError_t cudaGetLastError(void) {
    guard hold(mutex);
    called(__func__);
    cudaError_t error = sticky ? sticky : last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void) {
    guard hold(mutex);
    called(__func__);
    return sticky ? sticky : last_error;
}

cudaError_t cudaDeviceSynchronize(void) {
    return call(__func__, [&]() -> cudaError_t {
        cudaError_t error = cudaSuccess;
        each_capture([&](capture &active) {
            error = invalidate(active, cudaErrorStreamCaptureUnsupported);
        });
        if (error)
            return error;
        for (cudaStream_t stream : streams)
            if (stream->device == current_device())
                run_until(stream, order_now);
        run_until(&legacy[current_device()], order_now);
        return sticky;
    });
}

/* Ends everything on the device; what was made there is invalid from then on. The emulator only
 * knows it as the end of a program that has given everything back. */
cudaError_t cudaDeviceReset(void) {
    guard hold(mutex);
    if (int code = called(__func__))
        return record_error(cudaError_t(code));
    if (live.allocations || live.streams || live.events || live.graphs || live.graph_executables ||
        live.cublaslt || live.cudnn)
        misuse("cudaDeviceReset", "something made on the device is still alive");
    sticky = last_error = cudaSuccess;
    return cudaSuccess;
}

void emulator_reset(void) {
    guard hold(mutex);
    for (cudaStream_t stream : streams) {
        stream->queue.clear();
        stream->capturing = nullptr;
    }
    for (CUstream_st &stream : legacy)
        stream.queue.clear();
    sticky = last_error = cudaSuccess;
    work_countdown = 0;
    work_done = 0;
    slow.clear();
    reset_machine();
}

void emulator_slow(const char *what) {
    guard hold(mutex);
    slow.insert(what);
}

void emulator_fail_work(int nth, int code) {
    guard hold(mutex);
    work_countdown = nth;
    work_code = code;
}

void emulator_lose_device(int code) {
    guard hold(mutex);
    sticky = cudaError_t(code);
}

size_t emulator_work_done(void) {
    guard hold(mutex);
    return work_done;
}
}
