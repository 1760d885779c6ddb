/* Gradient check: a backend's gradients against difference quotients of the loss.
 *
 * The loss is always measured on `reference` in float64, as (L(w+h) - L(w-h)) / 2h with h = 1e-6:
 * small enough for an error far below the tolerance, and for ReLU and max-pooling seldom to change
 * their minds in between. Where they do, the quotients to the left and to the right disagree, the
 * true derivative lies between the two, and the entry is judged against that interval and counted
 * as a kink; more than a quarter of kinks in a tensor is a failure, for then nothing was shown. */
#ifndef CAIRN_GRADCHECK_H
#define CAIRN_GRADCHECK_H

#include "cairn/executor.h"

typedef struct {
    int batch;     /* random images in the one batch */
    int samples;   /* entries checked in each parameter, chosen at random; at most all of them */
    uint64_t seed; /* of images, labels and the choice of entries; parameters take options.seed */
} cairn_gradcheck_options;

/* One parameter's result; one that is not trained has nothing checked and is ok. An entry's error
 * is |gradient - quotient|, relative to the larger of the two or of the root mean square of the
 * parameter's gradient. */
typedef struct {
    int checked, kinks;
    double error; /* the largest; NaN when an entry was NaN */
    size_t worst; /* the entry that had it */
    double gradient, quotient;
    bool ok;
} cairn_gradcheck_row;

/* 1e-5 in float64, 1e-3 in float32; 5e-1 in bf16, whose rounding moves single entries that far (the
 * parity tests hold whole tensors to less). */
double cairn_gradcheck_tolerance(cairn_precision precision);

/* Fills rows[net->parameter_count] for the net as `backend` trains it: dropout and crop as
 * `options` say, in step 0. A failed check is CAIRN_OK with a row that is not ok. */
cairn_status cairn_gradcheck(const cairn_net *net, const cairn_backend *backend,
                             const cairn_executor_options *options,
                             const cairn_gradcheck_options *check, cairn_gradcheck_row *rows);

#endif
