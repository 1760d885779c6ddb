/* The emulator's CUDA runtime: copies, streams, events and graphs.
 *
 * A stream is a queue. Work runs when a call waits for it, and then only as much as that wait
 * promises: the stream's work before it, what that waits for through events, and what the legacy
 * stream orders. Work that nobody waits for stays undone, so a missing dependency gives a stale
 * result. A graph's nodes run in one of the orders that its edges allow, another one every second
 * launch. */
#include "state.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <thread>
#include <vector>

using std::shared_ptr;
using std::vector;
using work = std::function<void()>;

/* One cudaEventRecord: done when the stream reached it. */
struct event_record {
    cudaStream_t stream;
    uint64_t order;
    bool done;
    std::chrono::steady_clock::time_point time;
};

struct CUgraphNode_st {
    std::string what;
    work run;
    vector<size_t> after; /* nodes before this one */
};

struct CUgraph_st {
    vector<CUgraphNode_st> nodes;
};

struct CUgraphExec_st {
    shared_ptr<const CUgraph_st> graph;
    int device;
    shared_ptr<unsigned> launches;
};

struct capture {
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    cudaStream_t origin;
    CUgraph_st graph;
    std::set<cudaStream_t> members;
    bool invalid = false;
};

struct queued {
    uint64_t order;
    std::string what;
    work run;
    shared_ptr<event_record> wait, mark;
};

struct CUstream_st {
    int device;
    bool blocking, legacy;
    std::deque<queued> queue;
    shared_ptr<capture> capturing;
    vector<size_t> tips; /* the nodes that captured work comes after */
};

struct CUevent_st {
    int device;
    bool timing;
    shared_ptr<event_record> record; /* the last; NULL: none, or in a capture */
    std::weak_ptr<capture> captured_by;
    bool captured;
    vector<size_t> tips;
};

