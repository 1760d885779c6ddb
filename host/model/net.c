/* Building nets: appends ops, infers shapes, names parameters. Everything that can be known before
 * a backend is chosen is decided here. */
#include "cairn/net.h"

#include "cairn/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

cairn_status cairn_net_create(cairn_net **net, cairn_shape input) {
    if (input.c < 1 || input.h < 1 || input.w < 1)
        return cairn_error_set(CAIRN_BAD_INPUT, "a net cannot read images of %dx%dx%d", input.c,
                               input.h, input.w);
    cairn_net *made = calloc(1, sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a net");
    made->input = input;
    made->next = CAIRN_NET_INPUT;
    *net = made;
    return CAIRN_OK;
}

void cairn_net_destroy(cairn_net *net) {
    free(net);
}

size_t cairn_shape_count(cairn_shape shape) {
    return (size_t)shape.c * (size_t)shape.h * (size_t)shape.w;
}

static cairn_shape shape_of(const cairn_net *net, int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? net->input : net->op[ordinal].out;
}

/* Kinds of ops ----------------------------------------------------------------------------------
 */

/* The number of places of a window of `kernel` along `size` padded pixels; 0 when it does not fit.
 */
static int window_count(int size, int kernel, int stride, int padding) {
    int room = size + 2 * padding - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

static cairn_status slide_window(cairn_op *op) {
    if (op->kernel < 1 || op->stride < 1 || op->padding < 0 || op->padding >= op->kernel)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: kernel %d, stride %d, padding %d do not fit",
                               op->name, op->kernel, op->stride, op->padding);
    op->out.h = window_count(op->in.h, op->kernel, op->stride, op->padding);
    op->out.w = window_count(op->in.w, op->kernel, op->stride, op->padding);
    if (op->out.h < 1 || op->out.w < 1)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: a %dx%d window does not fit into its input of %dx%d", op->name,
                               op->kernel, op->kernel, op->in.h, op->in.w);
    return CAIRN_OK;
}

static cairn_status infer_conv2d(cairn_op *op) {
    cairn_status status = slide_window(op);
    if (!status && op->out.c < 1)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: %d output channels", op->name, op->out.c);
    return status;
}

static double conv2d_flops(const cairn_op *op) {
    return 2.0 * (double)cairn_shape_count(op->out) * op->in.c * op->kernel * op->kernel;
}

static cairn_status infer_pool(cairn_op *op) {
    op->out.c = op->in.c;
    return slide_window(op);
}

static cairn_status infer_flatten(cairn_op *op) {
    op->out = (cairn_shape){(int)cairn_shape_count(op->in), 1, 1};
    return CAIRN_OK;
}

static cairn_status infer_linear(cairn_op *op) {
    if (op->in.h != 1 || op->in.w != 1 || op->out.c < 1)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: linear wants flat features in and at least one out; it has "
                               "%dx%dx%d and %d",
                               op->name, op->in.c, op->in.h, op->in.w, op->out.c);
    op->out.h = op->out.w = 1;
    return CAIRN_OK;
}

static double linear_flops(const cairn_op *op) {
    return 2.0 * op->in.c * op->out.c;
}

static cairn_status infer_dropout(cairn_op *op) {
    op->out = op->in;
    if (!(op->p >= 0.0f && op->p < 1.0f))
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: dropout %g is outside [0, 1)", op->name,
                               (double)op->p);
    return CAIRN_OK;
}

/* What is known of a kind before a backend is chosen. */
typedef struct {
    const char *name;
    /* Sets `out` by `in` and the fields of the op, of which out.c is one where a kind has any
     * number of channels; refuses what does not fit. NULL: `out` is `in`. */
    cairn_status (*infer)(cairn_op *op);
    double (*flops)(const cairn_op *op); /* of one sample, forward; NULL: not worth counting */
    bool view;                           /* the output is the input in another shape */
} op_description;

