/* Model builders: each makes a net. Adding a model is one file and one line in host/model/model.c.
 */
#ifndef CAIRN_MODEL_H
#define CAIRN_MODEL_H

#include "cairn/config.h"
#include "cairn/net.h"

/* The net that config->model names, for images of that shape. */
cairn_status cairn_model_build(cairn_net **net, const cairn_config *config, cairn_shape input,
                               int classes);

/* SimpleCNN: for each width a block of conv 3x3 (padding 1), ReLU, max-pool 2x2, named
 * features.0, features.3, ...; then flatten, linear to `hidden`, ReLU, dropout, linear to
 * `classes`, named classifier.1 and classifier.4. */
typedef struct {
    int widths[4], blocks; /* the reference: {32, 64, 128}, 3 */
    int hidden;            /* the reference: 256 */
    float dropout;         /* the reference: 0.2 */
} cairn_simple_cnn;

cairn_status cairn_simple_cnn_build(cairn_net **net, const cairn_simple_cnn *options,
                                    cairn_shape input, int classes);

#endif
