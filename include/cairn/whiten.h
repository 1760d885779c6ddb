/* First weights that come from the data: a convolution whose outputs are uncorrelated and of like
 * size over the patches of the training images, each with its negative (Jordan, arXiv:2404.00498,
 * 2024). */
#ifndef CAIRN_WHITEN_H
#define CAIRN_WHITEN_H

#include "cairn/dataset.h"
#include "cairn/executor.h"

enum {
    CAIRN_WHITEN_IMAGES = 5000, /* the first so many are looked at */
    CAIRN_WHITEN_MAX = 64,      /* values in a patch */
};

/* weights [2 d, c, kernel, kernel], d = c * kernel^2 <= CAIRN_WHITEN_MAX: the eigenvectors of the
 * second moments of the images' patches, normalised by mean and std of channel c % 4, over the
 * square root of their eigenvalue + 5e-4, the largest eigenvalue first; then their negatives. An
 * eigenvector's largest element is positive. The images are summed up in whole numbers, so no order
 * matters to the bytes. */
void cairn_whiten_filters(const cairn_split *images, const float *mean, const float *std,
                          int kernel, float *weights);

/* Gives every weight of the executor's net that is CAIRN_INITIAL_WHITENING, and its average, their
 * first values from the training split. Nothing for other nets. */
cairn_status cairn_whiten(cairn_executor *executor, const cairn_dataset *data);

#endif
