/* A thin C layer over oneDNN's C API that reads the same for versions 2 and 3: layouts are
 * pointers, primitives are made in one call, and everything made lives in one pool until the pool
 * goes. (oneDNN developer guide: "Transition from v2.x to v3.x".) */
#ifndef CAIRN_BACKEND_CPU_ONEDNN_H
#define CAIRN_BACKEND_CPU_ONEDNN_H

#include "cairn/status.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stddef.h>

/* A memory descriptor: dimensions, data type and physical layout. Owned by a pool. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t onednn_layout;
#else
typedef const dnnl_memory_desc_t *onednn_layout;
#endif

/* A primitive with its descriptor and its bound arguments. Scratchpads are the library's own: it
 * makes them with the primitive, so that running allocates nothing. */
enum { ONEDNN_ARGS_MAX = 8 };
typedef struct {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arg[ONEDNN_ARGS_MAX];
    int arg_count;
} onednn_op;

/* The CPU engine and stream, and all objects made through them. */
typedef struct onednn_pool onednn_pool;

cairn_status onednn_pool_create(onednn_pool **pool);
void onednn_pool_destroy(onednn_pool *pool); /* NULL is allowed */

/* Turns a oneDNN status into ours, naming the call. */
cairn_status onednn_check(dnnl_status_t status, const char *what);

/* NULL, with the error set, when it cannot be made. dnnl_format_tag_any leaves the layout open. */
onednn_layout onednn_layout_create(onednn_pool *pool, int rank, const dnnl_dims_t dim,
                                   dnnl_data_type_t type, dnnl_format_tag_t tag);
size_t onednn_layout_bytes(onednn_layout layout);
bool onednn_layout_equal(onednn_layout a, onednn_layout b);
dnnl_data_type_t onednn_layout_type(onednn_layout layout);

/* A memory object over `data`, which the caller owns. */
cairn_status onednn_memory_create(onednn_pool *pool, dnnl_memory_t *memory, onednn_layout layout,
                                  void *data);

/* What a primitive's descriptor chose: dnnl_query_src_md, dnnl_query_weights_md, ... */
onednn_layout onednn_op_layout(const onednn_op *op, dnnl_query_t what);
const char *onednn_op_implementation(const onednn_op *op);

/* A window's geometry, square and symmetric. */
typedef struct {
    int kernel, stride, padding;
} onednn_window;

/* What is fused behind a convolution: first what dst held before is added, then ReLU or GELU. */
typedef struct {
    bool sum, relu, gelu;
} onednn_fused;

/* Descriptors: layouts with dnnl_format_tag_any are chosen by the library; a bias's is NULL where
 * there is none. Backward ones take the forward op as their hint. */
cairn_status onednn_conv_forward(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                 onednn_layout weights, onednn_layout bias, onednn_layout dst,
                                 onednn_window window, onednn_fused fused);
cairn_status onednn_conv_backward_data(onednn_pool *pool, onednn_op *op, onednn_layout diff_src,
                                       onednn_layout weights, onednn_layout diff_dst,
                                       onednn_window window, const onednn_op *forward);
cairn_status onednn_conv_backward_weights(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                          onednn_layout diff_weights, onednn_layout diff_bias,
                                          onednn_layout diff_dst, onednn_window window,
                                          const onednn_op *forward);
/* Max-pooling, which has a workspace, or average-pooling, which has none. */
cairn_status onednn_pool_forward(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                 onednn_layout dst, onednn_window window, bool average);
cairn_status onednn_pool_backward(onednn_pool *pool, onednn_op *op, onednn_layout diff_src,
                                  onednn_layout diff_dst, onednn_window window, bool average,
                                  const onednn_op *forward);
/* The fully connected layer: src [n,in], weights [out,in], dst [n,out]. */
cairn_status onednn_linear_forward(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                   onednn_layout weights, onednn_layout bias, onednn_layout dst);
cairn_status onednn_linear_backward_data(onednn_pool *pool, onednn_op *op, onednn_layout diff_src,
                                         onednn_layout weights, onednn_layout diff_dst,
                                         const onednn_op *forward);
cairn_status onednn_linear_backward_weights(onednn_pool *pool, onednn_op *op, onednn_layout src,
                                            onednn_layout diff_weights, onednn_layout diff_bias,
                                            onednn_layout diff_dst, const onednn_op *forward);
cairn_status onednn_reorder(onednn_pool *pool, onednn_op *op, onednn_layout from, onednn_layout to);

/* Binds a memory to an argument (DNNL_ARG_SRC, ...), then runs with all that were bound. */
void onednn_bind(onednn_op *op, int argument, dnnl_memory_t memory);
cairn_status onednn_run(onednn_pool *pool, const onednn_op *op);

#endif
