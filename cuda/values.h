/* Where a plan's activations, gradients and parameters lie.
 *
 * Layouts: float32 computes in row-major [n,c,h,w]; tf32 and bf16 in [n,h,w,c] with the channels
 * padded to `pad`, as the tensor cores want them. Weights are filters [out][in] or [out][h,w][in]
 * of that layout, those of a linear layer too: one that reads a flattened [c,h,w] takes its columns
 * in the order of memory, so that flattening moves nothing. Padding is zero and stays zero. */
#ifndef CAIRN_CUDA_VALUES_H
#define CAIRN_CUDA_VALUES_H

#include "kernels.h"

#include "cairn/executor.h"

typedef struct cuda_plan cuda_plan;
typedef struct cuda_stage cuda_stage;

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

size_t tensor_bytes(cuda_tensor shape);
size_t tensor_features(cuda_tensor shape); /* elements of one sample in memory */

/* Of an op, or of the batch for CAIRN_NET_INPUT. */
cuda_node *cuda_plan_node(cuda_plan *plan, int ordinal);

/* An activation of the plan's type and layout: in that slot, or kept. */
activation cuda_plan_activation(cuda_plan *plan, cairn_shape shape, int slot);
activation cuda_plan_place(cuda_plan *plan, cuda_tensor shape, int slot);
/* A stage's output: kept in training, else in a free slot. */
activation cuda_plan_output(cuda_plan *plan, cairn_shape shape);
/* Memory of its own. */
void *cuda_plan_keep(cuda_plan *plan, size_t bytes);
/* Bytes of all slots, and of all that is kept. */
size_t cuda_plan_total(const cuda_plan *plan);

/* Gradients: one of that shape, in a free slot; where to change the stage's own: in its place,
 * unless another node has the same; and so many more users of that memory. */
activation cuda_plan_gradient(cuda_plan *plan, cuda_tensor shape);
activation cuda_plan_writable(cuda_plan *plan, const activation *given);
void cuda_plan_hold(cuda_plan *plan, const activation *of, int users);
/* Gives an op's output a gradient, where that is wanted, which is added to what it has; `stage` is
 * whose, NULL for the loss. */
cairn_status cuda_plan_give(cuda_plan *plan, const cuda_stage *stage, int ordinal,
                            const activation *made);
/* Whether it has one that may be added to in place, which is then `made`, and given. */
bool cuda_plan_adds(const cuda_plan *plan, int ordinal, activation *made);

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

#endif
