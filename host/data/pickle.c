/* Reads the pickles of cifar-10-batches-py: {"data": uint8 array [10000,3072], "labels": [...]}.
 *
 * A pickle is a program for a stack machine (the opcodes are described in Python's
 * Lib/pickletools.py). This machine knows only what such a batch needs, as Python 2's cPickle wrote
 * the official files and as Python 3 with numpy writes the same dictionary at protocols 2 to 5. It
 * runs nothing: the few callables that numpy's arrays need are recognised by name and become
 * values; any other is refused. Memory is fixed, and every access is checked. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

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

static cairn_status refuse(const machine *m, const char *what) {
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "%s: byte %zu: %s; this is not a cifar-10-batches-py file", m->name,
                           m->position, what);
}

/* Input ------------------------------------------------------------------------------------- */

static cairn_status take(machine *m, size_t count, const uint8_t **at) {
    if (count > m->size - m->position)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: the file is truncated: it ends at byte %zu "
                               "inside the pickle",
                               m->name, m->size);
    *at = m->bytes + m->position;
    m->position += count;
    return CAIRN_OK;
}

/* A little-endian operand of 1 to 8 bytes. */
static cairn_status take_number(machine *m, int width, uint64_t *number) {
    const uint8_t *at = NULL;
    cairn_status status = take(m, (size_t)width, &at);
    *number = 0;
    for (int i = 0; !status && i < width; i++)
        *number |= (uint64_t)at[i] << (8 * i);
    return status;
}

/* A string behind its length of `width` bytes. */
static cairn_status take_string(machine *m, int width, value *string) {
    uint64_t size = 0;
    *string = (value){.kind = STRING};
    cairn_status status = take_number(m, width, &size);
    string->size = (size_t)size;
    return status ? status : take(m, string->size, &string->at);
}

/* A string up to the end of the line. */
static cairn_status take_line(machine *m, value *string) {
    const uint8_t *end =
        m->position < m->size ? memchr(m->bytes + m->position, '\n', m->size - m->position) : NULL;
    size_t size = end ? (size_t)(end - m->bytes) - m->position : SIZE_MAX; /* more than there is */
    *string = (value){.kind = STRING};
    string->size = size;
    cairn_status status = take(m, size, &string->at);
    m->position += !status; /* the end of the line itself */
    return status;
}

static bool is_text(const value *string, const char *text) {
    return (string->kind == STRING || string->kind == LATIN1) && string->size == strlen(text) &&
           memcmp(string->at, text, string->size) == 0;
}

/* The stack ----------------------------------------------------------------------------------- */

static cairn_status push(machine *m, value item) {
    if (m->depth == STACK_MAX)
        return refuse(m, "the pickle's stack is too deep");
    m->stack[m->depth++] = item;
    return CAIRN_OK;
}

/* The `count` topmost values, taken off; they may not lie below the last mark. */
static cairn_status pop(machine *m, int count, value **items) {
    int floor = m->marks ? m->mark[m->marks - 1] : 0;
    if (m->depth - floor < count)
        return refuse(m, "the pickle's stack is empty");
    m->depth -= count;
    *items = m->stack + m->depth;
    return CAIRN_OK;
}

/* The topmost value, left where it is. */
static cairn_status peek(machine *m, value **item) {
    cairn_status status = pop(m, 1, item);
    m->depth += !status;
    return status;
}

/* All values above the last mark, taken off with it. */
static cairn_status pop_mark(machine *m, value **items, int *count) {
    if (m->marks == 0)
        return refuse(m, "the pickle's stack has no mark");
    *count = m->depth - m->mark[m->marks - 1];
    cairn_status status = pop(m, *count, items);
    m->marks--;
    return status;
}

static cairn_status append(machine *m, object *target, const value *items, int count) {
    if (count > CELL_MAX - m->cells)
        return refuse(m, "the pickle holds too many items");
    for (int i = 0; i < count; i++) {
        cell *made = &m->cell[m->cells++];
        *made = (cell){items[i], NULL};
        if (target->last)
            target->last->next = made;
        else
            target->first = made;
        target->last = made;
    }
    target->count += count;
    return CAIRN_OK;
}

/* Pushes a new container with these items, which may lie just above the stack. */
static cairn_status push_object(machine *m, kind what, const value *items, int count) {
    if (m->objects == OBJECT_MAX)
        return refuse(m, "the pickle holds too many containers");
    value made = {.kind = what, .object = &m->object[m->objects++]};
    cairn_status status = append(m, made.object, items, count);
    return status ? status : push(m, made);
}

