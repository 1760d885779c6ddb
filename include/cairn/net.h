/* A net: the static description of a model. Ops in order, each with its inputs, inferred shapes,
 * and parameters under PyTorch's state-dict names. A net owns no tensor; backends compile it into
 * executors. Layouts at every public boundary are PyTorch's: activations [n,c,h,w], convolution
 * weights [out,in,kh,kw], linear weights [out,in], row-major. */
#ifndef CAIRN_NET_H
#define CAIRN_NET_H

#include "cairn/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CAIRN_NET_OPS_MAX = 256, CAIRN_NET_PARAMETERS_MAX = 512 };

typedef enum {
    CAIRN_OP_CONV2D,    /* cross-correlation, zero padding; with bias or without */
    CAIRN_OP_RELU,      /* max(x, 0); the gradient at 0 is 0 */
    CAIRN_OP_MAXPOOL,   /* window `kernel`, no padding; ties go to the first in row-major order */
    CAIRN_OP_FLATTEN,   /* [c,h,w] -> [c*h*w,1,1], in C,H,W order */
    CAIRN_OP_LINEAR,    /* y = scale W x + b on [features,1,1]; with bias or without */
    CAIRN_OP_DROPOUT,   /* training: drop with probability p (rng.h's rule), scale by 1/(1-p) */
    CAIRN_OP_BATCHNORM, /* (x - mean) / sqrt(variance + epsilon) * weight + bias by channel */
    CAIRN_OP_ADD,       /* the sum of `input` and `other`, of one shape */
    CAIRN_OP_AVGPOOL,   /* the mean of a window `kernel`, no padding */
    CAIRN_OP_GELU,      /* x/2 (1 + erf(x / sqrt(2))): the exact one */
    CAIRN_OP_SILU,      /* x / (1 + exp(-x)) */
    CAIRN_OP_KINDS
} cairn_op_kind;

/* Batch normalisation (Ioffe and Szegedy, ICML 2015), as PyTorch's BatchNorm2d does it. In training
 * mean and variance are the batch's, over the m = n*h*w values of a channel, the variance the sum
 * of squares over m; and the running statistics move by `momentum` towards them, the running
 * variance towards the sum of squares over m - 1 (over 1, where m is 1). In evaluation the running
 * statistics take their place. Between steps the running statistics are float32 values, like all
 * parameters. */

/* The shape of one sample's activation. Flat features are [c,1,1]. */
typedef struct {
    int c, h, w;
} cairn_shape;

typedef struct {
    cairn_op_kind kind;
    char name[48]; /* PyTorch's module path: "features.0" */
    int input;     /* ordinal of the op that feeds it, or CAIRN_NET_INPUT */
    int other;     /* add: the second that does, CAIRN_NET_INPUT too; else CAIRN_NET_NONE */
    cairn_shape in, out;
    int kernel, stride, padding; /* conv2d, maxpool, avgpool (the last two: no padding) */
    float p;                     /* dropout */
    float scale;                 /* linear: of the product alone, 1 as a rule */
    float epsilon, momentum;     /* batchnorm */
    int weight, bias;            /* conv2d, linear, batchnorm: parameters' ordinals; else -1 */
    int mean, variance;          /* batchnorm: the running statistics' ordinals; else -1 */
} cairn_op;

enum { CAIRN_NET_INPUT = -1, CAIRN_NET_NONE = -2 };

/* A parameter's first values. Uniform: in +-bound, element i of parameter k takes
 * bound * (2 * unit(word i % 4 of (seed, INIT, 0, k, i / 4)) - 1). */
typedef enum {
    CAIRN_INITIAL_UNIFORM,
    CAIRN_INITIAL_ONES,
    CAIRN_INITIAL_ZEROS,
    CAIRN_INITIAL_IDENTITY,  /* uniform; but output o of a convolution's first min(in, out) passes
                                input o on as it is (torch.nn.init.dirac_) */
    CAIRN_INITIAL_WHITENING, /* what cairn/whiten.h makes of the data; until then uniform */
} cairn_initial;

/* How the optimiser treats a parameter, as torch.optim's param_groups say it; parameters with equal
 * ones are a group. Filled by the model's builder and by the configuration (cairn/model.h). */
typedef struct {
    double lr_scale; /* the learning rate is multiplied by it */
    double decay;    /* weight decay. Divided by lr_scale where it joins the gradient, so that what
                        it takes in a step is the same at any scale */
    bool frozen;     /* running statistics, fixed weights: values stay, gradient and optimiser state
                        stay zero */
    uint32_t trained_until_epoch; /* from this epoch on it is as if frozen, but for gradient and
                                     state, which stay what they are or may be anything */
} cairn_parameter_group;

