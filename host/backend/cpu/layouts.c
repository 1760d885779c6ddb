/* Buffers, tensors over them, and copies from layout to layout. */
#include "layouts.h"

#include "bf16.h"
#include "cpu_executor.h"
#include "cpu_plan.h"

/* Memory ----------------------------------------------------------------------------------------*/

/* The smallest block that fits and that this plan has not taken yet, if it is not far too large. */
static block *find_block(cpu_plan *plan, size_t bytes) {
    enum { SMALL = 1 << 16 };
    cpu_executor *executor = plan->executor;
    block *best = NULL;
    for (int i = 0; i < executor->block_count; i++) {
        block *one = &executor->blocks[i];
        bool fits = one->bytes >= bytes && one->bytes <= 4 * bytes + SMALL;
        if (fits && one->taken != plan && (!best || one->bytes < best->bytes))
            best = one;
    }
    return best;
}

void *plan_scratch(cpu_plan *plan, size_t bytes) {
    cpu_executor *executor = plan->executor;
    block *found = find_block(plan, bytes);
    if (!found && executor->block_count == BLOCKS_MAX) {
        cairn_error_set(CAIRN_FAILED, "plans of more than %d buffers", BLOCKS_MAX);
        return NULL;
    }
    if (!found) {
        void *data = cairn_arena_alloc(executor->arena, bytes);
        if (!data)
            return NULL;
        found = &executor->blocks[executor->block_count++];
        *found = (block){.data = data, .bytes = bytes};
    }
    found->taken = plan;
    return found->data;
}

cairn_status plan_tensor(cpu_plan *plan, tensor *made, onednn_layout layout, void *data) {
    if (!layout)
        return CAIRN_FAILED;
    if (!data)
        data = plan_scratch(plan, onednn_layout_bytes(layout));
    if (!data)
        return CAIRN_FAILED;
    *made = (tensor){.layout = layout, .data = data};
    return onednn_memory_create(plan->pool, &made->memory, layout, data);
}

const tensor *plan_value(const cpu_plan *plan, int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? &plan->input : &plan->value[ordinal].value;
}

size_t plan_elements(const tensor *given) {
    size_t size = plan_is_bf16(given) ? sizeof(bfloat16) : sizeof(float);
    return onednn_layout_bytes(given->layout) / size;
}

bool plan_is_bf16(const tensor *given) {
    return onednn_layout_type(given->layout) == dnnl_bf16;
}

/* Layouts ---------------------------------------------------------------------------------------*/

dnnl_data_type_t plan_type(const cpu_plan *plan) {
    return plan->executor->base.options.precision == CAIRN_BF16 ? dnnl_bf16 : dnnl_f32;
}

onednn_layout plan_layout(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type,
                          dnnl_format_tag_t tag) {
    dnnl_dims_t dim = {plan->count, shape.c, shape.h, shape.w};
    return onednn_layout_create(plan->pool, 4, dim, type, tag);
}

onednn_layout plan_plain(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type) {
    return plan_layout(plan, shape, type, dnnl_abcd);
}

int plan_block(cpu_plan *plan, cairn_shape shape, onednn_layout layout) {
    const struct {
        dnnl_format_tag_t tag;
        int block;
    } known[] = {{dnnl_aBcd16b, 16}, {dnnl_aBcd8b, 8}, {dnnl_acdb, shape.c}};
    for (int i = 0; i < 3; i++) {
        onednn_layout one = plan_layout(plan, shape, onednn_layout_type(layout), known[i].tag);
        if (one && onednn_layout_equal(layout, one))
            return known[i].block;
    }
    return 0;
}

cairn_status plan_copy(cpu_plan *plan, task_list *list, const tensor *from, const tensor *to,
                       const cairn_op *layer) {
    if (from->data == to->data)
        return CAIRN_OK;
    onednn_op op = {0};
    cairn_status status = onednn_reorder(plan->pool, &op, from->layout, to->layout);
    if (status)
        return status;
    onednn_bind(&op, DNNL_ARG_FROM, from->memory);
    onednn_bind(&op, DNNL_ARG_TO, to->memory);
    return plan_add_op(list, &op, layer, "reorder", 0);
}

cairn_status plan_stand_in(cpu_plan *plan, const tensor *other, onednn_layout layout,
                           tensor *stand_in) {
    if (!layout)
        return CAIRN_FAILED;
    if (!onednn_layout_equal(other->layout, layout))
        return plan_tensor(plan, stand_in, layout, NULL);
    *stand_in = *other;
    return CAIRN_OK;
}

cairn_status plan_convert(cpu_plan *plan, task_list *list, const tensor *given,
                          onednn_layout layout, const cairn_op *layer, tensor *wanted) {
    cairn_status status = plan_stand_in(plan, given, layout, wanted);
    return status ? status : plan_copy(plan, list, given, wanted, layer);
}

cairn_status plan_own(cpu_plan *plan, task_list *list, const tensor *given, onednn_layout layout,
                      const cairn_op *layer, tensor *wanted) {
    cairn_status status = plan_convert(plan, list, given, layout, layer, wanted);
    if (status || !wanted->shared)
        return status;
    status = plan_tensor(plan, wanted, layout, NULL);
    return status ? status : plan_copy(plan, list, given, wanted, layer);
}

/* Parameters ------------------------------------------------------------------------------------*/

float *plan_parameter(const cpu_plan *plan, cairn_tensor_kind kind, int ordinal) {
    const cpu_executor *executor = plan->executor;
    return executor->tensors[kind] + executor->offset[ordinal];
}

cairn_status plan_weights_from(cpu_plan *plan, const cairn_op *layer, onednn_layout plain,
                               void *data, onednn_layout wanted, tensor *weights) {
    tensor master;
    cairn_status status = plan_tensor(plan, &master, plain, data);
    return status ? status : plan_convert(plan, &plan->refresh, &master, wanted, layer, weights);
}

cairn_status plan_weights(cpu_plan *plan, const cairn_op *layer, onednn_layout plain,
                          onednn_layout wanted, tensor *weights) {
    float *master = plan_parameter(plan, CAIRN_PARAMETER, layer->weight);
    return plan_weights_from(plan, layer, plain, master, wanted, weights);
}

cairn_status plan_gradient(cpu_plan *plan, onednn_layout layout, int parameter, tensor *gradient) {
    float *place = cairn_graph_trains(&plan->graph, parameter)
                       ? plan_parameter(plan, CAIRN_GRADIENT, parameter)
                       : NULL;
    return plan_tensor(plan, gradient, layout, place);
}
