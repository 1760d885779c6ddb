/* The parts of a profiled step, by the host's clock. */
#include "timeline.h"

#include <omp.h>
#include <stdio.h>

void cairn_timeline_begin(cairn_timeline *timeline, cairn_timing *rows, int capacity) {
    *timeline = (cairn_timeline){.rows = rows, .capacity = capacity, .began = omp_get_wtime()};
}

void cairn_timeline_add(cairn_timeline *timeline, const char *name, const char *what, double flops,
                        double begin) {
    if (timeline->count == timeline->capacity)
        return;
    cairn_timing *row = &timeline->rows[timeline->count++];
    *row = (cairn_timing){
        .begin = begin - timeline->began, .seconds = omp_get_wtime() - begin, .flops = flops};
    snprintf(row->name, sizeof row->name, "%s%s%s", name, what ? " " : "", what ? what : "");
}
