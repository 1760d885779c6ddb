/* A run folder's files, for tests that compare or clear run folders. */
#ifndef CAIRN_TESTS_UNIT_RUN_FILES_H
#define CAIRN_TESTS_UNIT_RUN_FILES_H

#include "cairn/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {
    "params.yaml",   "metrics.json", "model.safetensors",      "predictions.csv",
    "confusion.csv", "summary.json", "checkpoint.safetensors", "checkpoint.previous.safetensors",
    "events.jsonl"};
/* Summary and checkpoint tell the time too; the last is there where it is asked for. */
enum { EXACT = 5, FILES = 8, ALL = 9 };

/* Two at a time. */
static inline const char *path_of(const char *folder, const char *name) {
    static char path[2][400];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* Removes the folder; not 0 when it holds anything else: a temporary file or a lock was left. */
static inline int clear(const char *folder) {
    for (int i = 0; i < ALL; i++)
        unlink(path_of(folder, names[i]));
    return rmdir(folder) != 0 && errno != ENOENT;
}

static inline void assert_same_file(const char *a, const char *b) {
    uint8_t *x, *y;
    size_t x_size, y_size;
    assert_int_equal(cairn_file_read(a, &x, &x_size), CAIRN_OK);
    assert_int_equal(cairn_file_read(b, &y, &y_size), CAIRN_OK);
    if (x_size != y_size || memcmp(x, y, x_size) != 0)
        fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

#endif
