/* oneDNN 2.x and 3.x behind one set of calls. The two differ in how a primitive is described (an
 * operation descriptor first, or all arguments at once) and in who owns memory descriptors. */
#include "onednn.h"

#include <stdlib.h>

/* Everything made, newest first, so that it is destroyed before what it was made from. */
typedef enum { PRIMITIVE, PRIMITIVE_DESC, MEMORY, LAYOUT } object_kind;

typedef struct object {
    struct object *next;
    object_kind kind;
    void *handle;
} object;

struct onednn_pool {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    object *objects;
    bool incomplete; /* a layout could not be made: where it was to go there is NULL, which oneDNN
                      * may take for a bias that is left out */
};

cairn_status onednn_check(dnnl_status_t status, const char *what) {
    static const char *const reasons[] = {"success",           "out of memory", "invalid arguments",
                                          "not implemented",   "iterator ends", "runtime error",
                                          "not required here", "invalid graph"};
    if (status == dnnl_success)
        return CAIRN_OK;
    if (status == dnnl_out_of_memory)
        return cairn_error_set(
            CAIRN_FAILED, "oneDNN: %s: out of memory; a smaller train.batch_size needs less", what);
    size_t known = sizeof reasons / sizeof reasons[0];
    return cairn_error_set(CAIRN_FAILED, "oneDNN: %s: %s (status %d)", what,
                           (size_t)status < known ? reasons[status] : "unknown reason",
                           (int)status);
}

static void destroy_object(const object *entry) {
    switch (entry->kind) {
    case PRIMITIVE:
        dnnl_primitive_destroy(entry->handle);
        break;
    case PRIMITIVE_DESC:
        dnnl_primitive_desc_destroy(entry->handle);
        break;
    case MEMORY:
        dnnl_memory_destroy(entry->handle);
        break;
    case LAYOUT:
#if DNNL_VERSION_MAJOR >= 3
        dnnl_memory_desc_destroy(entry->handle);
#else
        free(entry->handle);
#endif
        break;
    }
}

/* Hands an object over to the pool; when that fails it is destroyed at once. */
static cairn_status keep(onednn_pool *pool, object_kind kind, void *handle) {
    object made = {pool->objects, kind, handle};
    object *entry = malloc(sizeof *entry);
    if (!entry) {
        destroy_object(&made);
        return cairn_error_set(CAIRN_FAILED, "out of memory for a oneDNN object");
    }
    *entry = made;
    pool->objects = entry;
    return CAIRN_OK;
}

