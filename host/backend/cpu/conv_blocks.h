/* For which convolutions the loops of blocks.h are, and what those by stem.h and winograd.h have in
 * common as parts of a plan: the pooling that they do as well. */
#ifndef CAIRN_BACKEND_CPU_CONV_BLOCKS_H
#define CAIRN_BACKEND_CPU_CONV_BLOCKS_H

#include "cpu_plan.h"
#include "loops/stem.h"
#include "loops/winograd.h"

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
bool plan_pools_2x2(const cpu_plan *plan, const cpu_stage *stage);
cairn_status plan_pooled(cpu_plan *plan, cpu_stage *stage, tensor *made);
cairn_status plan_unpool(cpu_plan *plan, const cpu_stage *stage, const tensor *pooled,
                         tensor *gradient);

#endif
