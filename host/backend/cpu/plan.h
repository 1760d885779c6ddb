/* Inside the cpu backend: the executor's state, and plans. A plan is a net compiled for one batch
 * size, for training or for evaluation: three flat lists of tasks (refresh the weights' layouts,
 * forward, backward), each task one oneDNN primitive or one loop of kernels.h, bound to its memory
 * once and for all. A net without batch normalisation is evaluated by the training plan; else the
 * evaluation plan folds normalisation into the convolution before it. */
#ifndef CAIRN_BACKEND_CPU_PLAN_H
#define CAIRN_BACKEND_CPU_PLAN_H

#include "../graph.h"
#include "../timeline.h"
#include "loops/stem.h"
#include "loops/winograd.h"
#include "kernels.h"
#include "onednn.h"
#include "update.h"

#include "cairn/arena.h"

typedef struct {
    onednn_layout layout;
    dnnl_memory_t memory;
    void *data;
    bool shared; /* a gradient that has two owners: nobody writes to it */
} tensor;

typedef struct cpu_plan cpu_plan;
typedef struct channel_loops channel_loops;

typedef struct cpu_task {
    char name[64];
    double flops;
    cairn_status (*run)(const cpu_plan *plan, const struct cpu_task *task);
    onednn_op op;          /* for run_primitive */
    const cairn_op *layer; /* for the loops */
    int ordinal;           /* the layer's place in the net */
    const cairn_op *norm;  /* batch normalisation, where the loop is about one */
    const void *in, *with; /* with: a second input, or NULL */
    void *out;
    size_t count;      /* elements of in, with and out */
    bool half, relu;   /* they are bf16; a ReLU follows, */
    bool gelu;         /* or a GELU */
    bool sum;          /* out is added to */
    int block;         /* of a norm, as in cpu_stage */
    float *statistics; /* of a norm; a convolution's bias, or its gradient, or NULL */
    int16_t *chosen;   /* of what pools by itself: which element won */
    void *scratch;
} cpu_task;

typedef struct {
    cpu_task *task;
    int count, capacity;
} task_list;

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
    tensor workspace; /* of max-pooling: which element won */
    int block;        /* of a norm: channels that lie together */
    float
        *statistics; /* of a norm, in training: the batch's mean and variance, and as much again */
} cpu_stage;

/* An op's output while a plan is compiled. */
typedef struct {
    tensor value, gradient; /* gradient: the sum over the readers compiled so far */
} cpu_value;

typedef struct cpu_executor cpu_executor;

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

/* Buffers that all plans share, since only one runs at a time. */
enum { BLOCKS_MAX = 4096 };
typedef struct {
    void *data;
    size_t bytes;
    const cpu_plan *taken; /* by the plan that was compiled last of those that have it */
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
    const cpu_plan *refreshed; /* whose layouts of the weights the blocks hold; NULL: none */
    block blocks[BLOCKS_MAX];
    int block_count;
    uint64_t weights_version; /* grows whenever parameters change */
    uint32_t step, batch;     /* of the training step under way; the batch's number in it */
    bool training;
    cairn_timeline timeline;
};

/* The plan for that many samples: an earlier one, or a new one. */
cairn_status plan_find(cpu_plan **found, cpu_executor *executor, int count,
                       cairn_plan_purpose purpose);
void plan_destroy(cpu_plan *plan);

/* Runs a list in order. */
cairn_status plan_run(const cpu_plan *plan, const task_list *list);

/* For the layers that compile themselves into a plan ------------------------------------------- */

float *plan_parameter(const cpu_plan *plan, cairn_tensor_kind kind, int ordinal);

/* An op's output, or the net's input. */
const tensor *plan_value(const cpu_plan *plan, int ordinal);

/* A buffer from the shared blocks, or memory that lives as long as the executor. */
void *plan_scratch(cpu_plan *plan, size_t bytes);

/* A tensor over `data`, or over a new buffer of the right size when it is NULL. */
cairn_status plan_tensor(cpu_plan *plan, tensor *made, onednn_layout layout, void *data);

/* The layout of a shape: row-major [count, c, h, w]; or as the tag says. */
onednn_layout plan_plain(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type);
onednn_layout plan_layout(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type,
                          dnnl_format_tag_t tag);

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

/* The same, but never memory that has another owner too. */
cairn_status plan_own(cpu_plan *plan, task_list *list, const tensor *given, onednn_layout layout,
                      const cairn_op *layer, tensor *wanted);

/* Elements of a tensor, with those of its layout's padding, which are zero. */
size_t plan_elements(const tensor *given);
bool plan_is_half(const tensor *given); /* of bf16 */

/* Appends y = a + b, all of one layout, with a ReLU behind it where `relu`. */
cairn_status plan_sum(task_list *list, const cairn_op *layer, const char *what, const tensor *a,
                      const tensor *b, const tensor *y, bool relu);

/* Appends the masking of a gradient where the ReLU with output y was zero, into `masked`. */
cairn_status plan_mask(task_list *list, const cairn_op *layer, const tensor *y,
                       const tensor *gradient, const tensor *masked);

