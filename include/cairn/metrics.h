/* What is measured in every epoch, and its text in metrics.json and in checkpoints. */
#ifndef CAIRN_METRICS_H
#define CAIRN_METRICS_H

#include "cairn/status.h"

#include <stdbool.h>
#include <stddef.h>

/* One epoch: means over the samples seen. */
typedef struct {
    int epoch; /* from 1 */
    double train_loss, train_acc, test_loss, test_acc;
    bool held_out; /* the last two are of held-out training images: files say val_, not test_ */
} cairn_epoch_row;

/* "test", or "val" for held-out training images. */
const char *cairn_split_name(bool held_out);

/* A list of rows as JSON, keys in the order above. NaN and infinity become null. The text is kept
 * and only grows, so that a late epoch costs what an early one does. Begins zeroed. */
typedef struct {
    char *text;
    size_t open; /* bytes before the list's end */
    size_t rows;
} cairn_metrics;

/* Adds those of the `count` rows that the text does not have yet. */
cairn_status cairn_metrics_extend(cairn_metrics *metrics, const cairn_epoch_row *rows,
                                  size_t count);
void cairn_metrics_free(cairn_metrics *metrics);

/* The rows of such a text, from a checkpoint; `*rows` is the caller's to free. */
cairn_status cairn_metrics_parse(const char *text, const char *name, cairn_epoch_row **rows,
                                 size_t *count);

#endif