namespace emulator {

cudaError_t record_error(cudaError_t code);
void reset_machine();

namespace {

std::set<cudaStream_t> streams;
std::set<cudaEvent_t> events;
std::set<cudaGraph_t> graphs;
std::set<cudaGraphExec_t> executables;
CUstream_st legacy[4];
uint64_t order_now;
cudaError_t sticky;
int work_countdown, work_code;
size_t work_done;
thread_local cudaError_t last_error;

cudaStream_t resolve(cudaStream_t stream) {
    if (stream && stream != cudaStreamLegacy)
        return streams.count(stream) ? stream : nullptr;
    cudaStream_t found = &legacy[current_device()];
    found->device = current_device();
    found->legacy = found->blocking = true;
    return found;
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
    check_guards(what.c_str());
}

void run_until(cudaStream_t stream, uint64_t order);

/* What stands before this piece of work in other streams. */
void run_dependencies(cudaStream_t stream, const queued &next) {
    if (next.wait && !next.wait->done && streams.count(next.wait->stream))
        run_until(next.wait->stream, next.wait->order);
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
        next.mark->time = std::chrono::steady_clock::now();
    }
    return true;
}

void run_until(cudaStream_t stream, uint64_t order) {
    device_session all; /* opens memory once, not for every piece */
    while (run_one(stream, order))
        ;
}

void push(cudaStream_t stream, const char *what, work run, shared_ptr<event_record> wait = nullptr,
          shared_ptr<event_record> mark = nullptr) {
    stream->queue.push_back({++order_now, what, std::move(run), std::move(wait), std::move(mark)});
}

cudaError_t invalidate(capture &of, cudaError_t error) {
    of.invalid = true;
    return error;
}

template <typename visitor> void each_capture(visitor visit) {
    for (cudaStream_t stream : streams)
        if (stream->capturing && stream->capturing->origin == stream)
            visit(*stream->capturing);
}

/* Refuses what a capture in this thread forbids: calls that may wait for the device. */
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

/* Work in the legacy stream would wait for every blocking stream; one that captures cannot. */
cudaError_t check_legacy(cudaStream_t stream) {
    cudaError_t error = cudaSuccess;
    if (stream->legacy)
        for (cudaStream_t other : streams)
            if (other->capturing && other->blocking && other->device == stream->device)
                error = invalidate(*other->capturing, cudaErrorStreamCaptureImplicit);
    return error;
}

/* Appends to a stream or to the graph that it captures. */
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

/* Runs a graph's nodes: of those that may run, the first, or on every second launch the last. */
void run_graph(const CUgraph_st &graph, unsigned launch) {
    size_t count = graph.nodes.size();
    vector<bool> ran(count, false);
    for (size_t step = 0; step < count; step++) {
        size_t chosen = count;
        for (size_t i = 0; i < count; i++) {
            size_t at = launch % 2 ? count - 1 - i : i;
            const vector<size_t> &after = graph.nodes[at].after;
            if (!ran[at] &&
                std::all_of(after.begin(), after.end(), [&](size_t n) { return ran[n]; })) {
                chosen = at;
                break;
            }
        }
        ran[chosen] = true;
        execute(graph.nodes[chosen].what, graph.nodes[chosen].run);
    }
}

bool is_chain(const CUgraph_st &graph) {
    for (size_t i = 1; i < graph.nodes.size(); i++)
        if (graph.nodes[i].after != vector<size_t>{i - 1})
            return false;
    return true;
}

/* What every call begins with. */
cudaError_t begin(const char *function) {
    if (int code = called(function))
        return cudaError_t(code);
    return usable();
}

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

/* Every call: under the lock, its error kept for cudaGetLastError. */
template <typename function> static cudaError_t call(const char *name, function body) {
    guard hold(mutex);
    cudaError_t error = begin(name);
    return record_error(error ? error : body());
}

/* A call that gives something back does so even where the device is broken. */
template <typename function> static cudaError_t call_release(const char *name, function body) {
    guard hold(mutex);
    cudaError_t error = cudaError_t(called(name));
    if (!error)
        error = body();
    return record_error(error ? error : usable());
}

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
        if (event->record && !event->record->done)
            run_until(event->record->stream, event->record->order);
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

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_stream(&stream))
            return error;
        if (stream->legacy)
            return because(cudaErrorStreamCaptureUnsupported,
                           "the legacy stream cannot be captured");
        if (stream->capturing)
            return because(cudaErrorIllegalState, "the stream is being captured already");
        auto started = std::make_shared<capture>();
        started->mode = mode;
        started->thread = std::this_thread::get_id();
        started->origin = stream;
        started->members.insert(stream);
        stream->capturing = started;
        stream->tips.clear();
        return cudaSuccess;
    });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    return call(__func__, [&]() -> cudaError_t {
        if (graph)
            *graph = nullptr;
        if (cudaError_t error = check_stream(&stream))
            return error;
        shared_ptr<capture> ended = stream->capturing;
        if (!graph || !ended)
            return because(cudaErrorIllegalState, "the stream is not being captured");
        if (ended->origin != stream)
            return invalidate(*ended, cudaErrorStreamCaptureUnmatched);
        if (ended->mode != cudaStreamCaptureModeRelaxed &&
            ended->thread != std::this_thread::get_id())
            return cudaErrorStreamCaptureWrongThread;

        /* Everything has to come before what the origin stream did last. */
        vector<bool> joined(ended->graph.nodes.size(), false);
        for (size_t tip : stream->tips)
            joined[tip] = true;
        for (size_t i = joined.size(); i-- > 0;)
            if (joined[i])
                for (size_t before : ended->graph.nodes[i].after)
                    joined[before] = true;
        bool whole = std::all_of(joined.begin(), joined.end(), [](bool is) { return is; });
        for (cudaStream_t member : ended->members)
            if (streams.count(member)) {
                member->capturing = nullptr;
                member->tips.clear();
            }
        if (ended->invalid)
            return cudaErrorStreamCaptureInvalidated;
        if (!whole)
            return because(cudaErrorStreamCaptureUnjoined, "work of another stream is not joined");
        *graph = new CUgraph_st(std::move(ended->graph));
        graphs.insert(*graph);
        live.graphs++;
        return cudaSuccess;
    });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
    return call(__func__, [&]() -> cudaError_t {
        if (cudaError_t error = check_stream(&stream))
            return error;
        *status = !stream->capturing           ? cudaStreamCaptureStatusNone
                  : stream->capturing->invalid ? cudaStreamCaptureStatusInvalidated
                                               : cudaStreamCaptureStatusActive;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                 unsigned long long flags) {
    return call(__func__, [&]() -> cudaError_t {
        if (!executable || !graphs.count(graph) || flags & ~1ull)
            return cudaErrorInvalidValue;
        *executable = new CUgraphExec_st{std::make_shared<CUgraph_st>(*graph), current_device(),
                                         std::make_shared<unsigned>(0)};
        executables.insert(*executable);
        live.graph_executables++;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
    return call(__func__, [&]() -> cudaError_t {
        if (!executables.count(executable))
            return cudaErrorInvalidValue;
        return check_stream(&stream);
    });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    return call(__func__, [&]() -> cudaError_t {
        if (!executables.count(executable))
            return because(cudaErrorInvalidValue, "not an executable graph");
        if (cudaError_t error = check_stream(&stream))
            return error;
        if (stream->capturing)
            return because(invalidate(*stream->capturing, cudaErrorNotSupported),
                           "the emulator has no child graphs");
        if (cudaError_t error = check_legacy(stream))
            return error;
        shared_ptr<const CUgraph_st> graph = executable->graph;
        unsigned launch = is_chain(*graph) ? 0 : (*executable->launches)++;
        /* A node at a time, so that cudaStreamQuery sees a launch half done. */
        if (launch == 0 && is_chain(*graph))
            for (const CUgraphNode_st &node : graph->nodes)
                push(stream, node.what.c_str(), [graph, &node] { node.run(); });
        else
            push(stream, "cudaGraphLaunch", [graph, launch] { run_graph(*graph, launch); });
        return cudaSuccess;
    });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    return call_release(__func__, [&]() -> cudaError_t {
        if (!executables.erase(executable))
            return cudaErrorInvalidValue;
        delete executable;
        live.graph_executables--;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    return call_release(__func__, [&]() -> cudaError_t {
        if (!graphs.erase(graph))
            return cudaErrorInvalidValue;
        delete graph;
        live.graphs--;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    return call(__func__, [&]() -> cudaError_t {
        if (!graphs.count(graph) || !count)
            return cudaErrorInvalidValue;
        if (nodes)
            for (size_t i = 0; i < *count; i++)
                nodes[i] = i < graph->nodes.size() ? &graph->nodes[i] : nullptr;
        if (!nodes || *count > graph->nodes.size())
            *count = graph->nodes.size();
        return cudaSuccess;
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
    reset_machine();
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