/* An ordinary parameter's: scale 1, no decay, trained in all epochs. */
cairn_parameter_group cairn_parameter_group_default(void);
bool cairn_parameter_group_equal(const cairn_parameter_group *a, const cairn_parameter_group *b);
bool cairn_parameter_group_trains(const cairn_parameter_group *group, uint32_t epoch);

typedef struct {
    char name[64]; /* "features.0.weight" */
    int rank, dim[4];
    size_t count;
    cairn_initial initial;
    float bound; /* of uniform: 1/sqrt(fan_in) is PyTorch's default for conv2d and linear */
    cairn_parameter_group group;
} cairn_parameter;

typedef struct {
    cairn_shape input;
    int op_count, parameter_count;
    int next; /* what the next op will read: the last op, or what cairn_net_branch said */
    cairn_op op[CAIRN_NET_OPS_MAX];
    cairn_parameter parameter[CAIRN_NET_PARAMETERS_MAX];
} cairn_net;

cairn_status cairn_net_create(cairn_net **net, cairn_shape input);
void cairn_net_destroy(cairn_net *net); /* NULL is allowed */

/* Each appends an op that reads the last one (or the input), but for what cairn_net_branch and
 * cairn_net_add say, and refuses impossible shapes. The output of the last op, flattened, is the
 * logits; every other op should have a reader. */
cairn_status cairn_net_conv2d(cairn_net *net, const char *name, int out_channels, int kernel,
                              int stride, int padding);
cairn_status cairn_net_conv2d_unbiased(cairn_net *net, const char *name, int out_channels,
                                       int kernel, int stride, int padding);
cairn_status cairn_net_relu(cairn_net *net, const char *name);
cairn_status cairn_net_maxpool(cairn_net *net, const char *name, int kernel, int stride);
cairn_status cairn_net_flatten(cairn_net *net, const char *name);
cairn_status cairn_net_linear(cairn_net *net, const char *name, int out_features);
cairn_status cairn_net_linear_unbiased(cairn_net *net, const char *name, int out_features);
cairn_status cairn_net_dropout(cairn_net *net, const char *name, float p);
/* Epsilon 1e-5, momentum 0.1, weight 1, bias 0, mean 0, variance 1, as PyTorch begins. */
cairn_status cairn_net_batchnorm(cairn_net *net, const char *name);
cairn_status cairn_net_avgpool(cairn_net *net, const char *name, int kernel, int stride);
cairn_status cairn_net_gelu(cairn_net *net, const char *name);
cairn_status cairn_net_silu(cairn_net *net, const char *name);
cairn_status cairn_net_add(cairn_net *net, const char *name, int other);

/* The ordinal of the last op (CAIRN_NET_INPUT: there is none yet), to come back to. */
int cairn_net_last(const cairn_net *net);

/* The next op reads that op (or the input), not the last one. */
void cairn_net_branch(cairn_net *net, int ordinal);

/* The last op's weight starts uniform with a variance of 2/fan_in, which keeps the scale of
 * activations through a ReLU (He et al., ICCV 2015). */
void cairn_net_kaiming(cairn_net *net);

/* The last op's weight starts as the identity, as far as it can. */
void cairn_net_identity(cairn_net *net);

/* The last op, a linear one, scales its product. */
void cairn_net_scale(cairn_net *net, float scale);

size_t cairn_shape_count(cairn_shape shape);            /* c*h*w */
int cairn_net_classes(const cairn_net *net);            /* logits a sample */
size_t cairn_net_parameter_total(const cairn_net *net); /* values that are trained */

/* The first of the epochs that train the same parameters as `epoch`, itself and those between. */
uint32_t cairn_net_phase(const cairn_net *net, uint32_t epoch);

const char *cairn_op_kind_name(cairn_op_kind kind);

/* Whether its output is its input in another shape, as flatten's is. */
bool cairn_op_is_view(const cairn_op *op);

/* Multiply-adds of one sample counted as 2: forward, or forward and backward (no data gradient for
 * an op that reads the net's input). */
double cairn_op_flops(const cairn_op *op, int training);
double cairn_net_flops(const cairn_net *net, int training);

/* Fills values[count] with the parameter's initial values. */
void cairn_parameter_initialise(const cairn_net *net, int ordinal, uint64_t seed, float *values);

#endif
