/* Inside the cuda backend: the executor's state, and plans. A plan is a net compiled for one batch
 * size: a flat list of tasks, each a library call or a kernel bound to its memory once and for all.
 * It runs as one CUDA graph.
 *
 * Layouts: float32 computes in row-major [n,c,h,w]; tf32 and bf16 in [n,h,w,c] with the channels
 * padded to `pad`, as the tensor cores want them. Weights are filters [out][in] or [out][h,w][in]
 * of that layout, those of a linear layer too: one that reads a flattened [c,h,w] takes its columns
 * in the order of memory, so that flattening moves nothing. Padding is zero and stays zero. */
#ifndef CAIRN_CUDA_PLAN_H
#define CAIRN_CUDA_PLAN_H

#include "probe.h"
#include "kernels.h"

#include "cairn/executor.h"

#include "../host/backend/graph.h"

/* Memory that all plans share, since only one runs at a time, in slots: WIDE for what a convolution
 * makes for the pooling behind it, and its gradient; the others for what passes from stage to
 * stage, each free again after its last reader. KEPT marks memory of an activation's own, for the
 * backward pass. */
enum { SLOT_WIDE, SLOT_FIRST, SLOTS = 8, KEPT };

typedef struct {
    cuda_tensor shape;
    void *data;
    int slot;
} activation;

/* An op's output, or the batch: its value, where a stage ends in the op, and the sum of the
 * gradients that its readers have given so far. */
typedef struct {
    bool has_gradient;
    activation value, gradient;
} cuda_node;

/* One direction of a convolution. */
typedef struct {
    cudnnConvolutionDescriptor_t descriptor;
    int algorithm; /* a cudnnConvolution{Fwd,BwdData,BwdFilter}Algo_t */
} conv_pass;

enum { CONV_FORWARD, CONV_DATA, CONV_FILTER, CONV_PASSES };

typedef struct {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    conv_pass pass[CONV_PASSES];
} convolution;

/* D = scale op(A) op(B), column-major as cuBLAS has it, with an epilogue. */
typedef struct {
    cublasLtMatmulDesc_t descriptor;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
    float scale;
} matmul;

/* Max-pooling by cuDNN. */
typedef struct {
    cudnnTensorDescriptor_t x, y;
    cudnnPoolingDescriptor_t window;
} cudnn_pooling;

enum { MATMUL_FORWARD, MATMUL_DATA, MATMUL_WEIGHTS, MATMULS };

/* A layer with what is fused into it; what compiling its forward pass leaves for its backward pass.
 */
typedef struct {
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
} cuda_stage;

typedef struct cuda_executor cuda_executor;
typedef struct cuda_plan cuda_plan;

/* A block of device memory that plans live in. Earlier, smaller ones stay for the plans that have
 * them. */
typedef struct cuda_block {
    struct cuda_block *next;
    char *data, *workspace;
    size_t bytes, workspace_bytes;
} cuda_block;

typedef struct cuda_task {
    char name[64];
    double flops;
    cairn_status (*run)(const cuda_plan *plan, const struct cuda_task *task);
    const cuda_stage *stage;
    activation in, out;
    const void *other; /* a second input */
    bool adds;         /* to what is in `out` */
} cuda_task;

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
    /* Memory: offsets are dealt out from `base`, first the slots, then what is kept. The first
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
    int runs[2], launches;       /* launches: the graph's nodes */
};

/* A parameter in memory: [out][in] or [out][h,w][in], as plan.h's head says. */
typedef struct {
    size_t offset, count; /* elements, in each of the buffers below */
    int out, c, h, w;     /* true sizes */
    int pitch;            /* of c */
    bool half_gradient;
} cuda_parameter;

typedef struct {
    uint8_t *images, *labels;
} device_split;

/* Seconds that an op takes forward and backward, by our kernels and by cuDNN; 0: not measured, or
 * not to be had. */
typedef struct {
    double ours, cudnn;
} cuda_contest;

enum { RING_GROUPS = 4 };

struct cuda_executor {
    cairn_executor base;
    cudaStream_t stream;
    cudnnHandle_t cudnn;
    cublasLtHandle_t cublas;
    cuda_type type;
    cuda_layout layout;
    int pad;
    cuda_parameter parameter[CAIRN_NET_PARAMETERS_MAX];
    /* Elements of all; of those that are trained, and of those with a bf16 gradient, which come
     * first, in this order. */
    size_t total, trained_total, half_total;
    char *memory; /* one block: the buffers from here to `table` lie in it */
    size_t memory_bytes;
    float *tensors[CAIRN_TENSOR_KINDS]; /* NULL where none is kept; the gradient is a batch's */
    float *sum;                         /* [total]: the step's, where batches accumulate; or NULL */
    void *half_gradient;                /* bf16 [half_total] */
    void *shadow;                       /* bf16 [total]: the parameters, for bf16 */
    uint8_t *treatment;                 /* of cuda_gradient, or NULL */
    void *clip_scratch;
    cuda_state *state;
    float *table; /* [4][256], of cuda_gather */
    cairn_augmenter *augmenter;
    device_split splits[2];
    cuda_block *blocks; /* the newest first */
    cuda_plan *plans;
    cuda_contest contest[CAIRN_NET_OPS_MAX]; /* of pooling; 0: not measured */
    int infer_batch; /* samples of a large evaluation's batch; 0: not chosen yet */
    /* The ring of slots: pinned host memory that the device reads in place. */
    unsigned char *ring_host;
    cuda_ring ring;
    uint64_t ring_used;                 /* slots handed out so far; the device's cursor follows */
    cudaEvent_t ring_done[RING_GROUPS]; /* a group's last slot has been read */
};

