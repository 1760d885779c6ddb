/* For backends that compute on the host: when each part of a profiled step happened. */
#ifndef CAIRN_BACKEND_TIMELINE_H
#define CAIRN_BACKEND_TIMELINE_H

#include "cairn/executor.h"

/* All zeros outside a profiled step: nothing is recorded then. */
typedef struct {
    cairn_timing *rows;
    int capacity, count;
    double began; /* the step did; omp_get_wtime's seconds */
} cairn_timeline;

void cairn_timeline_begin(cairn_timeline *timeline, cairn_timing *rows, int capacity);

/* The part "name what" (what NULL: "name"), from `begin`, in omp_get_wtime's seconds, until now.
 * Beyond the capacity nothing is recorded. */
void cairn_timeline_add(cairn_timeline *timeline, const char *name, const char *what, double flops,
                        double begin);

#endif
