/* predictions.csv and confusion.csv: what the model says of every test sample, and the counts. */
#include "cairn/file.h"
#include "cairn/record.h"
#include "cairn/softmax.h"
#include "cairn/text.h"

#include <errno.h>
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first largest logit. */
static int most_probable(const float *logits, int classes) {
    int best = 0;
    for (int i = 1; i < classes; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* p_i = exp(z_i - m) / sum_j exp(z_j - m), m the largest, so that no exponent overflows. */
int cairn_softmax(const float *logits, int classes, double *probabilities) {
    int best = most_probable(logits, classes);
    double sum = 0;
    for (int i = 0; i < classes; i++)
        sum += probabilities[i] = exp((double)logits[i] - (double)logits[best]);
    for (int i = 0; i < classes; i++)
        probabilities[i] = isnan(sum) ? NAN : probabilities[i] / sum; /* of one sign */
    return best;
}

/* Closes the memory stream, writes its text to `path` and frees it. */
static cairn_status write_stream(FILE *out, char **text, const size_t *size, const char *path) {
    cairn_status status = fclose(out) == 0
                              ? cairn_file_write(path, *text, *size)
                              : cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
    free(*text);
    return status;
}

static cairn_status write_predictions(const char *path, const cairn_run *run, const float *logits) {
    const int classes = run->classes;
    char *const *files = run->test_files;
    char *text = NULL;
    size_t size = 0;
    assert(classes > 0);
    double *probabilities = malloc((size_t)classes * sizeof probabilities[0]);
    FILE *out = open_memstream(&text, &size);
    if (!probabilities || !out) {
        free(probabilities);
        if (out)
            fclose(out);
        free(text);
        return cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
    }
    fprintf(out, "actual,predicted,confidence%s\n", files ? ",file" : "");
    for (int i = 0; i < run->test.count; i++) {
        int predicted = cairn_softmax(logits + (size_t)i * (size_t)classes, classes, probabilities);
        fprintf(out, "%d,%d,%.6f", run->test.labels[i], predicted, probabilities[predicted]);
        if (files) {
            fputc(',', out);
            cairn_text_put_field(out, files[i]);
        }
        fputc('\n', out);
    }
    free(probabilities);
    return write_stream(out, &text, &size, path);
}

static void count_pairs(const cairn_run *run, const float *logits, int *counts) {
    const size_t classes = (size_t)run->classes;
    for (int i = 0; i < run->test.count; i++) {
        int predicted = most_probable(logits + (size_t)i * classes, run->classes);
        counts[run->test.labels[i] * classes + (size_t)predicted]++;
    }
}

static cairn_status write_confusion(const char *path, const cairn_run *run, const float *logits) {
    const int classes = run->classes;
    char *text = NULL;
    size_t size = 0;
    int *counts = calloc((size_t)classes * (size_t)classes, sizeof counts[0]);
    FILE *out = open_memstream(&text, &size);
    if (!counts || !out) {
        free(counts);
        if (out)
            fclose(out);
        free(text);
        return cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
    }
    count_pairs(run, logits, counts);
    fputs("actual/predicted", out);
    for (int c = 0; c < classes; c++) {
        fputc(',', out);
        cairn_text_put_field(out, run->class_names[c]);
    }
    for (int actual = 0; actual < classes; actual++) {
        fputc('\n', out);
        cairn_text_put_field(out, run->class_names[actual]);
        for (int c = 0; c < classes; c++)
            fprintf(out, ",%d", counts[(size_t)actual * (size_t)classes + (size_t)c]);
    }
    fputc('\n', out);
    free(counts);
    return write_stream(out, &text, &size, path);
}

/* The recorder --------------------------------------------------------------------------------- */

typedef struct {
    const cairn_run *run;
} predictions;

static cairn_status open_predictions(void **state, const cairn_run *run,
                                     cairn_record_request *request) {
    predictions *made = malloc(sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the predictions");
    made->run = run;
    request->last_logits = true;
    *state = made;
    return CAIRN_OK;
}

static cairn_status finish(void *state, const cairn_snapshot *at) {
    const cairn_run *run = ((predictions *)state)->run;
    char path[PATH_MAX];
    if (!at->logits)
        return CAIRN_OK;
    cairn_status status = cairn_path_format(path, sizeof path, "%s/predictions.csv", run->folder);
    if (!status)
        status = write_predictions(path, run, at->logits);
    if (!status)
        status = cairn_path_format(path, sizeof path, "%s/confusion.csv", run->folder);
    return status ? status : write_confusion(path, run, at->logits);
}

static const char *const names[] = {"predictions.csv", "confusion.csv", NULL};

/* A resumed run's, of the model that was the best before. */
static cairn_status remove_earlier(void *state) {
    const cairn_run *run = ((predictions *)state)->run;
    char path[PATH_MAX];
    for (int i = 0; names[i]; i++) {
        cairn_status status = cairn_path_format(path, sizeof path, "%s/%s", run->folder, names[i]);
        if (status)
            return status;
        if (unlink(path) != 0 && errno != ENOENT)
            return cairn_error_set(CAIRN_FAILED, "%s: cannot remove the earlier model's: %s", path,
                                   strerror(errno));
    }
    return CAIRN_OK;
}

static cairn_status close_predictions(void *state) {
    free(state);
    return CAIRN_OK;
}

const cairn_recorder cairn_recorder_predictions = {.files = names,
                                                   .open = open_predictions,
                                                   .model = remove_earlier,
                                                   .finish = finish,
                                                   .close = close_predictions};
