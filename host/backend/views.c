/* Test-time augmentation. The logits of a sample are the mean of its views' logits, not of their
 * probabilities: so they remain logits, whose softmax (the normalised geometric mean of the views'
 * probabilities) is what losses, predictions and confidences are computed from. */
#include "views.h"

#include "cairn/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool cairn_views_apply(const cairn_executor *executor, cairn_split_id id) {
    return id == CAIRN_SPLIT_TEST && executor->options.tta != CAIRN_TTA_NONE;
}

cairn_status cairn_views_keep(cairn_executor *executor, const cairn_split *split) {
    size_t count = (size_t)split->count;
    uint8_t *labels = realloc(executor->test_labels, count + 1); /* never of nothing */
    if (!labels)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d %s", split->count,
                               cairn_noun(split->count, "label", "labels"));
    memcpy(labels, split->labels, count);
    executor->test_labels = labels;
    return CAIRN_OK;
}

/* The middle, then the corners; each as it is and flipped. */
static int list_views(const cairn_executor *executor, cairn_evaluation_view views[10]) {
    static const int corners[][2] = {{0, 0}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
    int places = executor->options.tta == CAIRN_TTA_CROPS ? 5 : 1;
    for (int k = 0; k < 2 * places; k++)
        views[k] = (cairn_evaluation_view){k % 2, corners[k / 2][0] * executor->options.tta_shift,
                                           corners[k / 2][1] * executor->options.tta_shift};
    return 2 * places;
}

cairn_status cairn_views_logits(cairn_executor *executor, int first, int count, float *logits) {
    cairn_evaluation_view views[10];
    int view_count = list_views(executor, views);
    size_t total = (size_t)count * (size_t)cairn_net_classes(executor->net);
    float *one = malloc((total + 1) * sizeof *one); /* never of nothing */
    if (!one)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the logits of %d %s", count,
                               cairn_noun(count, "sample", "samples"));
    cairn_status status = CAIRN_OK;
    for (int k = 0; k < view_count && !status; k++) {
        executor->view = views[k];
        status = executor->ops->logits(executor, CAIRN_SPLIT_TEST, first, count, one);
        for (size_t i = 0; i < total && !status; i++)
            logits[i] = (k ? logits[i] : 0) + one[i] / (float)view_count;
    }
    executor->view = (cairn_evaluation_view){0};
    free(one);
    return status;
}

/* Adds a sample; a NaN makes the loss NaN and the guess wrong. */
static void add_sample(const float *z, int classes, int label, cairn_stats *stats) {
    int guess = 0;
    bool valid = true;
    double besides = 0;
    for (int c = 0; c < classes; c++) {
        valid = valid && !isnan(z[c]);
        if (z[c] > z[guess])
            guess = c;
    }
    for (int c = 0; c < classes; c++)
        if (c != guess)
            besides += exp((double)z[c] - (double)z[guess]);
    stats->loss += log1p(besides) - ((double)z[label] - (double)z[guess]);
    stats->correct += valid && guess == label;
    stats->seen++;
}

cairn_status cairn_views_evaluate(cairn_executor *executor, int first, int count) {
    int classes = cairn_net_classes(executor->net);
    cairn_stats stats;
    float *logits = calloc((size_t)count * (size_t)classes + 1, sizeof *logits);
    if (!logits)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the logits of %d %s", count,
                               cairn_noun(count, "sample", "samples"));
    cairn_status status = cairn_views_logits(executor, first, count, logits);
    if (!status)
        status = executor->ops->get_stats(executor, &stats);
    for (int n = 0; n < count && !status; n++)
        add_sample(logits + (size_t)n * (size_t)classes, classes, executor->test_labels[first + n],
                   &stats);
    if (!status)
        status = executor->ops->set_stats(executor, &stats);
    free(logits);
    return status;
}
