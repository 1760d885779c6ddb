/* Inside the cpu backend: the executor's state, and plans. A plan is a net compiled for one batch
 * size: three flat lists of tasks (refresh the weights' layouts, forward, backward), each task one
 * oneDNN primitive or one loop of kernels.h, bound to its memory once and for all. */
#ifndef CAIRN_BACKEND_CPU_PLAN_H
#define CAIRN_BACKEND_CPU_PLAN_H

#include "kernels.h"
#include "onednn.h"
#include "update.h"

#include "cairn/arena.h"

typedef struct {
    onednn_layout layout;
    dnnl_memory_t memory;
    void *data;
} tensor;

typedef struct cpu_plan cpu_plan;

typedef struct cpu_task {
    char name[64];
    double flops;
    cairn_status (*run)(const cpu_plan *plan, const struct cpu_task *task);
    onednn_op op;          /* for run_primitive */
    const cairn_op *layer; /* for the loops */
    int ordinal;           /* the layer's place in the net */
    const void *in;
    void *out;
    size_t count; /* elements of in and out */
} cpu_task;

typedef struct {
    cpu_task *task;
    int count, capacity;
} task_list;

/* What compiling a layer's forward pass leaves for compiling its backward pass. */
typedef struct {
    const cairn_op *layer, *pool; /* pool: the max-pooling fused into a convolution, or NULL */
    int ordinal;
    bool relu;             /* a ReLU is fused in */
    tensor src, made, dst; /* made: before pooling, the same as dst without */
    onednn_op forward, pooling;
    tensor workspace; /* of max-pooling: which element won */
} cpu_stage;

typedef struct cpu_executor cpu_executor;

struct cpu_plan {
    cpu_plan *next;
    cpu_executor *executor;
    int count; /* samples */
    onednn_pool *pool;
    task_list refresh, forward, backward;
    uint64_t weights_version; /* of the parameters that the refreshed layouts hold */
    int blocks_taken;
    tensor input;
    bool input_bf16;
    uint8_t *labels;
    float *logits, *logits_gradient; /* [count, classes] */
};

/* Buffers that all plans share, since only one runs at a time: a plan's k-th request takes block k.
 */
enum { BLOCKS_MAX = 1024 };
typedef struct {
    void *data;
    size_t bytes;
} block;

struct cpu_executor {
    cairn_executor base;
    cairn_arena *arena;
    int threads;
    /* By cairn_tensor_kind, all parameters in a row; NULL where none is kept. A batch's gradient;
     * the step's is `sum` where batches accumulate, else the same. */
    float *tensors[CAIRN_TENSOR_KINDS], *sum;
    size_t offset[CAIRN_NET_PARAMETERS_MAX]; /* of a parameter in each of them */
    size_t total;                            /* floats in each */
    update_span spans[CAIRN_NET_PARAMETERS_MAX];
    int span_count;
    cairn_split splits[2]; /* the caller's, by cairn_split_id */
    cairn_stats stats;
    cpu_plan *plans;
    block blocks[BLOCKS_MAX];
    uint64_t weights_version; /* grows whenever parameters change */
    uint32_t step, batch;     /* of the training step under way; the batch's number in it */
    bool training;
    cairn_timing *timing; /* NULL but in profile_step */
    int timing_capacity, timing_count;
};

/* The plan for that many samples: an earlier one, or a new one. */
cairn_status plan_find(cpu_plan **found, cpu_executor *executor, int count);
void plan_destroy(cpu_plan *plan);

/* Runs a list in order. */
cairn_status plan_run(const cpu_plan *plan, const task_list *list);

/* In profile_step: records a part that began at `begin` (omp_get_wtime's seconds); else nothing. */
void plan_time(cpu_executor *executor, const char *name, double flops, double begin);

/* For the layers that compile themselves into a plan ------------------------------------------- */

float *plan_parameter(const cpu_plan *plan, cairn_tensor_kind kind, int ordinal);

/* A buffer from the shared blocks, or memory that lives as long as the executor. */
void *plan_scratch(cpu_plan *plan, size_t bytes);

/* A tensor over `data`, or over a new buffer of the right size when it is NULL. */
cairn_status plan_tensor(cpu_plan *plan, tensor *made, onednn_layout layout, void *data);

/* The row-major layout [count, c, h, w] of a shape. */
onednn_layout plan_plain(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type);

/* Appends a task; NULL when memory is short. */
cpu_task *plan_add(task_list *list, const cairn_op *layer, const char *what);

/* Appends an onednn_op as a task; the op's arguments are bound already. */
cairn_status plan_add_op(task_list *list, const onednn_op *op, const cairn_op *layer,
                         const char *what, double flops);

/* Appends the copy of a tensor into another one, converted to its layout; nothing when they are the
 * same memory. */
cairn_status plan_copy(cpu_plan *plan, task_list *list, const tensor *from, const tensor *to,
                       const cairn_op *layer);

/* A tensor of that layout which can stand for `other`: the same one when the layouts are equal,
 * else a new one, to be copied from or to it. */
cairn_status plan_stand_in(cpu_plan *plan, const tensor *other, onednn_layout layout,
                           tensor *stand_in);

/* `wanted` becomes `given` in that layout: a stand-in, filled by `list`. */
cairn_status plan_convert(cpu_plan *plan, task_list *list, const tensor *given,
                          onednn_layout layout, const cairn_op *layer, tensor *wanted);

/* A parameter in the layout that a primitive wants, refreshed after every change. `plain` is its
 * own row-major layout. */
cairn_status plan_weights(cpu_plan *plan, const cairn_op *layer, onednn_layout plain,
                          onednn_layout wanted, tensor *weights);

/* The type of activations that primitives read and write: float32 or bf16. */
dnnl_data_type_t plan_type(const cpu_plan *plan);

/* The layers. Forward: reads `given`, sets stage->dst; `*taken` ops of the net went into the stage.
 * Backward: `given` is the gradient of stage->dst; sets `*made`, the gradient of the stage's input
 * (not for a stage that reads the net's input). */
typedef struct {
    cairn_status (*forward)(cpu_plan *plan, cpu_stage *stage, const tensor *given, int *taken);
    cairn_status (*backward)(cpu_plan *plan, cpu_stage *stage, const tensor *given, tensor *made);
} layer_compiler;

extern const layer_compiler compile_conv2d, compile_relu, compile_maxpool, compile_flatten,
    compile_linear, compile_dropout;

#endif
