/* How long the parts of a training step took. */
#ifndef CAIRN_TIMING_H
#define CAIRN_TIMING_H

typedef struct {
    char name[64]; /* "features.0 forward" */
    double begin;  /* seconds from where the step began */
    double seconds;
    double flops; /* 0 where bytes, not arithmetic, are what counts */
} cairn_timing;

enum { CAIRN_TIMINGS = 2048 }; /* of a step, at most; later ones are left out */

#endif
