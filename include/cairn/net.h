/* A net: the static description of a model. Ops in order, each with its input, inferred shapes, and
 * parameters under PyTorch's state-dict names. A net owns no tensor; backends compile it into
 * executors. Layouts at every public boundary are PyTorch's: activations [n,c,h,w], convolution
 * weights [out,in,kh,kw], linear weights [out,in], row-major. */
#ifndef CAIRN_NET_H
#define CAIRN_NET_H

#include "cairn/status.h"

#include <stddef.h>
#include <stdint.h>

enum { CAIRN_NET_OPS_MAX = 256, CAIRN_NET_PARAMETERS_MAX = 256 };

typedef enum {
    CAIRN_OP_CONV2D,  /* cross-correlation with bias, zero padding */
    CAIRN_OP_RELU,    /* max(x, 0); the gradient at 0 is 0 */
    CAIRN_OP_MAXPOOL, /* window `kernel`, no padding; ties go to the first in row-major order */
    CAIRN_OP_FLATTEN, /* [c,h,w] -> [c*h*w,1,1], in C,H,W order */
    CAIRN_OP_LINEAR,  /* y = W x + b on [features,1,1] */
    CAIRN_OP_DROPOUT, /* training: drop with probability p (rng.h's rule), scale by 1/(1-p) */
} cairn_op_kind;

/* The shape of one sample's activation. Flat features are [c,1,1]. */
typedef struct {
    int c, h, w;
} cairn_shape;

typedef struct {
    cairn_op_kind kind;
    char name[48]; /* PyTorch's module path: "features.0" */
    int input;     /* ordinal of the op that feeds it, or CAIRN_NET_INPUT */
    cairn_shape in, out;
    int kernel, stride, padding; /* conv2d, maxpool */
    float p;                     /* dropout */
    int weight, bias;            /* conv2d, linear: parameters' ordinals; else -1 */
} cairn_op;

enum { CAIRN_NET_INPUT = -1 };

/* A parameter; its first values are uniform in +-bound: element i of parameter k takes
 * bound * (2 * unit(word i % 4 of (seed, INIT, 0, k, i / 4)) - 1). */
typedef struct {
    char name[64]; /* "features.0.weight" */
    int rank, dim[4];
    size_t count;
    float bound; /* 1/sqrt(fan_in), PyTorch's default for both layer kinds */
} cairn_parameter;

typedef struct {
    cairn_shape input;
    int op_count, parameter_count;
    cairn_op op[CAIRN_NET_OPS_MAX];
    cairn_parameter parameter[CAIRN_NET_PARAMETERS_MAX];
} cairn_net;

cairn_status cairn_net_create(cairn_net **net, cairn_shape input);
void cairn_net_destroy(cairn_net *net); /* NULL is allowed */

/* Each appends an op that reads the last one (or the input) and refuses impossible shapes. The
 * output of the last op, flattened, is the logits. */
cairn_status cairn_net_conv2d(cairn_net *net, const char *name, int out_channels, int kernel,
                              int stride, int padding);
cairn_status cairn_net_relu(cairn_net *net, const char *name);
cairn_status cairn_net_maxpool(cairn_net *net, const char *name, int kernel, int stride);
cairn_status cairn_net_flatten(cairn_net *net, const char *name);
cairn_status cairn_net_linear(cairn_net *net, const char *name, int out_features);
cairn_status cairn_net_dropout(cairn_net *net, const char *name, float p);

size_t cairn_shape_count(cairn_shape shape); /* c*h*w */
int cairn_net_classes(const cairn_net *net); /* logits a sample */
size_t cairn_net_parameter_total(const cairn_net *net);
const char *cairn_op_kind_name(cairn_op_kind kind);

/* Multiply-adds of one sample counted as 2: forward, or forward and backward (no data gradient for
 * an op that reads the net's input). */
double cairn_op_flops(const cairn_op *op, int training);
double cairn_net_flops(const cairn_net *net, int training);

/* Fills values[count] with the parameter's initial values. */
void cairn_parameter_initialise(const cairn_net *net, int ordinal, uint64_t seed, float *values);

#endif