/* Adds items to the list or dictionary on top of the stack. */
static cairn_status extend(machine *m, kind what, const value *items, int count) {
    value *target = NULL;
    cairn_status status = peek(m, &target);
    if (status)
        return status;
    if (target->kind != what || (what == DICT && count % 2 != 0))
        return refuse(m, "items are added to something that cannot take them");
    return append(m, target->object, items, count);
}

/* Callables ----------------------------------------------------------------------------------- */

static cairn_status push_callable(machine *m, const value *module, const value *name) {
    static const struct {
        const char *module, *name;
        callable what;
    } known[] = {
        {"numpy.core.multiarray", "_reconstruct", RECONSTRUCT},
        {"numpy._core.multiarray", "_reconstruct", RECONSTRUCT},
        {"numpy.core.numeric", "_frombuffer", FROMBUFFER},
        {"numpy._core.numeric", "_frombuffer", FROMBUFFER},
        {"numpy", "dtype", MAKE_DTYPE},
        {"numpy", "ndarray", NDARRAY},
        {"_codecs", "encode", ENCODE},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (is_text(module, known[i].module) && is_text(name, known[i].name))
            return push(m, (value){.kind = CALLABLE, .number = known[i].what});
    return refuse(m, "the pickle names a Python object other than numpy's uint8 arrays");
}

/* The callables' results, without calling anything. */
static cairn_status reduce(machine *m) {
    value *pair = NULL, item[4];
    cairn_status status = pop(m, 2, &pair);
    if (status)
        return status;
    if (pair[0].kind != CALLABLE || pair[1].kind != TUPLE)
        return refuse(m, "the pickle calls something that is not callable");
    callable what = (callable)pair[0].number;
    int count = 0;
    for (cell *c = pair[1].object->first; c && count < 4; c = c->next)
        item[count++] = c->value;
    if (what == RECONSTRUCT) /* an empty array, to be filled by BUILD */
        return push_object(m, ARRAY, NULL, 0);
    if (what == FROMBUFFER && count == 4) { /* (data, dtype, shape, order) */
        value parts[] = {item[2], item[1], item[3], item[0]};
        return push_object(m, ARRAY, parts, 4);
    }
    if (what == MAKE_DTYPE && count > 0 && (item[0].kind == STRING || item[0].kind == LATIN1)) {
        item[0].kind = DTYPE;
        return push(m, item[0]);
    }
    if (what == ENCODE && count == 2 && item[0].kind == STRING && is_text(&item[1], "latin1")) {
        item[0].kind = LATIN1;
        return push(m, item[0]);
    }
    return refuse(m, "the pickle makes an object with arguments that do not fit");
}

/* Gives the object below the top its state, which is on top. */
static cairn_status build(machine *m) {
    value *pair = NULL;
    cairn_status status = pop(m, 2, &pair);
    if (status)
        return status;
    m->depth++; /* the object stays */
    if (pair[0].kind == DTYPE)
        return CAIRN_OK; /* byte order and the like: one byte has none */
    if (pair[0].kind != ARRAY || pair[0].object->count || pair[1].kind != TUPLE ||
        pair[1].object->count != 5)
        return refuse(m, "the pickle gives state to something that cannot take it");
    /* (version, shape, dtype, order, data) */
    for (cell *c = pair[1].object->first->next; c && !status; c = c->next)
        status = append(m, pair[0].object, &c->value, 1);
    return status;
}

/* The machine --------------------------------------------------------------------------------- */

static cairn_status memo_put(machine *m, uint64_t index) {
    value *top = NULL;
    cairn_status status = peek(m, &top);
    if (status)
        return status;
    if (index >= MEMO_MAX)
        return refuse(m, "the pickle's memo is too large");
    m->memo[index] = *top;
    if (m->memos <= (int)index)
        m->memos = (int)index + 1;
    return CAIRN_OK;
}

static cairn_status memo_get(machine *m, uint64_t index) {
    if (index >= (uint64_t)m->memos)
        return refuse(m, "the pickle asks for a memo that it never made");
    return push(m, m->memo[index]);
}

static cairn_status push_integer(machine *m, int width, bool is_signed) {
    uint64_t number;
    cairn_status status = take_number(m, width, &number);
    if (is_signed && width < 8 && width > 0 && number >> (8 * width - 1))
        number |= ~(uint64_t)0 << (8 * width);
    return status ? status : push(m, (value){.kind = INTEGER, .number = (int64_t)number});
}

static cairn_status push_string(machine *m, int width) {
    value string;
    cairn_status status = take_string(m, width, &string);
    return status ? status : push(m, string);
}

/* The opcodes by their names in pickletools. */
static cairn_status step(machine *m, uint8_t opcode) {
    cairn_status status;
    uint64_t number;
    value module, name, *items = NULL;
    int count = 0;
    switch (opcode) {
    case 0x80: /* PROTO */
        status = take_number(m, 1, &number);
        return status || number <= 5 ? status : refuse(m, "the pickle's protocol is above 5");
    case 0x95: /* FRAME: a hint for buffering */
        return take_number(m, 8, &number);
    case '(': /* MARK */
        if (m->marks == MARK_MAX)
            return refuse(m, "the pickle has too many marks");
        m->mark[m->marks++] = m->depth;
        return CAIRN_OK;

    case 'N': /* NONE */
        return push(m, (value){.kind = NONE});
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
        return push(m, (value){.kind = INTEGER, .number = opcode == 0x88});
    case 'K': /* BININT1 */
        return push_integer(m, 1, false);
    case 'M': /* BININT2 */
        return push_integer(m, 2, false);
    case 'J': /* BININT */
        return push_integer(m, 4, true);
    case 0x8a: /* LONG1 */
        status = take_number(m, 1, &number);
        if (!status && number > 8)
            return refuse(m, "the pickle holds a number of more than 64 bits");
        return status ? status : push_integer(m, (int)number, true);

    case 'U':  /* SHORT_BINSTRING */
    case 'C':  /* SHORT_BINBYTES */
    case 0x8c: /* SHORT_BINUNICODE */
        return push_string(m, 1);
    case 'T': /* BINSTRING */
    case 'B': /* BINBYTES */
    case 'X': /* BINUNICODE */
        return push_string(m, 4);
    case 0x8d: /* BINUNICODE8 */
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return push_string(m, 8);

    case ')': /* EMPTY_TUPLE */
        return push_object(m, TUPLE, NULL, 0);
    case ']': /* EMPTY_LIST */
        return push_object(m, LIST, NULL, 0);
    case '}': /* EMPTY_DICT */
        return push_object(m, DICT, NULL, 0);
    case 0x85: /* TUPLE1 */
    case 0x86: /* TUPLE2 */
    case 0x87: /* TUPLE3 */
        count = opcode - 0x84;
        status = pop(m, count, &items);
        return status ? status : push_object(m, TUPLE, items, count);
    case 't': /* TUPLE */
        status = pop_mark(m, &items, &count);
        return status ? status : push_object(m, TUPLE, items, count);

    case 'a': /* APPEND */
        status = pop(m, 1, &items);
        return status ? status : extend(m, LIST, items, 1);
    case 's': /* SETITEM */
        status = pop(m, 2, &items);
        return status ? status : extend(m, DICT, items, 2);
    case 'e': /* APPENDS */
    case 'u': /* SETITEMS */
        status = pop_mark(m, &items, &count);
        return status ? status : extend(m, opcode == 'e' ? LIST : DICT, items, count);

    case 'q': /* BINPUT */
    case 'r': /* LONG_BINPUT */
        status = take_number(m, opcode == 'q' ? 1 : 4, &number);
        return status ? status : memo_put(m, number);
    case 'h': /* BINGET */
    case 'j': /* LONG_BINGET */
        status = take_number(m, opcode == 'h' ? 1 : 4, &number);
        return status ? status : memo_get(m, number);
    case 0x94: /* MEMOIZE */
        return memo_put(m, (uint64_t)m->memos);

    case 'c': /* GLOBAL */
        status = take_line(m, &module);
        if (!status)
            status = take_line(m, &name);
        return status ? status : push_callable(m, &module, &name);
    case 0x93: /* STACK_GLOBAL */
        status = pop(m, 2, &items);
        return status ? status : push_callable(m, &items[0], &items[1]);
    case 'R': /* REDUCE */
        return reduce(m);
    case 'b': /* BUILD */
        return build(m);
    default:
        return refuse(m, "the pickle uses an opcode that such files have no use for");
    }
}

/* Runs the whole pickle; `*result` is what it leaves. */
static cairn_status run(machine *m, value **result) {
    for (;;) {
        const uint8_t *opcode = NULL;
        cairn_status status = take(m, 1, &opcode);
        if (!status && *opcode == '.')
            break; /* STOP */
        if (!status)
            status = step(m, *opcode);
        if (status)
            return status;
    }
    if (m->position != m->size)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: the file is too large: the pickle ends at byte %zu of %zu",
                               m->name, m->position, m->size);
    return pop(m, 1, result);
}

