/* A plan's lists of tasks. */
#include "cpu_tasks.h"

#include "cpu_executor.h"
#include "cpu_plan.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

cpu_task *plan_add(task_list *list, const cairn_op *layer, const char *what) {
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 16;
        cpu_task *grown = realloc(list->task, (size_t)capacity * sizeof *grown);
        if (!grown) {
            cairn_error_set(CAIRN_FAILED, "out of memory for a plan's tasks");
            return NULL;
        }
        list->task = grown;
        list->capacity = capacity;
    }
    cpu_task *added = &list->task[list->count++];
    *added = (cpu_task){.layer = layer};
    snprintf(added->name, sizeof added->name, "%s %s", layer ? layer->name : "net", what);
    return added;
}

static cairn_status run_primitive(const cpu_plan *plan, const cpu_task *task) {
    return onednn_run(plan->pool, &task->op);
}

cairn_status plan_add_op(task_list *list, const onednn_op *op, const cairn_op *layer,
                         const char *what, double flops) {
    cpu_task *added = plan_add(list, layer, what);
    if (!added)
        return CAIRN_FAILED;
    added->run = run_primitive;
    added->op = *op;
    added->flops = flops;
    return CAIRN_OK;
}

cairn_status plan_run(const cpu_plan *plan, const task_list *list) {
    for (int i = 0; i < list->count; i++) {
        const cpu_task *task = &list->task[i];
        double begin = omp_get_wtime();
        cairn_status status = task->run(plan, task);
        if (status)
            return status;
        cairn_timeline_add(&plan->executor->timeline, task->name, NULL, task->flops, begin);
    }
    return CAIRN_OK;
}