static const op_description kinds[CAIRN_OP_KINDS] = {
    [CAIRN_OP_CONV2D] = {.name = "conv2d", .infer = infer_conv2d, .flops = conv2d_flops},
    [CAIRN_OP_RELU] = {.name = "relu"},
    [CAIRN_OP_MAXPOOL] = {.name = "maxpool", .infer = infer_pool},
    [CAIRN_OP_FLATTEN] = {.name = "flatten", .infer = infer_flatten, .view = true},
    [CAIRN_OP_LINEAR] = {.name = "linear", .infer = infer_linear, .flops = linear_flops},
    [CAIRN_OP_DROPOUT] = {.name = "dropout", .infer = infer_dropout},
    [CAIRN_OP_BATCHNORM] = {.name = "batchnorm"},
    [CAIRN_OP_ADD] = {.name = "add"},
    [CAIRN_OP_AVGPOOL] = {.name = "avgpool", .infer = infer_pool},
    [CAIRN_OP_GELU] = {.name = "gelu"},
    [CAIRN_OP_SILU] = {.name = "silu"},
};

const char *cairn_op_kind_name(cairn_op_kind kind) {
    return kinds[kind].name;
}

bool cairn_op_is_view(const cairn_op *op) {
    return kinds[op->kind].view;
}

double cairn_op_flops(const cairn_op *op, int training) {
    double passes = !training ? 1 : op->input == CAIRN_NET_INPUT ? 2 : 3;
    return kinds[op->kind].flops ? passes * kinds[op->kind].flops(op) : 0;
}

/* Appending -------------------------------------------------------------------------------------
 */

/* A new op at the end, with the fields of `like`, reading net->next; NULL when the table is full or
 * the op refuses its input. */
static cairn_op *append(cairn_net *net, const char *name, cairn_op like) {
    if (net->op_count == CAIRN_NET_OPS_MAX) {
        cairn_error_set(CAIRN_BAD_INPUT, "%s: a net has at most %d ops", name, CAIRN_NET_OPS_MAX);
        return NULL;
    }
    cairn_op *op = &net->op[net->op_count];
    *op = like;
    op->input = net->next;
    op->other = CAIRN_NET_NONE;
    op->weight = op->bias = op->mean = op->variance = -1;
    op->in = shape_of(net, net->next);
    snprintf(op->name, sizeof op->name, "%s", name);
    net->next = net->op_count++;
    if (!kinds[op->kind].infer)
        op->out = op->in;
    else if (kinds[op->kind].infer(op))
        return NULL;
    return op;
}

/* An op without parameters. */
static cairn_status append_plain(cairn_net *net, const char *name, cairn_op like) {
    return append(net, name, like) ? CAIRN_OK : CAIRN_BAD_INPUT;
}

/* A new parameter "<layer>.<role>", like `model` in all but name and shape; its ordinal into
 * *ordinal. */
static cairn_status add_parameter(cairn_net *net, const char *layer, const char *role, int rank,
                                  const int *dim, cairn_parameter model, int *ordinal) {
    if (net->parameter_count == CAIRN_NET_PARAMETERS_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: a net has at most %d parameters", layer,
                               CAIRN_NET_PARAMETERS_MAX);
    cairn_parameter *parameter = &net->parameter[net->parameter_count];
    *parameter = model;
    parameter->rank = rank;
    parameter->count = 1;
    snprintf(parameter->name, sizeof parameter->name, "%s.%s", layer, role);
    for (int i = 0; i < rank; i++) {
        parameter->dim[i] = dim[i];
        parameter->count *= (size_t)dim[i];
    }
    *ordinal = net->parameter_count++;
    return CAIRN_OK;
}

static int fan_in_of(int rank, const int *dim) {
    int fan_in = 1;
    for (int i = 1; i < rank; i++)
        fan_in *= dim[i];
    return fan_in;
}

/* Weight [out, ...] and, where wanted, bias [out]. */
static cairn_status add_weight_and_bias(cairn_net *net, cairn_op *op, const char *layer, int rank,
                                        const int *dim, bool biased) {
    cairn_parameter model = {.initial = CAIRN_INITIAL_UNIFORM,
                             .bound = (float)(1.0 / sqrt((double)fan_in_of(rank, dim))),
                             .group = cairn_parameter_group_default()};
    cairn_status status = add_parameter(net, layer, "weight", rank, dim, model, &op->weight);
    if (!status && biased)
        status = add_parameter(net, layer, "bias", 1, dim, model, &op->bias);
    return status;
}

