/* Between pickle.c, which runs a pickle, and pickle_batch.c, which reads what it leaves. Memory is
 * fixed: a machine is about 3 MB. */
#ifndef CAIRN_PICKLE_H
#define CAIRN_PICKLE_H

#include "data.h"

enum {
    STACK_MAX = 4096, /* the picklers flush lists and dictionaries every 1000 items */
    MARK_MAX = 64,
    MEMO_MAX = 16384, /* the official files use 10,020 */
    CELL_MAX = 32768, /* 10,000 labels, 10,000 file names and some */
    OBJECT_MAX = 1024,
};

typedef enum {
    NONE,
    INTEGER, /* booleans too */
    STRING,  /* text or bytes */
    LATIN1,  /* bytes, written as the UTF-8 of their Latin-1 reading */
    CALLABLE,
    DTYPE, /* numpy.dtype(...), with the code as its string */
    TUPLE,
    LIST,
    DICT,  /* keys and values alternate */
    ARRAY, /* of cells shape, dtype, order, data */
} kind;

typedef enum { RECONSTRUCT, FROMBUFFER, MAKE_DTYPE, ENCODE, NDARRAY } callable;

typedef struct cell cell;

/* What a list, tuple, dictionary or array holds, in order. */
typedef struct {
    cell *first, *last;
    int count;
} object;

typedef struct {
    kind kind;
    union {
        int64_t number; /* INTEGER; CALLABLE: a callable */
        struct {
            const uint8_t *at; /* STRING, LATIN1, DTYPE: within the pickle */
            size_t size;
        };
        object *object;
    };
} value;

struct cell {
    value value;
    cell *next;
};

typedef struct {
    const uint8_t *bytes;
    size_t size, position;
    const char *name; /* of the file, for messages */
    int depth, marks, memos, cells, objects;
    int mark[MARK_MAX]; /* stack depths */
    value stack[STACK_MAX];
    value memo[MEMO_MAX];
    cell cell[CELL_MAX];
    object object[OBJECT_MAX];
} machine;

/* Runs the whole pickle; `*result` is what it leaves. */
cairn_status cairn_pickle_run(machine *m, value **result);

/* The error "<file>: byte N: <what>; ...". */
cairn_status cairn_pickle_refuse(const machine *m, const char *what);

/* Whether a string is that text. */
bool cairn_pickle_is_text(const value *string, const char *text);

#endif