cairn_status onednn_pool_create(onednn_pool **pool) {
    onednn_pool *made = calloc(1, sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for oneDNN's objects");
    cairn_status status = onednn_check(dnnl_engine_create(&made->engine, dnnl_cpu, 0), "engine");
    if (!status)
        status = onednn_check(
            dnnl_stream_create(&made->stream, made->engine, dnnl_stream_default_flags), "stream");
    if (status) {
        onednn_pool_destroy(made);
        return status;
    }
    *pool = made;
    return CAIRN_OK;
}

void onednn_pool_destroy(onednn_pool *pool) {
    if (!pool)
        return;
    for (object *entry = pool->objects; entry;) {
        object *next = entry->next;
        destroy_object(entry);
        free(entry);
        entry = next;
    }
    if (pool->stream)
        dnnl_stream_destroy(pool->stream);
    if (pool->engine)
        dnnl_engine_destroy(pool->engine);
    free(pool);
}

/* Layouts ---------------------------------------------------------------------------------------*/

onednn_layout onednn_layout_create(onednn_pool *pool, int rank, const dnnl_dims_t dim,
                                   dnnl_data_type_t type, dnnl_format_tag_t tag) {
#if DNNL_VERSION_MAJOR >= 3
    dnnl_memory_desc_t made = NULL;
    dnnl_status_t status = dnnl_memory_desc_create_with_tag(&made, rank, dim, type, tag);
#else
    dnnl_memory_desc_t *made = malloc(sizeof *made);
    dnnl_status_t status =
        made ? dnnl_memory_desc_init_by_tag(made, rank, dim, type, tag) : dnnl_out_of_memory;
    if (status != dnnl_success) {
        free(made);
        made = NULL;
    }
#endif
    if (onednn_check(status, "memory descriptor") || keep(pool, LAYOUT, made)) {
        pool->incomplete = true;
        return NULL;
    }
    return made;
}

size_t onednn_layout_bytes(onednn_layout layout) {
    return dnnl_memory_desc_get_size(layout);
}

bool onednn_layout_equal(onednn_layout a, onednn_layout b) {
    return dnnl_memory_desc_equal(a, b) != 0;
}

dnnl_data_type_t onednn_layout_type(onednn_layout layout) {
#if DNNL_VERSION_MAJOR >= 3
    dnnl_data_type_t type = dnnl_data_type_undef;
    dnnl_memory_desc_query(layout, dnnl_query_data_type, &type);
    return type;
#else
    return layout->data_type;
#endif
}

cairn_status onednn_memory_create(onednn_pool *pool, dnnl_memory_t *memory, onednn_layout layout,
                                  void *data) {
    if (pool->incomplete)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a oneDNN layout");
    cairn_status status =
        onednn_check(dnnl_memory_create(memory, layout, pool->engine, data), "memory");
    return status ? status : keep(pool, MEMORY, *memory);
}

/* Primitives ------------------------------------------------------------------------------------*/

onednn_layout onednn_op_layout(const onednn_op *op, dnnl_query_t what) {
    return dnnl_primitive_desc_query_md(op->desc, what, 0);
}

const char *onednn_op_implementation(const onednn_op *op) {
    const char *name = NULL;
    if (dnnl_primitive_desc_query(op->desc, dnnl_query_impl_info_str, 0, &name) != dnnl_success)
        return "unknown";
    return name;
}

/* The second half of every op: its descriptor is made or failed, the primitive follows. */
static cairn_status finish(onednn_pool *pool, onednn_op *op, dnnl_status_t described,
                           const char *what) {
    cairn_status status = pool->incomplete
                              ? cairn_error_set(CAIRN_FAILED, "out of memory for a oneDNN layout")
                              : onednn_check(described, what);
    if (status && described == dnnl_success)
        dnnl_primitive_desc_destroy(op->desc);
    if (status)
        return status;
    status = keep(pool, PRIMITIVE_DESC, op->desc);
    if (!status)
        status = onednn_check(dnnl_primitive_create(&op->primitive, op->desc), what);
    return status ? status : keep(pool, PRIMITIVE, op->primitive);
}

/* A window as oneDNN's arrays: strides, dilations (none), kernel and padding. */
typedef struct {
    dnnl_dims_t stride, dilation, kernel, padding;
} geometry;

static geometry spread(onednn_window window) {
    return (geometry){.stride = {window.stride, window.stride},
                      .kernel = {window.kernel, window.kernel},
                      .padding = {window.padding, window.padding}};
}

static dnnl_status_t fused_attributes(dnnl_primitive_attr_t *attributes, onednn_fused fused) {
    dnnl_post_ops_t chain = NULL;
    bool follows = fused.relu || fused.gelu;
    dnnl_alg_kind_t kind = fused.gelu ? dnnl_eltwise_gelu_erf : dnnl_eltwise_relu;
    if (!fused.sum && !follows)
        return dnnl_success;
    dnnl_status_t status = dnnl_primitive_attr_create(attributes);
    if (status == dnnl_success)
        status = dnnl_post_ops_create(&chain);
    if (status != dnnl_success)
        return status;
#if DNNL_VERSION_MAJOR >= 3
    if (fused.sum)
        status = dnnl_post_ops_append_sum(chain, 1.0f, 0, dnnl_data_type_undef);
    if (follows && status == dnnl_success)
        status = dnnl_post_ops_append_eltwise(chain, kind, 0.0f, 0.0f);
#else
    if (fused.sum)
        status = dnnl_post_ops_append_sum(chain, 1.0f);
    if (follows && status == dnnl_success)
        status = dnnl_post_ops_append_eltwise(chain, 1.0f, kind, 0.0f, 0.0f);
#endif
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*attributes, chain);
    dnnl_post_ops_destroy(chain);
    return status;
}

