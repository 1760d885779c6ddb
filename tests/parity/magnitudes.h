/* What arithmetic promises of a result: beside the value that a sum has, the sum of the magnitudes
 * of its terms. However a sum cancels, a computer's is off by a share of the latter alone. */
#ifndef CAIRN_TESTS_MAGNITUDES_H
#define CAIRN_TESTS_MAGNITUDES_H

#include "cairn/executor.h"

/* A reference executor in float64, the only kind that magnitudes_of_step takes. */
cairn_status magnitudes_executor(cairn_executor **made, const cairn_net *net,
                                 const cairn_executor_options *options);

/* The magnitudes of what the step, of one micro-batch, computes from the executor's parameters as
 * they are: of the logits [count, classes], and of the gradient of each parameter that is trained;
 * added to what is there. Of nets of convolutions, linear layers, ReLU, pooling, dropout and sums,
 * whose values, each a sum of products, are handed on through choices that are made alike. */
void magnitudes_of_step(cairn_executor *executor, const cairn_step *step,
                        double *const gradient[CAIRN_NET_PARAMETERS_MAX]);

#endif
