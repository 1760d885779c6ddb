/* Reads the pickles of cifar-10-batches-py: {"data": uint8 array [10000,3072], "labels": [...]}. */
#include "pickle.h"

#include <stdlib.h>
#include <string.h>

/* Copies the array's first `count` rows; it has to be uint8 [10000,3072] in row-major order. */
static cairn_status copy_images(const machine *m, const value *array, int count, uint8_t *images) {
    if (array->kind != ARRAY || array->object->count != 4)
        return cairn_pickle_refuse(m, "\"data\" is not an array");
    const cell *part = array->object->first;
    value shape = part->value, dtype = part->next->value, order = part->next->next->value;
    const value *data = &array->object->last->value;
    if (dtype.kind != DTYPE || dtype.size < 2 ||
        memcmp(dtype.at + dtype.size - 2, "u1", 2) != 0) /* "u1" or "|u1" */
        return cairn_pickle_refuse(m, "\"data\" is not of type uint8");
    if (shape.kind != TUPLE || shape.object->count != 2 ||
        shape.object->first->value.kind != INTEGER || shape.object->last->value.kind != INTEGER ||
        shape.object->first->value.number != BATCH_COUNT ||
        shape.object->last->value.number != PIXELS)
        return cairn_pickle_refuse(m, "\"data\" is not of shape [10000, 3072]");
    if (!cairn_pickle_is_text(&order, "C") && !(order.kind == INTEGER && order.number == 0))
        return cairn_pickle_refuse(m, "\"data\" is not in row-major order");
    size_t wanted = (size_t)count * PIXELS, total = (size_t)BATCH_COUNT * PIXELS;
    if (data->kind == STRING && data->size == total) {
        memcpy(images, data->at, wanted);
        return CAIRN_OK;
    }
    if (data->kind != LATIN1)
        return cairn_pickle_refuse(m, "\"data\" does not have 10000 * 3072 bytes");
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
            return cairn_pickle_refuse(m, "\"data\" does not have 10000 * 3072 bytes");
        }
        if (i < wanted)
            images[i] = byte;
    }
    return at == end ? CAIRN_OK
                     : cairn_pickle_refuse(m, "\"data\" has more than 10000 * 3072 bytes");
}

static cairn_status copy_labels(const machine *m, const value *list, int count, uint8_t *labels) {
    if (list->kind != LIST || list->object->count != BATCH_COUNT)
        return cairn_pickle_refuse(m, "\"labels\" is not a list of 10000");
    int i = 0;
    for (const cell *c = list->object->first; i < count; c = c->next, i++) {
        if (c->value.kind != INTEGER || c->value.number < 0 || c->value.number > UINT8_MAX)
            return cairn_pickle_refuse(m,
                                       "\"labels\" holds something other than numbers from 0 to 9");
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
    cairn_status status = cairn_pickle_run(m, &batch);
    if (!status && batch->kind != DICT)
        status = cairn_pickle_refuse(m, "the pickle is not a dictionary");
    for (cell *key = status ? NULL : batch->object->first; key; key = key->next->next) {
        if (cairn_pickle_is_text(&key->value, "data"))
            data = &key->next->value;
        if (cairn_pickle_is_text(&key->value, "labels"))
            list = &key->next->value;
    }
    if (!status && data && list)
        status = copy_images(m, data, count, images);
    else if (!status)
        status = cairn_pickle_refuse(m, "the dictionary lacks \"data\" or \"labels\"");
    if (!status && list)
        status = copy_labels(m, list, count, labels);
    free(m);
    return status;
}