cairn_status onednn_conv_forward(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                 onednn_layout weights, onednn_layout bias, onednn_layout dst,
                                 onednn_window window, onednn_fused fused) {
    geometry g = spread(window);
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = fused_attributes(&attributes, fused);
#if DNNL_VERSION_MAJOR >= 3
    if (status == dnnl_success)
        status = dnnl_convolution_forward_primitive_desc_create(
            &op->desc, pool->engine, dnnl_forward_training, dnnl_convolution_direct, src, weights,
            bias, dst, g.stride, g.dilation, g.padding, g.padding, attributes);
#else
    dnnl_convolution_desc_t desc;
    if (status == dnnl_success)
        status = dnnl_convolution_forward_desc_init(&desc, dnnl_forward_training,
                                                    dnnl_convolution_direct, src, weights, bias,
                                                    dst, g.stride, g.padding, g.padding);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&op->desc, &desc, attributes, pool->engine, NULL);
#endif
    dnnl_primitive_attr_destroy(attributes);
    return finish(pool, op, status, "convolution forward");
}

cairn_status onednn_conv_backward_data(onednn_pool *pool, onednn_op *op, onednn_layout diff_src,
                                       onednn_layout weights, onednn_layout diff_dst,
                                       onednn_window window, const onednn_op *forward) {
    geometry g = spread(window);
#if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_convolution_backward_data_primitive_desc_create(
        &op->desc, pool->engine, dnnl_convolution_direct, diff_src, weights, diff_dst, g.stride,
        g.dilation, g.padding, g.padding, forward->desc, NULL);
#else
    dnnl_convolution_desc_t desc;
    dnnl_status_t status =
        dnnl_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, diff_src, weights,
                                                 diff_dst, g.stride, g.padding, g.padding);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&op->desc, &desc, NULL, pool->engine, forward->desc);
#endif
    return finish(pool, op, status, "convolution data gradient");
}

cairn_status onednn_conv_backward_weights(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                          onednn_layout diff_weights, onednn_layout diff_bias,
                                          onednn_layout diff_dst, onednn_window window,
                                          const onednn_op *forward) {
    geometry g = spread(window);
#if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_convolution_backward_weights_primitive_desc_create(
        &op->desc, pool->engine, dnnl_convolution_direct, src, diff_weights, diff_bias, diff_dst,
        g.stride, g.dilation, g.padding, g.padding, forward->desc, NULL);
#else
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_convolution_backward_weights_desc_init(
        &desc, dnnl_convolution_direct, src, diff_weights, diff_bias, diff_dst, g.stride, g.padding,
        g.padding);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&op->desc, &desc, NULL, pool->engine, forward->desc);
#endif
    return finish(pool, op, status, "convolution weight gradient");
}

static dnnl_alg_kind_t pooling_algorithm(bool average) {
    return average ? dnnl_pooling_avg_exclude_padding : dnnl_pooling_max;
}

cairn_status onednn_pool_forward(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                 onednn_layout dst, onednn_window window, bool average) {
    geometry g = spread(window);
    dnnl_alg_kind_t algorithm = pooling_algorithm(average);
#if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_pooling_forward_primitive_desc_create(
        &op->desc, pool->engine, dnnl_forward_training, algorithm, src, dst, g.stride, g.kernel,
        g.dilation, g.padding, g.padding, NULL);
#else
    dnnl_pooling_desc_t described;
    dnnl_status_t status =
        dnnl_pooling_forward_desc_init(&described, dnnl_forward_training, algorithm, src, dst,
                                       g.stride, g.kernel, g.padding, g.padding);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&op->desc, &described, NULL, pool->engine, NULL);