static cairn_status conv2d(cairn_net *net, const char *name, int out_channels, int kernel,
                           int stride, int padding, bool biased) {
    cairn_op *op = append(net, name,
                          (cairn_op){.kind = CAIRN_OP_CONV2D,
                                     .out.c = out_channels,
                                     .kernel = kernel,
                                     .stride = stride,
                                     .padding = padding});
    if (!op)
        return CAIRN_BAD_INPUT;
    int dim[4] = {out_channels, op->in.c, kernel, kernel};
    return add_weight_and_bias(net, op, name, 4, dim, biased);
}

cairn_status cairn_net_conv2d(cairn_net *net, const char *name, int out_channels, int kernel,
                              int stride, int padding) {
    return conv2d(net, name, out_channels, kernel, stride, padding, true);
}

cairn_status cairn_net_conv2d_unbiased(cairn_net *net, const char *name, int out_channels,
                                       int kernel, int stride, int padding) {
    return conv2d(net, name, out_channels, kernel, stride, padding, false);
}

cairn_status cairn_net_relu(cairn_net *net, const char *name) {
    return append_plain(net, name, (cairn_op){.kind = CAIRN_OP_RELU});
}

cairn_status cairn_net_gelu(cairn_net *net, const char *name) {
    return append_plain(net, name, (cairn_op){.kind = CAIRN_OP_GELU});
}

cairn_status cairn_net_silu(cairn_net *net, const char *name) {
    return append_plain(net, name, (cairn_op){.kind = CAIRN_OP_SILU});
}

cairn_status cairn_net_maxpool(cairn_net *net, const char *name, int kernel, int stride) {
    return append_plain(net, name,
                        (cairn_op){.kind = CAIRN_OP_MAXPOOL, .kernel = kernel, .stride = stride});
}

cairn_status cairn_net_avgpool(cairn_net *net, const char *name, int kernel, int stride) {
    return append_plain(net, name,
                        (cairn_op){.kind = CAIRN_OP_AVGPOOL, .kernel = kernel, .stride = stride});
}

cairn_status cairn_net_flatten(cairn_net *net, const char *name) {
    return append_plain(net, name, (cairn_op){.kind = CAIRN_OP_FLATTEN});
}

cairn_status cairn_net_dropout(cairn_net *net, const char *name, float p) {
    return append_plain(net, name, (cairn_op){.kind = CAIRN_OP_DROPOUT, .p = p});
}

static cairn_status linear(cairn_net *net, const char *name, int out_features, bool biased) {
    cairn_op *op =
        append(net, name, (cairn_op){.kind = CAIRN_OP_LINEAR, .out.c = out_features, .scale = 1});
    if (!op)
        return CAIRN_BAD_INPUT;
    int dim[2] = {out_features, op->in.c};
    return add_weight_and_bias(net, op, name, 2, dim, biased);
}

cairn_status cairn_net_linear(cairn_net *net, const char *name, int out_features) {
    return linear(net, name, out_features, true);
}

cairn_status cairn_net_linear_unbiased(cairn_net *net, const char *name, int out_features) {
    return linear(net, name, out_features, false);
}

cairn_status cairn_net_batchnorm(cairn_net *net, const char *name) {
    cairn_op *op = append(
        net, name, (cairn_op){.kind = CAIRN_OP_BATCHNORM, .epsilon = 1e-5f, .momentum = 0.1f});
    if (!op)
        return CAIRN_BAD_INPUT;
    const int *dim = &op->in.c;
    const cairn_parameter_group trained = cairn_parameter_group_default();
    cairn_parameter_group frozen = trained;
    frozen.frozen = true;
    const cairn_parameter scale = {.initial = CAIRN_INITIAL_ONES, .group = trained};
    const cairn_parameter shift = {.initial = CAIRN_INITIAL_ZEROS, .group = trained};
    const cairn_parameter mean = {.initial = CAIRN_INITIAL_ZEROS, .group = frozen};
    const cairn_parameter variance = {.initial = CAIRN_INITIAL_ONES, .group = frozen};
    cairn_status status = add_parameter(net, name, "weight", 1, dim, scale, &op->weight);
    if (!status)
        status = add_parameter(net, name, "bias", 1, dim, shift, &op->bias);
    if (!status)
        status = add_parameter(net, name, "running_mean", 1, dim, mean, &op->mean);
    if (!status)
        status = add_parameter(net, name, "running_var", 1, dim, variance, &op->variance);
    return status;
}

