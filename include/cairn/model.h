/* Model builders: each makes a net. Adding a model is one file and one line of cairn/models.def. */
#ifndef CAIRN_MODEL_H
#define CAIRN_MODEL_H

#include "cairn/config.h"
#include "cairn/net.h"

/* The net that config->model names, for images of that shape. */
cairn_status cairn_model_build(cairn_net **net, const cairn_config *config, cairn_shape input,
                               int classes);

/* What `config` says of the net's parameter groups: decay, and the rate of normalisations' biases
 * (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024). Part of cairn_model_build. */
void cairn_net_configure_groups(cairn_net *net, const cairn_config *config);

/* SimpleCNN: for each width a block of conv 3x3 (padding 1) and ReLU, `depth` times, then max-pool
 * 2x2, named features.0, features.1, ...; then flatten, linear to `hidden`, ReLU, dropout, linear
 * to `classes`, named classifier.1 and classifier.4. */
enum { CAIRN_WIDTHS_MAX = 8 };
typedef struct {
    int widths[CAIRN_WIDTHS_MAX], blocks; /* the reference: {32, 64, 128}, 3 */
    int hidden;                           /* the reference: 256 */
    float dropout;                        /* the reference: 0.2 */
    int depth;                            /* 0 counts as 1, the reference's */
} cairn_simple_cnn;

cairn_status cairn_simple_cnn_build(cairn_net **net, const cairn_simple_cnn *options,
                                    cairn_shape input, int classes);

/* Residual networks of basic blocks (He et al., CVPR 2016) for small images: a 3x3 convolution
 * first, no pooling behind it; in each stage after the first the first block halves the image; a
 * block whose shape changes has a 1x1 projection as its shortcut (their option B). Names are
 * torchvision's: conv1, layer1.0.bn2, layer2.0.downsample.0, fc. */
enum { CAIRN_STAGES_MAX = 4 };
typedef struct {
    int widths[CAIRN_STAGES_MAX], blocks[CAIRN_STAGES_MAX]; /* of each stage */
    int stages;
} cairn_resnet;

cairn_status cairn_resnet_build(cairn_net **net, const cairn_resnet *options, cairn_shape input,
                                int classes);

/* Wide residual networks (Zagoruyko and Komodakis, BMVC 2016) of depth 6 * blocks + 4: three groups
 * of blocks that normalise before they convolve, 16, 32 and 64 times `widen` channels wide. Names:
 * conv1, block1.layer.0.bn1, block1.layer.0.convShortcut, bn1, fc. */
cairn_status cairn_wideresnet_build(cairn_net **net, int blocks, int widen, cairn_shape input,
                                    int classes);

/* A network made to be trained fast (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
 * arXiv:2404.00498, 2024): a frozen convolution that whitens patches of 2x2, for which
 * cairn/whiten.h makes the weight from the data; then for each width a group of two convolutions,
 * pooled by 2 behind the first; pooled by 3, and a linear layer, whose output is divided by 9.
 * Names: whiten, group1.conv1, group1.norm2, fc. */
typedef struct {
    int widths[CAIRN_WIDTHS_MAX], groups; /* the paper's: {64, 256, 256}, 3 */
    uint32_t whiten_bias_epochs;          /* the first convolution's bias is trained in: 3 */
} cairn_speed_cnn;

cairn_status cairn_speed_cnn_build(cairn_net **net, const cairn_speed_cnn *options,
                                   cairn_shape input, int classes);

#endif
