/* Where a plan's activations, gradients and parameters lie. Offsets are handed out in the order of
 * compilation, first without memory, to learn how much is wanted, then once more from its base. */
#include "values.h"

#include "cuda_executor.h"
#include "cuda_plan.h"

enum { ALIGNMENT = 256 };

static size_t align(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Bytes before that slot; SLOTS: of all of them. */
static size_t slot_offset(const cuda_plan *plan, int slot) {
    size_t offset = 0;
    for (int i = 0; i < slot; i++)
        offset += plan->slot_bytes[i];
    return offset;
}

size_t cuda_plan_total(const cuda_plan *plan) {
    return slot_offset(plan, SLOTS) + plan->kept_bytes;
}

cuda_node *cuda_plan_node(cuda_plan *plan, int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? &plan->batch : &plan->node[ordinal];
}

static void *in_slot(cuda_plan *plan, int slot, size_t bytes) {
    if (plan->base)
        return plan->base + slot_offset(plan, slot);
    if (plan->slot_bytes[slot] < align(bytes))
        plan->slot_bytes[slot] = align(bytes);
    return NULL;
}

void *cuda_plan_keep(cuda_plan *plan, size_t bytes) {
    size_t at = plan->kept_bytes;
    plan->kept_bytes += align(bytes);
    return plan->base ? plan->base + slot_offset(plan, SLOTS) + at : NULL;
}

size_t tensor_features(cuda_tensor shape) {
    return (size_t)shape.pitch * (size_t)shape.h * (size_t)shape.w;
}

size_t tensor_bytes(cuda_tensor shape) {
    return (size_t)shape.count * tensor_features(shape) * (shape.type == CUDA_BF16 ? 2 : 4);
}

activation cuda_plan_place(cuda_plan *plan, cuda_tensor shape, int slot) {
    size_t bytes = tensor_bytes(shape);
    void *data = slot == KEPT ? cuda_plan_keep(plan, bytes) : in_slot(plan, slot, bytes);
    return (activation){shape, data, slot};
}

activation cuda_plan_activation(cuda_plan *plan, cairn_shape shape, int slot) {
    cuda_tensor tensor = {plan->type,
                          plan->layout,
                          plan->count,
                          shape.c,
                          shape.h,
                          shape.w,
                          (shape.c + plan->pad - 1) / plan->pad * plan->pad};
    return cuda_plan_place(plan, tensor, slot);
}

/* A slot that nobody needs; KEPT when there is none. */
static int take_slot(cuda_plan *plan) {
    for (int slot = SLOT_FIRST; slot < SLOTS; slot++)
        if (!plan->slot_users[slot] && !(plan->taken >> slot & 1)) {
            plan->taken |= 1u << slot;
            return slot;
        }
    return KEPT;
}

activation cuda_plan_output(cuda_plan *plan, cairn_shape shape) {
    return cuda_plan_activation(plan, shape, plan->graph.training ? KEPT : take_slot(plan));
}

activation cuda_plan_gradient(cuda_plan *plan, cuda_tensor shape) {
    return cuda_plan_place(plan, shape, take_slot(plan));
}

/* Users of slots --------------------------------------------------------------------------------*/

void cuda_plan_hold(cuda_plan *plan, const activation *of, int users) {
    if (of->slot != KEPT)
        plan->slot_users[of->slot] += users;
}

static bool has_one_user(const cuda_plan *plan, const activation *of) {
    return of->slot != KEPT && plan->slot_users[of->slot] == 1;
}

activation cuda_plan_writable(cuda_plan *plan, const activation *given) {
    return has_one_user(plan, given) ? *given : cuda_plan_gradient(plan, given->shape);
}

bool cuda_plan_adds(const cuda_plan *plan, int ordinal, activation *made) {
    const cuda_node *node = &plan->node[ordinal];
    if (!cairn_graph_wants(&plan->graph, ordinal) || !node->has_gradient ||
        !has_one_user(plan, &node->gradient))
        return false;
    *made = node->gradient;
    return true;
}

static cairn_status run_add(const cuda_plan *plan, const cuda_task *task) {
    kernel_add(plan->executor->stream, task->in.shape, CUDA_LINEAR, task->in.data, task->other,
               task->out.data);
    return CAIRN_OK;
}

cairn_status cuda_plan_give(cuda_plan *plan, const cuda_stage *stage, int ordinal,
                            const activation *made) {
    if (!cairn_graph_wants(&plan->graph, ordinal))
        return CAIRN_OK;
    cuda_node *node = &plan->node[ordinal];
    activation before = node->gradient, sum = *made;
    if (node->has_gradient) {
        sum = cuda_plan_writable(plan, &before);
        cuda_task *added = cuda_plan_add(plan, stage, "sum of gradients", run_add, &before, &sum);
        if (!added)
            return CAIRN_FAILED;
        added->other = made->data;
        cuda_plan_hold(plan, &before, -1);
    }
    cuda_plan_hold(plan, &sum, 1);
    node->gradient = sum;
    node->has_gradient = true;
    return CAIRN_OK;
}

/* Parameters and scratch ------------------------------------------------------------------------*/

float *cuda_plan_parameter(const cuda_plan *plan, cairn_tensor_kind kind, int ordinal) {
    const cuda_executor *executor = plan->executor;
    if (ordinal < 0)
        return NULL;
    return executor->tensors[kind] + executor->parameter[ordinal].offset;
}

const void *cuda_plan_operand(const cuda_plan *plan, int ordinal) {
    const cuda_executor *executor = plan->executor;
    if (plan->type == CUDA_F32)
        return cuda_plan_parameter(plan, CAIRN_PARAMETER, ordinal);
    return (const uint16_t *)executor->shadow + executor->parameter[ordinal].offset;
}

void *cuda_plan_filter_gradient(const cuda_plan *plan, int ordinal) {
    const cuda_executor *executor = plan->executor;
    if (!executor->parameter[ordinal].bf16_gradient)
        return cuda_plan_parameter(plan, CAIRN_GRADIENT, ordinal);
    return (uint16_t *)executor->bf16_gradient + executor->parameter[ordinal].offset;
}

/* MODEST is enough for most algorithms at these sizes, and what NVIDIA advises for cuBLAS. A plan
 * that measures takes as much before it knows what it needs. Of a plan that asks, what was chosen
 * alone is allocated; and where it may only choose what is deterministic, each backward pass of a
 * convolution has one algorithm, whose workspace grows with the batch: 33.5 MB for 128x64x32x32 in
 * float32. So such a plan may go up to MAX, and any plan may where nothing modest will do. */
enum { WORKSPACE_MODEST = 32 << 20, WORKSPACE_MAX = 512 << 20 };

void *cuda_plan_workspace(const cuda_plan *plan) {
    return plan->base ? plan->block->workspace : NULL;
}

size_t cuda_plan_workspace_limit(const cuda_plan *plan) {
    if (plan->base)
        return plan->block->workspace_bytes;
    return plan->executor->base.options.deterministic ? WORKSPACE_MAX : WORKSPACE_MODEST;
}

size_t cuda_plan_workspace_max(const cuda_plan *plan) {
    return plan->base ? plan->block->workspace_bytes : WORKSPACE_MAX;
}

size_t cuda_plan_matmul_limit(const cuda_plan *plan) {
    size_t limit = cuda_plan_workspace_limit(plan);
    return limit < WORKSPACE_MODEST ? limit : WORKSPACE_MODEST;
}

void cuda_plan_want_workspace(cuda_plan *plan, size_t bytes) {
    if (plan->workspace_bytes < bytes)
        plan->workspace_bytes = bytes;
}