cairn_status cairn_net_add(cairn_net *net, const char *name, int other) {
    cairn_op *op = append(net, name, (cairn_op){.kind = CAIRN_OP_ADD});
    if (!op)
        return CAIRN_BAD_INPUT;
    cairn_shape shape = shape_of(net, other);
    op->other = other;
    if (op->in.c != shape.c || op->in.h != shape.h || op->in.w != shape.w)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: cannot add %dx%dx%d and %dx%dx%d", name,
                               op->in.c, op->in.h, op->in.w, shape.c, shape.h, shape.w);
    return CAIRN_OK;
}

int cairn_net_last(const cairn_net *net) {
    return net->op_count ? net->op_count - 1 : CAIRN_NET_INPUT;
}

void cairn_net_branch(cairn_net *net, int ordinal) {
    net->next = ordinal;
}

void cairn_net_kaiming(cairn_net *net) {
    cairn_parameter *weight = &net->parameter[net->op[net->op_count - 1].weight];
    weight->bound = (float)sqrt(6.0 / (double)fan_in_of(weight->rank, weight->dim));
}

void cairn_net_identity(cairn_net *net) {
    net->parameter[net->op[net->op_count - 1].weight].initial = CAIRN_INITIAL_IDENTITY;
}

void cairn_net_scale(cairn_net *net, float scale) {
    net->op[net->op_count - 1].scale = scale;
}

int cairn_net_classes(const cairn_net *net) {
    return net->op_count ? (int)cairn_shape_count(net->op[net->op_count - 1].out) : 0;
}

size_t cairn_net_parameter_total(const cairn_net *net) {
    size_t total = 0;
    for (int k = 0; k < net->parameter_count; k++)
        total += net->parameter[k].group.frozen ? 0 : net->parameter[k].count;
    return total;
}

double cairn_net_flops(const cairn_net *net, int training) {
    double total = 0;
    for (int i = 0; i < net->op_count; i++)
        total += cairn_op_flops(&net->op[i], training);
    return total;
}

/* The filters [out,in,k,k] that there are inputs for become the identity. */
static void set_identity(const cairn_parameter *filters, float *values) {
    const int outs = filters->dim[0], ins = filters->dim[1], kernel = filters->dim[2];
    const int area = kernel * kernel, middle = kernel / 2 * (kernel + 1);
    for (int o = 0; o < outs && o < ins; o++)
        for (int i = 0; i < ins * area; i++)
            values[o * ins * area + i] = i == o * area + middle ? 1.0f : 0.0f;
}

void cairn_parameter_initialise(const cairn_net *net, int ordinal, uint64_t seed, float *values) {
    const cairn_parameter *parameter = &net->parameter[ordinal];
    const cairn_initial initial = parameter->initial;
    if (initial == CAIRN_INITIAL_ONES || initial == CAIRN_INITIAL_ZEROS) {
        for (size_t i = 0; i < parameter->count; i++)
            values[i] = initial == CAIRN_INITIAL_ONES ? 1.0f : 0.0f;
        return;
    }
    for (size_t i = 0; i < parameter->count; i++) {
        cairn_rng_block block = cairn_rng(seed, CAIRN_RNG_INIT, 0, (uint32_t)ordinal, i / 4);
        values[i] = parameter->bound * (2.0f * cairn_rng_unit(block.word[i % 4]) - 1.0f);
    }
    if (initial == CAIRN_INITIAL_IDENTITY)
        set_identity(parameter, values);
}
