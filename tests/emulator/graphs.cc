/* The emulator's CUDA runtime: captures and graphs. A graph's nodes run in one of the orders that
 * its edges allow, another one every second launch. */
#include "queue.h"

#include <algorithm>

using namespace emulator;

namespace {

std::set<cudaGraph_t> graphs;
std::set<cudaGraphExec_t> executables;

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

} // namespace

extern "C" {

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
}