/* The plan for that many samples: an earlier one, or a new one. */
cairn_status cuda_plan_find(cuda_plan **found, cuda_executor *executor, int count,
                            cairn_plan_purpose purpose);
void cuda_plan_destroy(cuda_plan *plan);

/* Bytes of memory that it wants beside the workspace; and makes the executor's newest block large
 * enough for both. */
size_t cuda_plan_total(const cuda_plan *plan);
cairn_status cuda_plan_find_memory(cuda_executor *executor, const cuda_plan *plan);

/* Compiles without memory, to learn the bytes that such a plan wants of it. */
cairn_status cuda_plan_measure(cuda_executor *executor, int count, cairn_plan_purpose purpose,
                               size_t *bytes);

/* Enqueues the plan's tasks as one graph, over samples of a split; the slot is filled. */
cairn_status cuda_plan_launch(cuda_plan *plan, cairn_split_id source);
/* The same task by task, for profiling: an event is recorded before the first and after each. */
cairn_status cuda_plan_enqueue(cuda_plan *plan, cairn_split_id source, const cudaEvent_t *events);
/* Forgets the graphs, which hold the splits' addresses. */
void cuda_plan_drop_graphs(cuda_plan *plan);

/* For the layers that compile themselves into a plan ------------------------------------------- */

/* An op's output, or the batch for CAIRN_NET_INPUT. */
cuda_node *cuda_plan_node(cuda_plan *plan, int ordinal);

/* An activation of the plan's type and layout: in that slot, or kept. */
activation cuda_plan_activation(cuda_plan *plan, cairn_shape shape, int slot);
activation cuda_plan_place(cuda_plan *plan, cuda_tensor shape, int slot);
/* A stage's output: kept in training, else in a free slot. */
activation cuda_plan_output(cuda_plan *plan, cairn_shape shape);
/* A gradient of that shape, in a free slot. */
activation cuda_plan_gradient(cuda_plan *plan, cuda_tensor shape);
/* Where to change the stage's gradient: in its place, unless another node has the same. */
activation cuda_plan_writable(cuda_plan *plan, const activation *given);
/* So many more users of that memory. */
void cuda_plan_hold(cuda_plan *plan, const activation *of, int users);
/* Gives an op's output (or the net's input) a gradient, which is added to what it has. */
cairn_status cuda_plan_give(cuda_plan *plan, const cuda_stage *stage, int ordinal,
                            const activation *made);
/* Whether it has one that may be added to in place, which is then `made`, and given. */
bool cuda_plan_adds(const cuda_plan *plan, int ordinal, activation *made);
void *cuda_plan_keep(cuda_plan *plan, size_t bytes);
size_t tensor_bytes(cuda_tensor shape);
size_t tensor_features(cuda_tensor shape); /* elements of one sample in memory */

/* A parameter's values, gradients, ..., NULL for ordinal -1; and as an operand of the plan's type.
 */
float *cuda_plan_parameter(const cuda_plan *plan, cairn_tensor_kind kind, int ordinal);
const void *cuda_plan_operand(const cuda_plan *plan, int ordinal);
/* Where a convolution's filter gradient goes, in the plan's type. */
void *cuda_plan_filter_gradient(const cuda_plan *plan, int ordinal);

/* The scratch memory of a task, and how much of it a library may take: a convolution, one that has
 * no other way, a matrix product. With memory, limit and max are all that there is. */
void *cuda_plan_workspace(const cuda_plan *plan);
size_t cuda_plan_workspace_limit(const cuda_plan *plan);
size_t cuda_plan_workspace_max(const cuda_plan *plan);
size_t cuda_plan_matmul_limit(const cuda_plan *plan);
void cuda_plan_want_workspace(cuda_plan *plan, size_t bytes);

/* Appends a task, named for the layer (NULL: the net); NULL when memory is short. */
cuda_task *cuda_plan_add(cuda_plan *plan, const cuda_stage *stage, const char *what,
                         cairn_status (*run)(const cuda_plan *, const cuda_task *),
                         const activation *in, const activation *out);
/* Appends the sum of a gradient over samples and places, which is a bias's gradient, where there is
 * a bias that is trained; only over elements that `chosen` marks, where it is not NULL. */