/* The result ---------------------------------------------------------------------------------- */

/* Copies the array's first `count` rows; it has to be uint8 [10000,3072] in row-major order. */
static cairn_status copy_images(const machine *m, const value *array, int count, uint8_t *images) {
    if (array->kind != ARRAY || array->object->count != 4)
        return refuse(m, "\"data\" is not an array");
    const cell *part = array->object->first;
    value shape = part->value, dtype = part->next->value, order = part->next->next->value;
    const value *data = &array->object->last->value;
    if (dtype.kind != DTYPE || dtype.size < 2 ||
        memcmp(dtype.at + dtype.size - 2, "u1", 2) != 0) /* "u1" or "|u1" */
        return refuse(m, "\"data\" is not of type uint8");
    if (shape.kind != TUPLE || shape.object->count != 2 ||
        shape.object->first->value.kind != INTEGER || shape.object->last->value.kind != INTEGER ||
        shape.object->first->value.number != BATCH_COUNT ||
        shape.object->last->value.number != PIXELS)
        return refuse(m, "\"data\" is not of shape [10000, 3072]");
    if (!is_text(&order, "C") && !(order.kind == INTEGER && order.number == 0))
        return refuse(m, "\"data\" is not in row-major order");
    size_t wanted = (size_t)count * PIXELS, total = (size_t)BATCH_COUNT * PIXELS;
    if (data->kind == STRING && data->size == total) {
        memcpy(images, data->at, wanted);
        return CAIRN_OK;
    }
    if (data->kind != LATIN1)
        return refuse(m, "\"data\" does not have 10000 * 3072 bytes");
    /* UTF-8 of U+0000..U+00FF: one byte below 0x80, else 0xC2 or 0xC3 and a continuation byte */
    const uint8_t *at = data->at, *end = at + data->size;
    for (size_t i = 0; i < total; i++) {
        uint8_t byte = 0;
        if (at < end && *at < 0x80) {
            byte = *at++;
        } else if (end - at >= 2 && (at[0] & 0xFE) == 0xC2 && (at[1] & 0xC0) == 0x80) {
            byte = (uint8_t)(at[0] << 6 | (at[1] & 0x3F));
            at += 2;
        } else {
            return refuse(m, "\"data\" does not have 10000 * 3072 bytes");
        }
        if (i < wanted)
            images[i] = byte;
    }
    return at == end ? CAIRN_OK : refuse(m, "\"data\" has more than 10000 * 3072 bytes");
}

