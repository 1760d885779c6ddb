/* Tasks: what a plan is made of. Each is one oneDNN primitive or one loop, bound to its memory once
 * and for all. */
#ifndef CAIRN_BACKEND_CPU_TASKS_H
#define CAIRN_BACKEND_CPU_TASKS_H

#include "onednn.h"

#include "cairn/net.h"

typedef struct cpu_plan cpu_plan;

typedef struct cpu_task {
    char name[64]; /* "features.0 forward" */
    double flops;
    cairn_status (*run)(const cpu_plan *plan, const struct cpu_task *task);
    onednn_op op; /* of a primitive; the rest is for loops, each of which uses some of it */
    const cairn_op *layer;
    int ordinal;          /* the layer's place in the net */
    const cairn_op *norm; /* the batch normalisation that is folded into the layer */

    const void *in, *other; /* what is read; other: the second summand */
    const void *gradient;   /* of the layer's output, where the task reads more than that */
    void *out;              /* what is made, or added to where `sum` */
    size_t count;           /* elements of each of them */
    bool bf16;              /* they are, else float32 */
    bool sum, relu, gelu;   /* a ReLU or GELU follows */
    cairn_op_kind kind;     /* of an activation */
    int block;              /* channels that lie together, for a norm's loops */

    const float *weights, *bias; /* bias: NULL where there is none */
    float *bias_gradient;        /* NULL where nobody wants it */
    float *statistics;           /* of a norm, as in cpu_stage */
    int16_t *chosen;             /* of what pools by itself: which element won */
    void *scratch;
} cpu_task;

typedef struct {
    cpu_task *task;
    int count, capacity;
} task_list;

/* Appends a task; NULL when memory is short. */
cpu_task *plan_add(task_list *list, const cairn_op *layer, const char *what);

/* Appends an onednn_op as a task; the op's arguments are bound already. */
cairn_status plan_add_op(task_list *list, const onednn_op *op, const cairn_op *layer,
                         const char *what, double flops);

/* Runs a list in order. */
cairn_status plan_run(const cpu_plan *plan, const task_list *list);

#endif
