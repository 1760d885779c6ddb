/* A plan's tasks on the stream, and captured in a graph. */
#include "capture.h"

#include "cuda_executor.h"
#include "cuda_plan.h"
#include "probe.h"

cairn_status cuda_plan_enqueue(cuda_plan *plan, cairn_split_id source, const cudaEvent_t *events) {
    cudaStream_t stream = plan->executor->stream;
    plan->source = source;
    if (events)
        TRY_CUDA(cudaEventRecord(events[0], stream));
    for (int i = 0; i < plan->task_count; i++) {
        const cuda_task *task = &plan->task[i];
        cairn_status status = task->run(plan, task);
        if (!status)
            status = cuda_check(cudaGetLastError(), task->name);
        if (status)
            return status;
        if (events)
            TRY_CUDA(cudaEventRecord(events[i + 1], stream));
    }
    return CAIRN_OK;
}

/* Libraries load their kernels on first use, which a capture need not allow; so the first run of a
 * plan is an ordinary one, and the second is captured. */
static cairn_status capture(cuda_plan *plan, cairn_split_id source) {
    cudaStream_t stream = plan->executor->stream;
    cudaGraph_t graph = NULL;
    size_t nodes = 0;
    TRY_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cairn_status status = cuda_plan_enqueue(plan, source, NULL);
    cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    if (!status)
        status = cuda_check(ended, "cudaStreamEndCapture");
    if (!status)
        status = cuda_check(cudaGraphGetNodes(graph, NULL, &nodes), "cudaGraphGetNodes");
    if (!status)
        status = cuda_check(cudaGraphInstantiate(&plan->captured[source], graph, 0),
                            "cudaGraphInstantiate");
    if (graph)
        cudaGraphDestroy(graph);
    plan->launches = (int)nodes;
    return status;
}

cairn_status cuda_plan_launch(cuda_plan *plan, cairn_split_id source) {
    if (plan->runs[source]++ == 0)
        return cuda_plan_enqueue(plan, source, NULL);
    if (!plan->captured[source]) {
        cairn_status status = capture(plan, source);
        if (status)
            return status;
    }
    return cuda_check(cudaGraphLaunch(plan->captured[source], plan->executor->stream),
                      "cudaGraphLaunch");
}

void cuda_plan_drop_graphs(cuda_plan *plan) {
    for (int source = 0; source < 2; source++) {
        if (plan->captured[source])
            cudaGraphExecDestroy(plan->captured[source]);
        plan->captured[source] = NULL;
        plan->runs[source] = 0;
    }
}
