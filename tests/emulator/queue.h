/* The queues behind the emulator's streams, and captures in progress. */
#ifndef CAIRN_EMULATOR_QUEUE_H
#define CAIRN_EMULATOR_QUEUE_H

#include "state.h"

#include <chrono>
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
    std::chrono::nanoseconds time;
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

extern std::set<cudaStream_t> streams;
extern std::set<cudaEvent_t> events;
extern uint64_t order_now;
extern cudaError_t sticky;

/* Keeps an error for cudaGetLastError and returns it. */
cudaError_t record_error(cudaError_t code);

/* What every call begins with: the count, an injected fault, a usable device. */
cudaError_t begin(const char *function);

/* The stream itself, the device's legacy one for 0; NULL when it is not alive. */
cudaStream_t resolve(cudaStream_t stream);
cudaError_t check_stream(cudaStream_t *stream);

/* Runs a piece of work now, unless the device is broken. */
void execute(const std::string &what, const work &run);

/* Runs what is queued up to `order`, and what it depends on; run_one the first of it. */
void run_until(cudaStream_t stream, uint64_t order);
bool run_one(cudaStream_t stream, uint64_t order);

/* Runs its stream up to a recorded event. */
void run_to(const event_record &record);

/* Puts an item into the queue. */
void push(cudaStream_t stream, const char *what, work run, shared_ptr<event_record> wait = nullptr,
          shared_ptr<event_record> mark = nullptr);

/* Appends to a stream or to the graph that it captures. */
cudaError_t append(cudaStream_t stream, const char *what, work run);

/* Ends a capture's validity; returns `error`. */
cudaError_t invalidate(capture &of, cudaError_t error);

/* Refuses what a capture in this thread forbids: calls that may wait for the device. */
cudaError_t check_unsafe();

/* Work in the legacy stream would wait for every blocking stream; one that captures cannot. */
cudaError_t check_legacy(cudaStream_t stream);

template <typename visitor> void each_capture(visitor visit) {
    for (cudaStream_t stream : streams)
        if (stream->capturing && stream->capturing->origin == stream)
            visit(*stream->capturing);
}

/* Every call: under the lock, its error kept for cudaGetLastError. */
template <typename function> cudaError_t call(const char *name, function body) {
    guard hold(mutex);
    cudaError_t error = begin(name);
    return record_error(error ? error : body());
}

/* A call that gives something back does so even where the device is broken. */
template <typename function> cudaError_t call_release(const char *name, function body) {
    guard hold(mutex);
    cudaError_t error = cudaError_t(called(name));
    if (!error)
        error = body();
    return record_error(error ? error : usable());
}

} // namespace emulator

#endif
