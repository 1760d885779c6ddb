/* Finding a plan, or making it. */
#include "plans.h"

#include "compile.h"
#include "cuda_executor.h"

cairn_status cuda_plan_find(cuda_plan **found, cuda_executor *executor, int count,
                            cairn_plan_purpose wished) {
    cairn_plan_purpose purpose = cairn_plan_purpose_resolve(executor->base.net, wished, false);
    for (cuda_plan *known = executor->plans; known; known = known->next)
        if (known->count == count && known->graph.purpose == purpose) {
            *found = known;
            return CAIRN_OK;
        }
    cuda_plan *made = NULL;
    cairn_status status = cuda_plan_create(&made, executor, count, purpose);
    if (!status)
        status = cuda_plan_find_memory(executor, made);
    if (!status)
        status = cuda_plan_compile_in(made, executor->blocks);
    if (status) {
        cuda_plan_destroy(made);
        return status;
    }
    made->next = executor->plans;
    executor->plans = made;
    *found = made;
    return CAIRN_OK;
}