#endif
    return finish(pool, op, status, "pooling forward");
}

cairn_status onednn_pool_backward(onednn_pool *pool, onednn_op *op, onednn_layout diff_src,
                                  onednn_layout diff_dst, onednn_window window, bool average,
                                  const onednn_op *forward) {
    geometry g = spread(window);
    dnnl_alg_kind_t algorithm = pooling_algorithm(average);
#if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_pooling_backward_primitive_desc_create(
        &op->desc, pool->engine, algorithm, diff_src, diff_dst, g.stride, g.kernel, g.dilation,
        g.padding, g.padding, forward->desc, NULL);
#else
    dnnl_pooling_desc_t described;
    dnnl_status_t status = dnnl_pooling_backward_desc_init(
        &described, algorithm, diff_src, diff_dst, g.stride, g.kernel, g.padding, g.padding);
    if (status == dnnl_success)
        status =
            dnnl_primitive_desc_create(&op->desc, &described, NULL, pool->engine, forward->desc);
#endif
    return finish(pool, op, status, "pooling backward");
}

cairn_status onednn_linear_forward(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                   onednn_layout weights, onednn_layout bias, onednn_layout dst) {
#if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_inner_product_forward_primitive_desc_create(
        &op->desc, pool->engine, dnnl_forward_training, src, weights, bias, dst, NULL);
#else
    dnnl_inner_product_desc_t desc;
    dnnl_status_t status =
        dnnl_inner_product_forward_desc_init(&desc, dnnl_forward_training, src, weights, bias, dst);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&op->desc, &desc, NULL, pool->engine, NULL);
#endif
    return finish(pool, op, status, "linear forward");
}

cairn_status onednn_linear_backward_data(onednn_pool *pool, onednn_op *op, onednn_layout diff_src,
                                         onednn_layout weights, onednn_layout diff_dst,
                                         const onednn_op *forward) {
#if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_inner_product_backward_data_primitive_desc_create(
        &op->desc, pool->engine, diff_src, weights, diff_dst, forward->desc, NULL);
#else
    dnnl_inner_product_desc_t desc;
    dnnl_status_t status =
        dnnl_inner_product_backward_data_desc_init(&desc, diff_src, weights, diff_dst);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&op->desc, &desc, NULL, pool->engine, forward->desc);
#endif
    return finish(pool, op, status, "linear data gradient");
}

cairn_status onednn_linear_backward_weights(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                            onednn_layout diff_weights, onednn_layout diff_bias,
                                            onednn_layout diff_dst, const onednn_op *forward) {
#if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_inner_product_backward_weights_primitive_desc_create(
        &op->desc, pool->engine, src, diff_weights, diff_bias, diff_dst, forward->desc, NULL);
#else
    dnnl_inner_product_desc_t desc;
    dnnl_status_t status = dnnl_inner_product_backward_weights_desc_init(&desc, src, diff_weights,
                                                                         diff_bias, diff_dst);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&op->desc, &desc, NULL, pool->engine, forward->desc);
#endif
    return finish(pool, op, status, "linear weight gradient");
}

cairn_status onednn_reorder(onednn_pool *pool, onednn_op *op, onednn_layout from,
                            onednn_layout to) {
    dnnl_status_t status =
        dnnl_reorder_primitive_desc_create(&op->desc, from, pool->engine, to, pool->engine, NULL);
    return finish(pool, op, status, "reorder");
}

void onednn_bind(onednn_op *op, int argument, dnnl_memory_t memory) {
    op->arg[op->arg_count++] = (dnnl_exec_arg_t){argument, memory};
}

cairn_status onednn_run(onednn_pool *pool, const onednn_op *op) {
    return onednn_check(dnnl_primitive_execute(op->primitive, pool->stream, op->arg_count, op->arg),
                        "execution");
}