static cairn_status copy_labels(const machine *m, const value *list, int count, uint8_t *labels) {
    if (list->kind != LIST || list->object->count != BATCH_COUNT)
        return refuse(m, "\"labels\" is not a list of 10000");
    int i = 0;
    for (const cell *c = list->object->first; i < count; c = c->next, i++) {
        if (c->value.kind != INTEGER || c->value.number < 0 || c->value.number > UINT8_MAX)
            return refuse(m, "\"labels\" holds something other than numbers from 0 to 9");
        labels[i] = (uint8_t)c->value.number;
    }
    return CAIRN_OK;
}

cairn_status cairn_pickle_batch(const uint8_t *bytes, size_t size, const char *name, int count,
                                uint8_t *images, uint8_t *labels) {
    machine *m = calloc(1, sizeof *m);
    if (!m)
        return cairn_error_set(CAIRN_FAILED, "%s: out of memory to read it", name);
    m->bytes = bytes;
    m->size = size;
    m->name = name;
    value *batch = NULL, *data = NULL, *list = NULL;
    cairn_status status = run(m, &batch);
    if (!status && batch->kind != DICT)
        status = refuse(m, "the pickle is not a dictionary");
    for (cell *key = status ? NULL : batch->object->first; key; key = key->next->next) {
        if (is_text(&key->value, "data"))
            data = &key->next->value;
        if (is_text(&key->value, "labels"))
            list = &key->next->value;
    }
    if (!status && (!data || !list))
        status = refuse(m, "the dictionary lacks \"data\" or \"labels\"");
    if (!status)
        status = copy_images(m, data, count, images);
    if (!status)
        status = copy_labels(m, list, count, labels);
    free(m);
    return status;
}
