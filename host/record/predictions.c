/* predictions.csv and confusion.csv: what the model says of every test sample, and the counts. */
#include "cairn/file.h"
#include "cairn/record.h"
#include "cairn/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        probabilities[i] /= sum;
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

cairn_status cairn_predictions_write(const char *path, const float *logits, const uint8_t *labels,
                                     char *const *files, int count, int classes) {
    char *text = NULL;
    size_t size = 0;
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
    for (int i = 0; i < count; i++) {
        int predicted = cairn_softmax(logits + (size_t)i * (size_t)classes, classes, probabilities);
        fprintf(out, "%d,%d,%.6f", labels[i], predicted, probabilities[predicted]);
        if (files) {
            fputc(',', out);
            cairn_text_put_field(out, files[i]);
        }
        fputc('\n', out);
    }
    free(probabilities);
    return write_stream(out, &text, &size, path);
}

static void count_pairs(const float *logits, const uint8_t *labels, int count, int classes,
                        int *counts) {
    for (int i = 0; i < count; i++) {
        int predicted = most_probable(logits + (size_t)i * (size_t)classes, classes);
        counts[(size_t)labels[i] * (size_t)classes + (size_t)predicted]++;
    }
}

cairn_status cairn_confusion_write(const char *path, const float *logits, const uint8_t *labels,
                                   int count, int classes, const cairn_class_name *class_names) {
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
    count_pairs(logits, labels, count, classes, counts);
    fputs("actual/predicted", out);
    for (int c = 0; c < classes; c++) {
        fputc(',', out);
        cairn_text_put_field(out, class_names[c]);
    }
    for (int actual = 0; actual < classes; actual++) {
        fputc('\n', out);
        cairn_text_put_field(out, class_names[actual]);
        for (int c = 0; c < classes; c++)
            fprintf(out, ",%d", counts[(size_t)actual * (size_t)classes + (size_t)c]);
    }
    fputc('\n', out);
    free(counts);
    return write_stream(out, &text, &size, path);
}
