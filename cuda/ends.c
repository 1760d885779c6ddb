/* Both ends of a plan's passes: gathering the batch, and the loss. */
#include "ends.h"

#include "cuda_executor.h"
#include "cuda_plan.h"

/* The batch -------------------------------------------------------------------------------------*/

/* Whether more than the crop happens to its samples. */
static bool augments(const cuda_plan *plan) {
    const cairn_executor_options *options = &plan->executor->base.options;
    return plan->graph.training ? !cairn_augment_is_plain(&options->augment)
                                : options->tta != CAIRN_TTA_NONE;
}

static cairn_status run_gather(const cuda_plan *plan, const cuda_task *task) {
    cuda_executor *executor = plan->executor;
    const device_split *split = &executor->splits[plan->source];
    cuda_gather gather = {.images = split->images,
                          .labels = split->labels,
                          .table = executor->table,
                          .seed = executor->base.options.seed,
                          .crop_padding =
                              plan->graph.training ? executor->base.options.crop_padding : 0,
                          .by_index = plan->graph.training,
                          .augmenter = augments(plan) ? executor->augmenter : NULL};
    kernel_gather(executor->stream, &gather, executor->ring.device, executor->state,
                  task->out.shape, task->out.data, plan->targets);
    return CAIRN_OK;
}

cairn_status cuda_plan_add_batch(cuda_plan *plan) {
    const cairn_net *net = plan->graph.net;
    const size_t count = (size_t)plan->count;
    activation *batch = &plan->batch.value;
    *batch = cuda_plan_output(plan, net->input);
    cuda_plan_hold(plan, batch, plan->graph.input.readers);
    plan->targets = (cuda_targets){.label = cuda_plan_keep(plan, count)};
    if (plan->graph.training && cairn_augment_mixes(&plan->executor->base.options.augment)) {
        plan->targets.other = cuda_plan_keep(plan, count);
        plan->targets.share = cuda_plan_keep(plan, count * sizeof(float));
    }
    return cuda_plan_add(plan, NULL, "gather", run_gather, NULL, batch) ? CAIRN_OK : CAIRN_FAILED;
}

/* The loss --------------------------------------------------------------------------------------*/

static cairn_status run_loss(const cuda_plan *plan, const cuda_task *task) {
    cuda_executor *executor = plan->executor;
    kernel_cross_entropy(executor->stream, plan->count, cairn_net_classes(executor->base.net),
                         plan->logits_pitch, plan->logits, plan->targets,
                         plan->graph.training ? executor->base.options.label_smoothing : 0,
                         plan->type, plan->graph.training ? task->out.data : NULL, executor->state);
    return CAIRN_OK;
}

static cairn_status run_transpose(const cuda_plan *plan, const cuda_task *task) {
    kernel_transpose(plan->executor->stream, task->in.shape, task->out.shape, task->in.data,
                     task->out.data);
    return CAIRN_OK;
}

static cairn_status run_to_float32(const cuda_plan *plan, const cuda_task *task) {
    kernel_to_float32(plan->executor->stream, (size_t)plan->count * tensor_features(task->in.shape),
                      task->in.data, task->out.data);
    return CAIRN_OK;
}

static bool are_maps(const activation *last) {
    return last->shape.layout == CUDA_NHWC && last->shape.h * last->shape.w > 1;
}

/* The logits: the last output as row-major float32. A net that ends in a linear layer has them
 * already; one that ends in maps or in bf16 is converted. */
static cairn_status add_logits(cuda_plan *plan, const activation *last) {
    cuda_tensor rows = last->shape;
    activation logits = *last;
    if (are_maps(last)) {
        rows.layout = CUDA_NCHW;
        rows.pitch = rows.c;
        logits = cuda_plan_place(plan, rows, KEPT);
        if (!cuda_plan_add(plan, NULL, "logits by class", run_transpose, last, &logits))
            return CAIRN_FAILED;
    }
    if (rows.type == CUDA_BF16) {
        activation rounded = logits;
        rows.type = CUDA_F32;
        logits = cuda_plan_place(plan, rows, KEPT);
        if (!cuda_plan_add(plan, NULL, "logits to float32", run_to_float32, &rounded, &logits))
            return CAIRN_FAILED;
    }
    plan->logits = logits.data;
    plan->logits_pitch = (int)tensor_features(rows);
    return CAIRN_OK;
}

/* The loss; in training, the gradient of the last output in its own layout. */
static cairn_status add_loss(cuda_plan *plan, const activation *last) {
    const int ordinal = plan->graph.net->op_count - 1;
    activation made = {0}, gradient;
    if (plan->graph.training) {
        cuda_tensor rows = last->shape;
        if (are_maps(last)) {
            rows.layout = CUDA_NCHW;
            rows.pitch = rows.c;
        }
        rows.type = plan->type;
        made = cuda_plan_gradient(plan, rows);
    }
    if (!cuda_plan_add(plan, NULL, "loss", run_loss, NULL, &made))
        return CAIRN_FAILED;
    if (!plan->graph.training)
        return CAIRN_OK;
    if (!are_maps(last))
        return cuda_plan_give(plan, NULL, ordinal, &made);
    gradient = cuda_plan_gradient(plan, last->shape);
    return cuda_plan_add(plan, NULL, "logits' gradient by place", run_transpose, &made, &gradient)
               ? cuda_plan_give(plan, NULL, ordinal, &gradient)
               : CAIRN_FAILED;
}

cairn_status cuda_plan_add_loss(cuda_plan *plan) {
    const activation *last = &plan->node[plan->graph.net->op_count - 1].value;
    cairn_status status = add_logits(plan, last);
    return status ? status : add_loss(plan, last);
}
