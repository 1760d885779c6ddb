/* A plan: a net compiled for one batch size and purpose (host/backend/graph.h), a flat list of
 * tasks, each a library call or a kernel bound to its memory once and for all. It runs as one CUDA
 * graph.
 *
 * compile.h makes plans, plans.h keeps them, capture.h runs them. */
#ifndef CAIRN_CUDA_PLAN_H
#define CAIRN_CUDA_PLAN_H

#include "conv2d.h"
#include "cublas_matmul.h"
#include "cuda_tasks.h"
#include "cudnn_pooling.h"
#include "plan_memory.h"

#include "../host/backend/graph.h"

enum { MATMUL_FORWARD, MATMUL_DATA, MATMUL_WEIGHTS, MATMULS };

/* A layer with what is fused into it; what compiling its forward pass leaves for its backward pass.
 */
struct cuda_stage {
    const cairn_op *layer, *pool, *dropout, *add; /* the fused ones, or NULL */
    int ordinal, last, dropout_ordinal;           /* places in the net, of the stage's ends */
    cuda_activation activation;                   /* fused in */
    activation src, made, dst;                    /* made: before pooling or dropout */
    activation other;                             /* of add */
    uint8_t *chosen;                              /* of pooling */
    float *statistics; /* of batchnorm [4][pitch]: mean, variance, two sums of gradients */
    convolution conv;
    cudnn_pooling pooling;
    matmul matmul[MATMULS];
};

struct cuda_plan {
    cuda_plan *next;
    cuda_executor *executor;
    int count; /* samples */
    cairn_graph graph;
    cuda_type type;
    cuda_layout layout;
    int pad; /* channels are padded to a multiple of it */
    cuda_task *task;
    int task_count, task_capacity;
    cuda_stage *stage;
    int stage_count;
    cuda_node batch, *node; /* the net's input, and by op */
    /* Memory: offsets are handed out from `base`, first the slots, then what is kept. The first
     * compilation has no base and only measures. */
    char *base;
    const cuda_block *block; /* where base lies */
    size_t slot_bytes[SLOTS], kept_bytes;
    int slot_users[SLOTS];  /* readers or nodes that still need what is there */
    unsigned taken;         /* bit by slot: handed out to the stage that is being compiled */
    size_t workspace_bytes; /* the largest that a task wants */
    cuda_targets targets;
    float *logits; /* [count, logits_pitch] */
    int logits_pitch;
    cairn_split_id source;       /* where the gather task takes samples from */
    cudaGraphExec_t captured[2]; /* by source; NULL until the second run */
    int runs[2], launches;       /* launches: the captured graph's nodes */
};

#endif
