/* A plan's tensors: memory, and the layouts that oneDNN's primitives and our loops want of it.
 * Where a neighbour's layout differs, plan_convert puts a reorder between them, and nothing where
 * not. */
#ifndef CAIRN_BACKEND_CPU_LAYOUTS_H
#define CAIRN_BACKEND_CPU_LAYOUTS_H

#include "cpu_tasks.h"

#include "cairn/executor.h"

typedef struct {
    onednn_layout layout;
    dnnl_memory_t memory;
    void *data;
    bool shared; /* a gradient that has two owners: nobody writes to it */
} tensor;

/* The type of activations that primitives read and write: float32 or bf16. */
dnnl_data_type_t plan_type(const cpu_plan *plan);

/* The layout of a shape: row-major [count, c, h, w]; or as the tag says. */
onednn_layout plan_plain(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type);
onednn_layout plan_layout(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type,
                          dnnl_format_tag_t tag);

/* How many channels of a shape in that layout lie together: 8, 16, or all of them; 0: none of
 * these. */
int plan_block(cpu_plan *plan, cairn_shape shape, onednn_layout layout);

/* A buffer from the executor's blocks, or memory that lives as long as the executor. */
void *plan_scratch(cpu_plan *plan, size_t bytes);

/* A tensor over `data`, or over a new buffer of the right size when it is NULL. */
cairn_status plan_tensor(cpu_plan *plan, tensor *made, onednn_layout layout, void *data);

/* An op's output, or the net's input, in a plan that is being compiled. */
const tensor *plan_value(const cpu_plan *plan, int ordinal);

/* Elements of a tensor, with those of its layout's padding, which are zero. */
size_t plan_elements(const tensor *given);
bool plan_is_bf16(const tensor *given);

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

/* Parameters --------------------------------------------------------------------------------- */

/* Its values, gradients, ..., row-major. */
float *plan_parameter(const cpu_plan *plan, cairn_tensor_kind kind, int ordinal);

/* A parameter in the layout that a primitive wants, refreshed after every change. `plain` is its
 * own row-major layout. */
cairn_status plan_weights(cpu_plan *plan, const cairn_op *layer, onednn_layout plain,
                          onednn_layout wanted, tensor *weights);

/* The same from other memory than the parameter's own. */
cairn_status plan_weights_from(cpu_plan *plan, const cairn_op *layer, onednn_layout plain,
                               void *data, onednn_layout wanted, tensor *weights);

/* Where a primitive leaves a parameter's gradient: there, or where nobody looks. */
cairn_status plan_gradient(cpu_plan *plan, onednn_layout layout, int parameter, tensor *gradient);

#endif
