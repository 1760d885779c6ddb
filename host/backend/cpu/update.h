/* The loops of the optimiser (cairn/optimizer.h has the rules) over parameters in a row. Each is
 * one pass over its data, split over the caller's OpenMP threads; results do not depend on the
 * split. */
#ifndef CAIRN_BACKEND_CPU_UPDATE_H
#define CAIRN_BACKEND_CPU_UPDATE_H

#include "cairn/executor.h"

#include <stddef.h>

/* A parameter, or as one vector several neighbours that a step treats alike. */
typedef struct {
    size_t begin, end;
    const cairn_parameter *parameter; /* the first */
} update_span;

/* The tensors, of all parameters; NULL where the rule keeps none. */
typedef struct {
    float *parameter;
    const float *gradient;
    float *state[CAIRN_STATES], *average;
} update_tensors;

/* sum += share * gradient, or = where it is the first. */
void accumulate(float *sum, const float *gradient, size_t count, float share, bool first);

/* The sum of squares. */
double squares_of(const float *values, size_t count);

/* One step over a span, in PyTorch's order of operations; `clip` is the factor of clipping. */
cairn_status update(const cairn_optimizer *optimizer, const cairn_step *step, double clip,
                    const update_span *span, const update_tensors *on);

/* a becomes b and b a. */
void exchange_values(float *a, float *b, size_t count);

#endif