/* A parameter in the layout that a primitive wants, refreshed after every change. `plain` is its
 * own row-major layout. */
cairn_status plan_weights(cpu_plan *plan, const cairn_op *layer, onednn_layout plain,
                          onednn_layout wanted, tensor *weights);

/* The same from other memory than the parameter's own. */
cairn_status plan_weights_from(cpu_plan *plan, const cairn_op *layer, onednn_layout plain,
                               void *data, onednn_layout wanted, tensor *weights);

/* Where a primitive leaves a parameter's gradient: there, or where nobody looks. */
cairn_status plan_gradient(cpu_plan *plan, onednn_layout layout, int parameter, tensor *gradient);

/* The type of activations that primitives read and write: float32 or bf16. */
dnnl_data_type_t plan_type(const cpu_plan *plan);

/* The layers. Forward: reads `given`, sets stage->dst; `*taken` ops of the net went into the stage.
 * Backward: `given` is the gradient of stage->dst; sets `*made`, the gradient of the stage's input
 * or inputs (where that is wanted). */
typedef struct {
    cairn_status (*forward)(cpu_plan *plan, cpu_stage *stage, const tensor *given, int *taken);
    cairn_status (*backward)(cpu_plan *plan, cpu_stage *stage, const tensor *given, tensor *made);
} layer_compiler;

extern const layer_compiler compile_conv2d, compile_relu, compile_pool, compile_flatten,
    compile_linear, compile_dropout, compile_batchnorm, compile_add, compile_gelu;

/* Loops for one kind of processor, with the layout of their blocks. */
struct channel_loops {
    const char *isa; /* "AVX2" */
    int block;       /* channels */
    dnnl_format_tag_t tag;
    const winograd_loops *winograd;
    const stem_loops *stem;
    conv_unpool *unpool;
};

/* Those for this processor and precision; NULL: none. */
const channel_loops *plan_loops(dnnl_data_type_t type);

/* Such a layout. */
onednn_layout plan_blocked(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type);

/* Whether a convolution is such as they are for; and its shape as they see it. */
bool plan_takes_blocks(const cpu_plan *plan, const cairn_op *layer);
conv_shape plan_conv_shape(const cpu_plan *plan, const cairn_op *layer);

/* Where those loops pool as well, by 2x2: whether stage->pool is such; a tensor for what is pooled,
 * with stage->workspace; and the gradient of the convolution's output from that of what is pooled.
 */
bool plan_halves(const cpu_plan *plan, const cpu_stage *stage);
cairn_status plan_pooled(cpu_plan *plan, cpu_stage *stage, tensor *made);
cairn_status plan_unpool(cpu_plan *plan, const cpu_stage *stage, const tensor *pooled,
                         tensor *gradient);

/* Stems (stem.h): whether a convolution with what is fused into it is one; then its tasks, which
 * set stage->src, ->dst and ->workspace. The weights are row-major and stay where they are, the
 * bias too, NULL for none. */
bool plan_stem(const cpu_plan *plan, const cpu_stage *stage);
cairn_status plan_stem_forward(cpu_plan *plan, cpu_stage *stage, const tensor *given,
                               const float *weights, float *bias);
cairn_status plan_stem_weight_gradient(cpu_plan *plan, const cpu_stage *stage, const tensor *given);

/* Convolutions by winograd.h: whether a layer is one; then its tasks, whose tensors lie in
 * blocks. Forward goes from stage->src to stage->made, by row-major weights and a bias,
 * NULL for none, that stay where they are; the data gradient is a new tensor. */
bool plan_winograd(const cpu_plan *plan, const cairn_op *layer);
cairn_status plan_winograd_forward(cpu_plan *plan, const cpu_stage *stage, const float *weights,
                                   float *bias);
cairn_status plan_winograd_data_gradient(cpu_plan *plan, const cairn_op *layer,
                                         const tensor *gradient, tensor *made);
cairn_status plan_winograd_weight_gradient(cpu_plan *plan, const cpu_stage *stage,
                                           const tensor *gradient);

/* How many channels of a shape in that layout lie together: 8, 16, or all of them; 0: none of
 * these. */
int plan_block(cpu_plan *plan, cairn_shape shape, onednn_layout layout);

/* Appends y = gelu(x), of one layout. */
cairn_status plan_gelu(task_list *list, const cairn_op *layer, const tensor *x, const tensor *y);

/* Appends the gradient of a convolution's bias alone: stage->made is its output, `given` the
 * gradient of that or, where stage->gelu, of the GELU's output; both lie as plan_block knows. */
cairn_status plan_bias_gradient(cpu_plan *plan, const cpu_stage *stage, const tensor *given);

/* In a plan for evaluation: makes stage->layer's weights with stage->norm folded in, refreshed
 * after every change, in row-major order, and the bias. */
cairn_status plan_fold(cpu_plan *plan, const cpu_stage *stage, float **weights, float **bias);

#endif
