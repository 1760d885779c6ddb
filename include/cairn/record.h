/* Recorders: what a run leaves on disk and on the terminal. Files are written atomically, and
 * hold no time stamps but where a field's name says so: the same run gives the same bytes. */
#ifndef CAIRN_RECORD_H
#define CAIRN_RECORD_H

#include "cairn/dataset.h"
#include "cairn/digest.h"
#include "cairn/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One epoch: means over the samples seen. */
typedef struct {
    int epoch; /* from 1 */
    double train_loss, train_acc, test_loss, test_acc;
    bool held_out; /* the last two are of held-out training images: files say val_, not test_ */
} cairn_epoch_row;

/* "test", or "val" for held-out training images. */
const char *cairn_split_name(bool held_out);

/* metrics.json: the list of rows, keys in the order above. NaN and infinity become null. The text
 * is kept and only grows, so that a late epoch costs what an early one does. Begins zeroed. */
typedef struct {
    char *text;
    size_t open; /* bytes before the list's end */
    size_t rows;
} cairn_metrics;

/* Adds those of the `count` rows that the text does not have yet. */
cairn_status cairn_metrics_extend(cairn_metrics *metrics, const cairn_epoch_row *rows,
                                  size_t count);
cairn_status cairn_metrics_write(const char *path, const cairn_metrics *metrics);
void cairn_metrics_free(cairn_metrics *metrics);

/* The rows of such a text, from a checkpoint; `*rows` is the caller's to free. */
cairn_status cairn_metrics_parse(const char *text, const char *name, cairn_epoch_row **rows,
                                 size_t *count);

/* DVCLive's layout in `folder`: metrics.json with the last row's values and rate, and
 * plots/metrics/{train,test,val}/{loss,acc}.tsv and lr.tsv over all rows; test is empty with
 * `held_out`, else val is. rates [count] are those that the epochs began with; no rows are allowed.
 */
cairn_status cairn_dvclive_write(const char *folder, bool held_out, const cairn_epoch_row *rows,
                                 const double *rates, size_t count);
/* Removes those files and the folders that are empty then. */
cairn_status cairn_dvclive_remove(const char *folder);
/* Under DVC, which sets DVC_ROOT: tells those who follow the run that an epoch is done; takes that
 * back at the end of the run. */
void cairn_dvclive_signal(int epoch);
void cairn_dvclive_end(void);

/* summary.json: one flat object. The seed keeps all its digits, as a plain JSON number; results of
 * a row with epoch 0 (none has ended) are null; `synthetic` says whether the data set is. */
typedef struct {
    const char *run_name, *status; /* "running", "finished" or "interrupted" */
    const char *version, *device, *device_description, *precision;
    const char *model, *data, *data_digest, *config_digest;
    int64_t epochs, batch_size, threads, train_count, test_count, parameters;
    double lr;
    uint64_t seed;
    cairn_epoch_row final, best;    /* best: highest test_acc, the earliest of equals */
    double seconds;                 /* training and evaluation, this process and the resumed ones */
    double train_images_per_second; /* training passes only */
    /* Where the numbers come from; NULL or "" becomes null, and without a revision `dirty` does. */
    const char *git_revision, *binary_digest, *plugin_digest, *processor, *experiment;
    const char *provenance_note; /* why one of those is not known */
    bool git_dirty;
} cairn_summary;
cairn_status cairn_summary_write(const char *path, const cairn_summary *summary);

/* predictions.csv: actual,predicted,confidence, one row a test sample; class numbers; confidence is
 * the softmax probability of the predicted class; then its file, unless `files` is NULL. And
 * confusion.csv: row actual, column predicted, counts, with class names on both edges. logits
 * [count, classes]. */
cairn_status cairn_predictions_write(const char *path, const float *logits, const uint8_t *labels,
                                     char *const *files, int count, int classes);
cairn_status cairn_confusion_write(const char *path, const float *logits, const uint8_t *labels,
                                   int count, int classes, const cairn_class_name *class_names);

/* Softmax of one sample's logits; returns the most probable class (the first of equals). */
int cairn_softmax(const float *logits, int classes, double *probabilities);

/* The terminal. On a TTY without quiet a progress bar on stderr; always the epoch lines on stdout,
 * unless quiet, flushed one by one. Colour only on a TTY and without NO_COLOR. */
typedef struct cairn_terminal cairn_terminal;
/* NULL when memory is short. */
cairn_terminal *cairn_terminal_open(bool quiet, int epochs);
void cairn_terminal_progress(cairn_terminal *terminal, int epoch, int64_t seen, int64_t total);
void cairn_terminal_epoch(cairn_terminal *terminal, const cairn_epoch_row *row);
/* A line for people on stderr, below a cleared bar; nothing when quiet. */
void cairn_terminal_note(cairn_terminal *terminal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void cairn_terminal_close(cairn_terminal *terminal); /* clears the bar; NULL is allowed */

#endif
