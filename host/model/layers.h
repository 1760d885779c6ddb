/* The layers that several models are built of, and how a builder ends. */
#ifndef CAIRN_MODEL_LAYERS_H
#define CAIRN_MODEL_LAYERS_H

#include "cairn/net.h"

/* "<prefix>.<part>" */
typedef struct {
    char text[48];
} label;
label label_of(const char *prefix, const char *part);

/* A convolution without bias that keeps the image's size but for its stride, its weight initialised
 * for the ReLU behind: a batch normalisation follows, and has a bias. */
cairn_status add_conv(cairn_net *net, const char *name, int width, int kernel, int stride);

/* The mean over the image, and the linear layer "fc". */
cairn_status add_head(cairn_net *net, int classes);

/* The end of a builder: *net becomes `made`, or with a bad status `made` is destroyed. */
cairn_status hand_over(cairn_net **net, cairn_net *made, cairn_status status);

#endif
