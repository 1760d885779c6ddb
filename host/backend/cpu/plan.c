/* Compiling a net into a plan, and running it. Each layer says which layouts its primitives want;
 * where a neighbour's differ, plan_convert puts a reorder between them, and nothing where not. */
#include "plan.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

static const layer_compiler *compilers[] = {
    [CAIRN_OP_CONV2D] = &compile_conv2d,       [CAIRN_OP_RELU] = &compile_relu,
    [CAIRN_OP_MAXPOOL] = &compile_pool,        [CAIRN_OP_FLATTEN] = &compile_flatten,
    [CAIRN_OP_LINEAR] = &compile_linear,       [CAIRN_OP_DROPOUT] = &compile_dropout,
    [CAIRN_OP_BATCHNORM] = &compile_batchnorm, [CAIRN_OP_ADD] = &compile_add,
    [CAIRN_OP_AVGPOOL] = &compile_pool,        [CAIRN_OP_GELU] = &compile_gelu,
};

/* Memory ----------------------------------------------------------------------------------------*/

float *plan_parameter(const cpu_plan *plan, cairn_tensor_kind kind, int ordinal) {
    const cpu_executor *executor = plan->executor;
    return executor->tensors[kind] + executor->offset[ordinal];
}

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

onednn_layout plan_layout(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type,
                          dnnl_format_tag_t tag) {
    dnnl_dims_t dim = {plan->count, shape.c, shape.h, shape.w};
    return onednn_layout_create(plan->pool, 4, dim, type, tag);
}

onednn_layout plan_plain(cpu_plan *plan, cairn_shape shape, dnnl_data_type_t type) {
    return plan_layout(plan, shape, type, dnnl_abcd);
}

/* Tasks -----------------------------------------------------------------------------------------*/

cpu_task *plan_add(task_list *list, const cairn_op *layer, const char *what) {
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 16;
        cpu_task *grown = realloc(list->task, (size_t)capacity * sizeof *grown);
        if (!grown) {
            cairn_error_set(CAIRN_FAILED, "out of memory for a plan's tasks");
            return NULL;
        }
        list->task = grown;
        list->capacity = capacity;
    }
    cpu_task *added = &list->task[list->count++];
    *added = (cpu_task){.layer = layer};
    snprintf(added->name, sizeof added->name, "%s %s", layer ? layer->name : "net", what);
    return added;
}

static cairn_status run_primitive(const cpu_plan *plan, const cpu_task *task) {
    return onednn_run(plan->pool, &task->op);
}

