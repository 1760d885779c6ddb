/* Runs a pickle of cifar-10-batches-py.
 *
 * A pickle is a program for a stack machine (the opcodes are described in Python's
 * Lib/pickletools.py). This machine knows only what such a batch needs, as Python 2's cPickle wrote
 * the official files and as Python 3 with numpy writes the same dictionary at protocols 2 to 5. It
 * runs nothing: the few callables that numpy's arrays need are recognised by name and become
 * values; any other is refused. Every access is checked. */
#include "pickle.h"

#include <string.h>

cairn_status cairn_pickle_refuse(const machine *m, const char *what) {
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

bool cairn_pickle_is_text(const value *string, const char *text) {
    return (string->kind == STRING || string->kind == LATIN1) && string->size == strlen(text) &&
           memcmp(string->at, text, string->size) == 0;
}

/* The stack ----------------------------------------------------------------------------------- */

static cairn_status push(machine *m, value item) {
    if (m->depth == STACK_MAX)
        return cairn_pickle_refuse(m, "the pickle's stack is too deep");
    m->stack[m->depth++] = item;
    return CAIRN_OK;
}

/* The `count` topmost values, taken off; they may not lie below the last mark. */
static cairn_status pop(machine *m, int count, value **items) {
    int floor = m->marks ? m->mark[m->marks - 1] : 0;
    if (m->depth - floor < count)
        return cairn_pickle_refuse(m, "the pickle's stack is empty");
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
        return cairn_pickle_refuse(m, "the pickle's stack has no mark");
    *count = m->depth - m->mark[m->marks - 1];
    cairn_status status = pop(m, *count, items);
    m->marks--;
    return status;
}

static cairn_status append(machine *m, object *target, const value *items, int count) {
    if (count > CELL_MAX - m->cells)
        return cairn_pickle_refuse(m, "the pickle holds too many items");
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
        return cairn_pickle_refuse(m, "the pickle holds too many containers");
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
        return cairn_pickle_refuse(m, "items are added to something that cannot take them");
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
        if (cairn_pickle_is_text(module, known[i].module) &&
            cairn_pickle_is_text(name, known[i].name))
            return push(m, (value){.kind = CALLABLE, .number = known[i].what});
    return cairn_pickle_refuse(m,
                               "the pickle names a Python object other than numpy's uint8 arrays");
}

/* The callables' results, without calling anything. */
static cairn_status reduce(machine *m) {
    value *pair = NULL, item[4];
    cairn_status status = pop(m, 2, &pair);
    if (status)
        return status;
    if (pair[0].kind != CALLABLE || pair[1].kind != TUPLE)
        return cairn_pickle_refuse(m, "the pickle calls something that is not callable");
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
    if (what == ENCODE && count == 2 && item[0].kind == STRING &&
        cairn_pickle_is_text(&item[1], "latin1")) {
        item[0].kind = LATIN1;
        return push(m, item[0]);
    }
    return cairn_pickle_refuse(m, "the pickle makes an object with arguments that do not fit");
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
        return cairn_pickle_refuse(m, "the pickle gives state to something that cannot take it");
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
        return cairn_pickle_refuse(m, "the pickle's memo is too large");
    m->memo[index] = *top;
    if (m->memos <= (int)index)
        m->memos = (int)index + 1;
    return CAIRN_OK;
}

static cairn_status memo_get(machine *m, uint64_t index) {
    if (index >= (uint64_t)m->memos)
        return cairn_pickle_refuse(m, "the pickle asks for a memo that it never made");
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

/* The opcodes by their names in pickletools. First those that make and fill containers. */
static cairn_status make_container(machine *m, uint8_t opcode) {
    cairn_status status;
    value *items = NULL;
    int count = 0;
    switch (opcode) {
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
    default:
        return cairn_pickle_refuse(m, "the pickle uses an opcode that such files have no use for");
    }
}

/* Those that push a value of their own, or one of the above. */
static cairn_status push_value(machine *m, uint8_t opcode) {
    cairn_status status;
    uint64_t number;
    switch (opcode) {
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
            return cairn_pickle_refuse(m, "the pickle holds a number of more than 64 bits");
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
    default:
        return make_container(m, opcode);
    }
}

/* The rest, or any of the above. */
static cairn_status step(machine *m, uint8_t opcode) {
    cairn_status status;
    uint64_t number;
    value module, name, *items = NULL;
    switch (opcode) {
    case 0x80: /* PROTO */
        status = take_number(m, 1, &number);
        return status || number <= 5 ? status
                                     : cairn_pickle_refuse(m, "the pickle's protocol is above 5");
    case 0x95: /* FRAME: a hint for buffering */
        return take_number(m, 8, &number);
    case '(': /* MARK */
        if (m->marks == MARK_MAX)
            return cairn_pickle_refuse(m, "the pickle has too many marks");
        m->mark[m->marks++] = m->depth;
        return CAIRN_OK;

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
        return push_value(m, opcode);
    }
}

cairn_status cairn_pickle_run(machine *m, value **result) {
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
