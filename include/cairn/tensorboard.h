/* TensorBoard's event files (host/record/tensorboard), and the pictures that are put into them.
 * Only in builds with protobuf-c: CAIRN_WITH_PROTOBUF. */
#ifndef CAIRN_TENSORBOARD_H
#define CAIRN_TENSORBOARD_H

#include "cairn/split.h"
#include "cairn/status.h"

#include <stddef.h>
#include <stdint.h>

/* One event file of a run, <folder>/events.out.tfevents.<seconds>.cairn: TFRecords, each appended
 * by one write, so that a process that is killed leaves all of them readable, and a last one cut
 * short is passed over. Unlike other files of a run they hold the time of each record. Steps count
 * the training steps done. */
typedef struct cairn_events cairn_events;

/* Begins a file that sorts behind those already there, with which TensorBoard reads it as one run.
 * `step`: where the run stands; what earlier files hold beyond it is void from now on. */
cairn_status cairn_events_open(cairn_events **events, const char *folder, int64_t step);
void cairn_events_close(cairn_events *events); /* NULL is allowed */

/* Makes what was written so far last. */
cairn_status cairn_events_sync(cairn_events *events);

/* One value each. A histogram counts the numbers among `values` in CAIRN_BUCKETS equal buckets from
 * the least to the greatest; without a number among them nothing is written. */
enum { CAIRN_BUCKETS = 64 };
cairn_status cairn_events_scalar(cairn_events *events, const char *tag, int64_t step, double value);
cairn_status cairn_events_histogram(cairn_events *events, const char *tag, int64_t step,
                                    const float *values, size_t count);

/* For the HParams tab: the run's parameters, at its beginning; and that it ended well. */
typedef struct {
    const char *name;
    const char *text; /* NULL: it is a number */
    double number;
} cairn_hparam;
cairn_status cairn_events_parameters(cairn_events *events, const cairn_hparam *parameters,
                                     size_t count);
cairn_status cairn_events_finish(cairn_events *events, int64_t step);

/* A picture; rgb [height, width, 3] is its owner's to free by cairn_drawing_free. */
typedef struct {
    int width, height;
    uint8_t *rgb;
} cairn_drawing;
void cairn_drawing_free(cairn_drawing *drawing);
cairn_status cairn_events_image(cairn_events *events, const char *tag, int64_t step,
                                const cairn_drawing *drawing);

/* The confusion matrix: a row an actual class, a column a predicted one, the darker the larger its
 * share of the row; with counts and names where there are at most CAIRN_NAMED_CLASSES. Names that
 * have no room, here and below, end in two dots. */
enum { CAIRN_NAMED_CLASSES = 20 };
cairn_status cairn_draw_confusion(cairn_drawing *drawing, const float *logits,
                                  const uint8_t *labels, int count, int classes,
                                  const cairn_class_name *class_names);

/* The CAIRN_MISTAKES wrong predictions that the model is surest of, each image above its class and
 * the predicted one with its probability. Nothing to draw (rgb NULL) where all are right. */
enum { CAIRN_MISTAKES = 24 };
cairn_status cairn_draw_mistakes(cairn_drawing *drawing, const float *logits,
                                 const cairn_split *split, int classes,
                                 const cairn_class_name *class_names);

/* The checksum of TFRecords: CRC-32C (RFC 3720, B.4; polynomial 0x1edc6f41, reflected), masked as
 * described at https://www.tensorflow.org/tutorials/load_data/tfrecord. */
uint32_t cairn_crc32c(const void *bytes, size_t size);
uint32_t cairn_crc32c_mask(uint32_t crc);

#endif