cairn_status cuda_plan_add_bias_gradient(cuda_plan *plan, const cuda_stage *stage,
                                         const activation *gradient);

/* The layers. Forward: reads stage->src, sets stage->dst; `*taken` ops of the net went into the
 * stage. Backward: `given` is the gradient of stage->dst; gives the stage's inputs theirs. */
typedef struct {
    cairn_status (*forward)(cuda_plan *plan, cuda_stage *stage, int *taken);
    cairn_status (*backward)(cuda_plan *plan, cuda_stage *stage, const activation *given);
    void (*release)(cuda_stage *stage); /* descriptors; NULL: it has none */
} layer_compiler;

extern const layer_compiler cuda_compile_conv2d, cuda_compile_relu, cuda_compile_maxpool,
    cuda_compile_flatten, cuda_compile_linear, cuda_compile_dropout, cuda_compile_batchnorm,
    cuda_compile_add, cuda_compile_avgpool, cuda_compile_gelu;

/* Sets stage->add and stage->other, for adding op `other` to what has the shape of stage->src;
 * refuses summands that lie differently in memory. */
cairn_status cuda_plan_take_other(cuda_plan *plan, cuda_stage *stage, const cairn_op *add,
                                  int other);

/* Other parts -----------------------------------------------------------------------------------
 */

/* One product in column-major terms: D [m,n] = scale op(A) op(B), k terms each. */
typedef struct {
    cublasOperation_t a_op, b_op;
    int m, n, k;
    int a_pitch, b_pitch, d_pitch; /* leading dimensions */
    cuda_type type, d_type;        /* of A and B; of D */
    cublasLtEpilogue_t epilogue;
    const void *bias;
    float scale; /* of the product */
} matmul_shape;

/* CAIRN_FAILED also when cuBLAS has no algorithm for it. `limit`: bytes of workspace. */
cairn_status matmul_create(const cuda_executor *executor, matmul *made, const matmul_shape *shape,
                           size_t limit);
cairn_status matmul_run(const cuda_executor *executor, const matmul *product, const void *a,
                        const void *b, void *d, void *workspace);
void matmul_release(matmul *product);

/* "features.0 forward IMPLICIT_PRECOMP_GEMM". Returns `out`. */
const char *conv_choice(const cuda_stage *stage, int pass, char *out, size_t size);

/* Appends what follows the backward pass. */
cairn_status cuda_plan_add_update(cuda_plan *plan);
/* Whether some parameters are treated unlike others; and fills executor->treatment. Waits. */
bool update_has_treatments(const cuda_executor *executor);
cairn_status update_fill_treatments(cuda_executor *executor);

/* The parameters' places; sets executor->parameter and the totals. */
void parameters_lay_out(cuda_executor *executor);
/* Wait. Between PyTorch's layout on the host and ours on the device. */
cairn_status parameter_get(cuda_executor *executor, cairn_tensor_kind kind, int ordinal,
                           float *values);
cairn_status parameter_set(cuda_executor *executor, cairn_tensor_kind kind, int ordinal,
                           const float *values);

/* The ring: a slot to fill, waiting until the device has read its last content; and the mark that
 * work which reads it is enqueued. */
cairn_status ring_create(cuda_executor *executor);
void ring_destroy(cuda_executor *executor);
cairn_status ring_take(cuda_executor *executor, cuda_slot **slot);
cairn_status ring_commit(cuda_executor *executor);

/* Max-pooling by cuDNN, between tensors of the executor's type and layout. */
cairn_status pooling_create(cudnn_pooling *made, const cairn_op *op, cuda_tensor in,
                            cuda_tensor out);
cudnnStatus_t pooling_forward(const cuda_executor *executor, const cudnn_pooling *pooling,
                              const void *x, void *y);
cudnnStatus_t pooling_backward(const cuda_executor *executor, const cudnn_pooling *pooling,
                               const void *x, const void *y, const void *dy, void *dx);
void pooling_release(cudnn_pooling *pooling);

/* Times our kernels and cuDNN's in turn on each pooling and dropout of the net. contests_hold
 * chooses for the plans to come, where the run need not be deterministic. contests_list fills
 * pairs of rows, ours first, or ours alone where cuDNN cannot do it. */
cairn_status contests_hold(cuda_executor *executor);
cairn_status contests_list(cuda_executor *executor, cairn_timing *rows, int capacity, int *count);
/* Whether the training's pooling `ordinal` is cuDNN's. */
bool contest_lost(const cuda_executor *executor, int ordinal);

/* What `run` enqueues takes, in seconds: the shortest of some measurements, each of as many runs in
 * a row as tell more of the device than of asking it. Waits. */
cairn_status cuda_best_time(cuda_executor *executor, cairn_status (*run)(const void *context),
                            const void *context, double *seconds);

/* What the device can do at best: a large product in the executor's precision, and a copy. */
cairn_status roofline_measure(cuda_executor *executor, double *flops, double *bytes);

#endif
