/* A plan: a net compiled for one batch size and purpose (host/backend/graph.h), into three flat
 * lists of tasks: refresh the weights' layouts, forward, backward. A net without batch
 * normalisation is evaluated by the training plan; else the evaluation plan folds normalisation
 * into the convolution before it. */
#ifndef CAIRN_BACKEND_CPU_PLAN_H
#define CAIRN_BACKEND_CPU_PLAN_H

#include "layouts.h"

#include "../graph.h"
#include "../target.h"

typedef struct channel_loops channel_loops;
typedef struct cpu_executor cpu_executor;

/* What compiling a layer's forward pass leaves for compiling its backward pass. */
typedef struct {
    /* Fused into a convolution, or NULL: pooling and, in evaluation, the batch normalisation and
     * the sum before it. */
    const cairn_op *layer, *pool, *norm, *sum;
    int ordinal, last;     /* its first and its last op */
    bool relu, gelu;       /* fused in */
    bool winograd, stem;   /* a convolution by winograd.h or stem.h, not by oneDNN, */
    bool pools;            /* which pools, too */
    tensor src, made, dst; /* made: before pooling, the same as dst without */
    onednn_op forward, pooling;
    tensor workspace;  /* of max-pooling: which element won */
    int block;         /* of a norm: channels that lie together */
    float *statistics; /* of a norm in training: mean, variance, and as much again */
} cpu_stage;

/* An op's output while a plan is compiled. */
typedef struct {
    tensor value, gradient; /* gradient: the sum over the readers compiled so far */
} cpu_value;

struct cpu_plan {
    cpu_plan *next;
    cpu_executor *executor;
    int count; /* samples */
    cairn_graph graph;
    cpu_value *value; /* by op, while it is compiled, */
    cpu_stage *stage; /* and by stage */
    onednn_pool *pool;
    task_list refresh, forward, backward;
    uint64_t weights_version; /* of the parameters that the refreshed layouts hold */
    tensor input;
    bool input_bf16;
    loss_target *targets; /* [count] */
    uint8_t *bytes;       /* of the batch, augmented; NULL where nothing but the crop happens */
    float *logits, *logits_gradient; /* [count, classes] */
    const channel_loops *loops;      /* for convolutions; NULL: none here */
    float *winograd;                 /* its scratch memory, once something wants it */
};

/* The plan for that many samples: an earlier one, or a new one. */
cairn_status plan_find(cpu_plan **found, cpu_executor *executor, int count,
                       cairn_plan_purpose wished);
void plan_destroy(cpu_plan *plan); /* NULL is allowed */

#endif