cairn_status plan_add_op(task_list *list, const onednn_op *op, const cairn_op *layer,
                         const char *what, double flops) {
    cpu_task *added = plan_add(list, layer, what);
    if (!added)
        return CAIRN_FAILED;
    added->run = run_primitive;
    added->op = *op;
    added->flops = flops;
    return CAIRN_OK;
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

dnnl_data_type_t plan_type(const cpu_plan *plan) {
    return plan->executor->base.options.precision == CAIRN_BF16 ? dnnl_bf16 : dnnl_f32;
}

cairn_status plan_run(const cpu_plan *plan, const task_list *list) {
    for (int i = 0; i < list->count; i++) {
        const cpu_task *task = &list->task[i];
        double begin = omp_get_wtime();
        cairn_status status = task->run(plan, task);
        if (status)
            return status;
        cairn_timeline_add(&plan->executor->timeline, task->name, NULL, task->flops, begin);
    }
    return CAIRN_OK;
}

/* Gradients -------------------------------------------------------------------------------------*/

const tensor *plan_value(const cpu_plan *plan, int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? &plan->input : &plan->value[ordinal].value;
}

/* Adds `made` to the gradient of an op's output. */
static cairn_status pass_gradient(cpu_plan *plan, int ordinal, const tensor *made,
                                  const cairn_op *layer) {
    if (!cairn_graph_wants(&plan->graph, ordinal))
        return CAIRN_OK;
    tensor *sum = &plan->value[ordinal].gradient, part, old = *sum;
    if (!sum->data) {
        *sum = *made;
        return CAIRN_OK;
    }
    cairn_status status = plan_convert(plan, &plan->backward, made, old.layout, layer, &part);
    if (!status && !part.shared)
        *sum = part;
    else if (!status && old.shared)
        status = plan_tensor(plan, sum, old.layout, NULL);
    return status ? status
                  : plan_sum(&plan->backward, layer, "gradient sum", &old, &part, sum, false);
}

/* Compiling -------------------------------------------------------------------------------------*/

/* The assembled batch. Only a convolution reads bf16; all else starts from float32. */
static cairn_status compile_input(cpu_plan *plan, const cairn_net *net) {
    bool convolved = false;
    for (int i = 0; i < net->op_count; i++)
        convolved |= net->op[i].input == CAIRN_NET_INPUT && net->op[i].kind == CAIRN_OP_CONV2D;
    plan->input_bf16 = plan_type(plan) == dnnl_bf16 && convolved;
    onednn_layout layout = plan_plain(plan, net->input, plan->input_bf16 ? dnnl_bf16 : dnnl_f32);
    const cairn_executor_options *options = &plan->executor->base.options;
    bool plain = cairn_augment_is_plain(&options->augment) && options->tta == CAIRN_TTA_NONE;
    size_t count = (size_t)plan->count;
    plan->targets = plan_scratch(plan, count * sizeof *plan->targets);
    plan->bytes = plain ? NULL : plan_scratch(plan, count * cairn_shape_count(net->input));
    return plan->targets && (plain || plan->bytes) ? plan_tensor(plan, &plan->input, layout, NULL)
                                                   : CAIRN_FAILED;
}

/* The last op's output in row-major order is the logits; their gradient has the same layout. */
static cairn_status compile_logits(void *compiled) {
    cpu_plan *plan = compiled;
    const cairn_net *net = plan->graph.net;
    const cairn_op *op = &net->op[net->op_count - 1];
    cpu_value *last = &plan->value[net->op_count - 1];
    tensor logits;
    onednn_layout layout = plan_plain(plan, op->out, dnnl_f32);
    cairn_status status = plan_convert(plan, &plan->forward, &last->value, layout, op, &logits);
    if (!status)
        status = plan_tensor(plan, &last->gradient, layout, NULL);
    if (status)
        return status;
    plan->logits = logits.data;
    plan->logits_gradient = last->gradient.data;
    return CAIRN_OK;
}

static cairn_status compile_forward(void *compiled, int ordinal_of_stage, int ordinal, int *taken) {
    cpu_plan *plan = compiled;
    cpu_stage *stage = &plan->stage[ordinal_of_stage];
    const cairn_op *layer = &plan->graph.net->op[ordinal];
    tensor given = *plan_value(plan, layer->input);
    stage->layer = layer;
    stage->ordinal = ordinal;
    cairn_status status = compilers[layer->kind]->forward(plan, stage, &given, taken);
    stage->last = ordinal + *taken - 1;
    plan->value[stage->last].value = stage->dst;
    return status;
}

static cairn_status compile_backward(void *compiled, int ordinal_of_stage) {
    cpu_plan *plan = compiled;
    cpu_stage *stage = &plan->stage[ordinal_of_stage];
    const cairn_op *layer = stage->layer;
    tensor made = {0};
    cairn_status status =
        compilers[layer->kind]->backward(plan, stage, &plan->value[stage->last].gradient, &made);
    if (!status)
        status = pass_gradient(plan, layer->input, &made, layer);
    return status ? status : pass_gradient(plan, layer->other, &made, layer);
}

static cairn_status compile(cpu_plan *plan) {
    static const cairn_graph_compiler compiler = {compile_forward, compile_logits,
                                                  compile_backward};
    cairn_status status = compile_input(plan, plan->graph.net);
    return status ? status : cairn_graph_compile(&plan->graph, &compiler, plan);
}

cairn_status plan_find(cpu_plan **found, cpu_executor *executor, int count,
                       cairn_plan_purpose wished) {
    const cairn_net *net = executor->base.net;
    cairn_plan_purpose purpose = cairn_plan_purpose_resolve(net, wished, true);
    for (cpu_plan *known = executor->plans; known; known = known->next)
        if (known->count == count && known->graph.purpose == purpose) {
            *found = known;
            return CAIRN_OK;
        }
    cpu_stage *stages = calloc((size_t)net->op_count, sizeof *stages);
    cpu_value *values = calloc((size_t)net->op_count, sizeof *values);
    cpu_plan *made = calloc(1, sizeof *made);
    cairn_status status = CAIRN_OK;
    if (!stages || !values || !made) {
        status = cairn_error_set(CAIRN_FAILED, "out of memory for a plan");
        goto done;
    }
    made->executor = executor;
    made->count = count;
    made->loops = plan_loops(plan_type(made));
    made->value = values;
    made->stage = stages;
    cairn_graph_survey(&made->graph, net, purpose);
    status = onednn_pool_create(&made->pool);
    if (!status)
        status = compile(made);
    made->value = NULL;
    made->stage = NULL;
done:
    free(stages);
    free(values);
    if (status) {
        plan_destroy(made);
        return status;
    }
    made->next = executor->plans;
    executor->plans = made;
    *found = made;
    return CAIRN_OK;
}

void plan_destroy(cpu_plan *plan) {
    if (!plan)
        return;
    onednn_pool_destroy(plan->pool);
    free(plan->refresh.task);
    free(plan->forward.task);
    free(plan->backward.task);
    free(plan);
}
