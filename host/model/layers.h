/* The layers that several models are built of, and how a builder ends. */
#ifndef CAIRN_MODEL_LAYERS_H
#define CAIRN_MODEL_LAYERS_H

#include "cairn/config.h"
#include "cairn/net.h"

/* What a line of cairn/models.def names: the net that the configuration describes. */
typedef cairn_status cairn_model_builder(cairn_net **net, const cairn_config *config,
                                         cairn_shape input, int classes);
#define MODEL(name, builder, widths, help) cairn_model_builder builder;
#include "cairn/models.def"
#undef MODEL

/* model.widths, or the model's own; returns their number. `widths` [CAIRN_WIDTHS_MAX] */
int read_widths(const cairn_config *config, int *widths);

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
