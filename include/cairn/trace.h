/* A trace of a run's time for Perfetto (ui.perfetto.dev) and chrome://tracing: JSON in the Trace
 * Event Format, a complete event a line, written as the run goes. */
#ifndef CAIRN_TRACE_H
#define CAIRN_TRACE_H

#include "cairn/status.h"
#include "cairn/timing.h"

#include <stdint.h>

typedef struct cairn_trace cairn_trace;

/* Lines of the picture. */
typedef enum { CAIRN_TRACE_HOST = 1, CAIRN_TRACE_DEVICE } cairn_trace_track;

enum { CAIRN_TRACE_SPANS = 250000 }; /* at most; later ones are left out */

/* Begins the file anew; `device` names the device's track. Where the path cannot be written:
 * CAIRN_BAD_INPUT. */
cairn_status cairn_trace_open(cairn_trace **trace, const char *path, const char *device);

/* Seconds since the trace was opened; 0 for NULL. */
double cairn_trace_now(const cairn_trace *trace);

/* What went on from `begin` to `end`, in those seconds; `argument` with its value is shown beside
 * it, NULL: none. Nothing for a trace that is NULL. An error is kept for the end. */
void cairn_trace_span(cairn_trace *trace, cairn_trace_track track, const char *name, double begin,
                      double end, const char *argument, double value);

/* A training step, counted from 1, from `begin` to `end` in cairn_clock_now's seconds, and what the
 * device did in it. */
void cairn_trace_step(cairn_trace *trace, int64_t step, double begin, double end,
                      const cairn_timing *parts, int count);

/* Ends the file and frees the trace; says if something could not be written. NULL is allowed. */
cairn_status cairn_trace_close(cairn_trace *trace);

#endif
