/* A plan's list of tasks. */
#include "cuda_tasks.h"

#include "cuda_plan.h"

#include <stdio.h>
#include <stdlib.h>

cuda_task *cuda_plan_add(cuda_plan *plan, const cuda_stage *stage, const char *what,
                         cairn_status (*run)(const cuda_plan *, const cuda_task *),
                         const activation *in, const activation *out) {
    if (plan->task_count == plan->task_capacity) {
        int capacity = plan->task_capacity ? 2 * plan->task_capacity : 32;
        cuda_task *grown = realloc(plan->task, (size_t)capacity * sizeof *grown);
        if (!grown) {
            cairn_error_set(CAIRN_FAILED, "out of memory for a plan's tasks");
            return NULL;
        }
        plan->task = grown;
        plan->task_capacity = capacity;
    }
    cuda_task *added = &plan->task[plan->task_count++];
    *added = (cuda_task){.run = run, .stage = stage};
    if (in)
        added->in = *in;
    if (out)
        added->out = *out;
    snprintf(added->name, sizeof added->name, "%s%s%s", stage ? stage->layer->name : "",
             stage ? " " : "", what);
    return added;
}
