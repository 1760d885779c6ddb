/* The safetensors format behind cairn/safetensors.h. A file is
 *
 *     8 bytes   header length, little-endian; the header is padded by spaces to a multiple of 8
 *     header    {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ...,
 *                "__metadata__": {"key": "value", ...}}
 *     data      the tensors, row-major, without gaps; offsets count from here
 *
 * What this writes is sealed: the metadata "cairn.sha256" is a digest of names, values and the
 * other metadata, so that a damaged checkpoint is seen; a shape has to agree with its tensor's
 * bytes and with the parameter that it is loaded into. Files without it, PyTorch's, are read as
 * they are.
 *
 * Files come from strangers, so nothing is believed: the reader proves that every tensor lies
 * inside the file, has the bytes that its shape needs, and shares none of them. */
#include "cairn/safetensors.h"

#include "cairn/digest.h"
#include "cairn/file.h"
#include "cairn/text.h"
#include "dtype.h"
#include "tensor_list.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format's bytes are little-endian");

/* Far above any model of Cairn's, and low enough that a hostile header stays cheap: cJSON takes
 * some hundred bytes a value, of which a tensor's entry has up to 14. */
enum { HEADER_MAX = 16 << 20, VALUES_MAX = 16 * ENTRIES_MAX };
enum { LENGTH_BYTES = 8 };

static const char seal_key[] = "cairn.sha256";

/* SHA-256 over names and values, texts with their zeros: the tensors', then the metadata's. */
static cairn_status content_digest(const cairn_safetensors *file, char hex[CAIRN_DIGEST_HEX]) {
    cairn_digest *digest = NULL;
    cairn_status status = cairn_digest_begin(&digest, "sha256");
    if (status)
        return status;
    for (size_t i = 0; i < file->tensor_count && !status; i++) {
        const cairn_tensor *tensor = &file->tensor[i];
        status = cairn_digest_add(digest, tensor->name, strlen(tensor->name) + 1);
        if (!status)
            status =
                cairn_digest_add(digest, tensor->values, tensor->count * sizeof tensor->values[0]);
    }
    for (size_t i = 0; i < file->metadata_count && !status; i++) {
        const cairn_metadata *metadata = &file->metadata[i];
        status = cairn_digest_add(digest, metadata->key, strlen(metadata->key) + 1);
        if (!status)
            status = cairn_digest_add(digest, metadata->value, strlen(metadata->value) + 1);
    }
    cairn_status ended = cairn_digest_end(digest, status ? NULL : hex);
    return status ? status : ended;
}

/* Writing ------------------------------------------------------------------------------------- */

/* Hands `item` to `object`, or frees it when it or memory is missing. */
static cJSON *attach(cJSON *object, const char *key, cJSON *item) {
    if (object && item && cJSON_AddItemToObject(object, key, item))
        return item;
    cJSON_Delete(item);
    return NULL;
}

static bool describe_tensor(cJSON *header, const cairn_tensor *tensor, size_t begin) {
    double offsets[2] = {(double)begin, (double)(begin + tensor->count * sizeof(float))};
    cJSON *entry = attach(header, tensor->name, cJSON_CreateObject());
    return entry && attach(entry, "dtype", cJSON_CreateString("F32")) &&
           attach(entry, "shape", cJSON_CreateIntArray(tensor->dim, tensor->rank)) &&
           attach(entry, "data_offsets", cJSON_CreateDoubleArray(offsets, 2));
}

/* The header as text, the caller's to free; NULL when memory is short. */
static char *format_header(const cairn_safetensors *file, const char *seal) {
    char *text = NULL;
    cJSON *header = cJSON_CreateObject();
    if (!header)
        return NULL;
    cJSON *metadata = attach(header, metadata_key, cJSON_CreateObject());
    for (size_t i = 0; i < file->metadata_count; i++)
        if (!attach(metadata, file->metadata[i].key, cJSON_CreateString(file->metadata[i].value)))
            goto done;
    if (!attach(metadata, seal_key, cJSON_CreateString(seal)))
        goto done;
    size_t begin = 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        if (!describe_tensor(header, &file->tensor[i], begin))
            goto done;
        begin += file->tensor[i].count * sizeof(float);
    }
    text = cJSON_PrintUnformatted(header);
done:
    cJSON_Delete(header);
    return text;
}

static cairn_status write_by(cairn_status (*put)(const char *, struct iovec *, size_t),
                             const cairn_safetensors *file, const char *path) {
    char seal[CAIRN_DIGEST_HEX];
    cairn_status status = content_digest(file, seal);
    if (status)
        return status;
    char *header = format_header(file, seal), padding[] = "       ";
    struct iovec *parts = malloc((file->tensor_count + 3) * sizeof *parts);
    if (header && parts) {
        size_t text_length = strlen(header);
        uint64_t length = (text_length + 7) / 8 * 8;
        parts[0] = (struct iovec){&length, LENGTH_BYTES};
        parts[1] = (struct iovec){header, text_length};
        parts[2] = (struct iovec){padding, length - text_length};
        for (size_t i = 0; i < file->tensor_count; i++)
            parts[3 + i] =
                (struct iovec){file->tensor[i].values, file->tensor[i].count * sizeof(float)};
        status = put(path, parts, file->tensor_count + 3);
    } else {
        status = out_of_memory();
    }
    free(header);
    free(parts);
    return status;
}

cairn_status cairn_safetensors_write(const cairn_safetensors *file, const char *path) {
    return write_by(cairn_file_write_parts, file, path);
}

cairn_status cairn_safetensors_write_output(const cairn_safetensors *file, const char *path) {
    return write_by(cairn_file_write_output_parts, file, path);
}

/* Reading ------------------------------------------------------------------------------------- */

/* A JSON number as a whole one in [0, high]; false when it is anything else. */
static bool whole_number(const cJSON *item, double high, size_t *value) {
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= high) ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *value = (size_t)item->valuedouble;
    return true;
}

/* The bytes of the data part, and which of them belong to which tensor. */
typedef struct {
    size_t begin, end;
    const char *name;
} extent;

typedef struct {
    const char *path;
    const uint8_t *data; /* NULL: the header alone is looked at */
    size_t size;
    size_t claimed;   /* by the tensors so far */
    size_t tensors;   /* so far */
    extent *extents;  /* one a tensor, in the header's order */
    const char *seal; /* the header's; NULL: none */
} source;

static cairn_status read_tensor(cairn_safetensors *file, const cJSON *entry, source *from) {
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    int dim[8] = {0}, rank = 0;
    size_t begin, end, extent_value;
    float *values = NULL;

    /* Three members, each found: so none is there twice either. */
    if (!cJSON_IsObject(entry) || cJSON_GetArraySize(entry) != 3 || !type ||
        !cJSON_IsArray(shape) || !cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: tensor '%.128s' is not {dtype, shape, data_offsets}",
                               from->path, entry->string);
    const cairn_dtype *dtype = cJSON_IsString(type) ? cairn_dtype_find(type->valuestring) : NULL;
    if (!dtype)
        return cairn_error_set(
            CAIRN_BAD_INPUT,
            "%s: tensor '%.128s' is of type %.16s; F32, F64, F16, BF16 and I64 can "
            "be read",
            from->path, entry->string, cJSON_IsString(type) ? type->valuestring : "(no text)");
    const cJSON *item;
    cJSON_ArrayForEach(item, shape) {
        if (rank == 8 || !whole_number(item, INT_MAX, &extent_value))
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "%s: tensor '%.128s' has a bad shape; up to 8 whole numbers "
                                   "would be right",
                                   from->path, entry->string);
        dim[rank++] = (int)extent_value;
    }
    if (!whole_number(offsets->child, (double)from->size, &begin) ||
        !whole_number(offsets->child->next, (double)from->size, &end) || begin > end)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: tensor '%.128s' lies outside the file's %zu data bytes; the "
                               "file is cut short or damaged",
                               from->path, entry->string, from->size);
    /* Compared before anything is allocated: a shape cannot ask for more than the file holds. */
    size_t need = dtype->size;
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(need, (size_t)dim[i], &need))
            need = SIZE_MAX;
    if (need != end - begin)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: tensor '%.128s' has %zu %s; its shape needs %zu", from->path,
                               entry->string, end - begin,
                               cairn_noun((long long)(end - begin), "byte", "bytes"), need);
    /* Nor can many of them share the same bytes. */
    from->claimed += need;
    if (from->claimed > from->size)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: tensor '%.128s' has bytes of another one",
                               from->path, entry->string);
    from->extents[from->tensors++] = (extent){begin, end, entry->string};
    if (!from->data)
        return CAIRN_OK;
    cairn_status status = cairn_safetensors_add(file, entry->string, rank, dim, &values);
    if (status)
        return cairn_error_set(status, "%s: %s", from->path, cairn_error_message());
    const cairn_tensor *tensor = &file->tensor[file->tensor_count - 1];
    dtype->convert(values, from->data + begin, tensor->count);
    return CAIRN_OK;
}

static cairn_status read_metadata(cairn_safetensors *file, const cJSON *metadata, source *from) {
    const char *path = from->path;
    if (cJSON_IsNull(metadata))
        return CAIRN_OK;
    if (!cJSON_IsObject(metadata) || file->metadata_count || from->seal)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: __metadata__ is not one object of texts",
                               path);
    const cJSON *item;
    cJSON_ArrayForEach(item, metadata) {
        if (!cJSON_IsString(item))
            return cairn_error_set(CAIRN_BAD_INPUT, "%s: metadata '%.128s' is not a text", path,
                                   item->string);
        if (strcmp(item->string, seal_key) == 0 && !from->seal) {
            from->seal = item->valuestring;
            continue;
        }
        cairn_status status = cairn_safetensors_add_metadata(file, item->string, item->valuestring);
        if (status)
            return cairn_error_set(status, "%s: %s", path, cairn_error_message());
    }
    return CAIRN_OK;
}

static int by_begin(const void *a, const void *b) {
    const extent *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Together the tensors cover the data part exactly, as the format demands. */
static cairn_status check_cover(const source *from, size_t count) {
    size_t covered = 0;
    qsort(from->extents, count, sizeof from->extents[0], by_begin);
    for (size_t i = 0; i < count; i++) {
        if (from->extents[i].begin != covered)
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "%s: tensor '%.128s' begins at data byte %zu; the bytes before "
                                   "it end at %zu",
                                   from->path, from->extents[i].name, from->extents[i].begin,
                                   covered);
        covered = from->extents[i].end;
    }
    if (covered != from->size)
        return cairn_error_set(
            CAIRN_BAD_INPUT, "%s: %zu %s the last tensor", from->path, from->size - covered,
            cairn_noun((long long)(from->size - covered), "byte follows", "bytes follow"));
    return CAIRN_OK;
}

/* Everything behind the header's text. */
static cairn_status read_entries(cairn_safetensors *file, const cJSON *header, source *from) {
    size_t count = (size_t)cJSON_GetArraySize(header);
    if (count > ENTRIES_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: %zu tensors; at most %d can be read",
                               from->path, count, ENTRIES_MAX);
    from->extents = calloc(count + 1, sizeof from->extents[0]);
    if (!from->extents)
        return out_of_memory();
    const cJSON *entry;
    cJSON_ArrayForEach(entry, header) {
        cairn_status status = strcmp(entry->string, metadata_key) == 0
                                  ? read_metadata(file, entry, from)
                                  : read_tensor(file, entry, from);
        if (status)
            return status;
    }
    return check_cover(from, from->tensors);
}

static cairn_status check_seal(const cairn_safetensors *file, const source *from) {
    char found[CAIRN_DIGEST_HEX];
    cairn_status status = from->seal ? content_digest(file, found) : CAIRN_OK;
    if (!status && from->seal && strcmp(found, from->seal) != 0)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: is damaged: its content has the digest %.12s, it was written "
                               "with %.12s",
                               from->path, found, from->seal);
    return status;
}

/* A header's length, by its first 8 bytes. */
static cairn_status read_length(const void *bytes, uint64_t size, const char *name,
                                uint64_t *length) {
    *length = 0;
    if (size >= LENGTH_BYTES)
        memcpy(length, bytes, LENGTH_BYTES);
    if (size < LENGTH_BYTES || *length > size - LENGTH_BYTES)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: is not a safetensors file, or is cut short: a header of %llu "
                               "bytes in a file of %llu",
                               name, (unsigned long long)*length, (unsigned long long)size);
    if (*length > HEADER_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: its header has %llu bytes; at most %d are read", name,
                               (unsigned long long)*length, HEADER_MAX);
    return CAIRN_OK;
}

/* Whether a JSON text has more values than a header of the most tensors needs. */
static bool has_many_values(const char *text, size_t length) {
    size_t values = 0;
    bool quoted = false;
    for (size_t i = 0; i < length; i++)
        if (text[i] == '"')
            quoted = !quoted;
        else if (quoted)
            i += text[i] == '\\';
        else
            values += text[i] == ',' || text[i] == '[' || text[i] == '{';
    return values > VALUES_MAX;
}

/* The header's text, and from->size bytes of data. */
static cairn_status read_header(cairn_safetensors *file, const char *text, size_t length,
                                source *from) {
    if (has_many_values(text, length))
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: its header has more than %d values",
                               from->path, VALUES_MAX);
    /* cJSON stops at its own nesting limit, so deep brackets cannot exhaust the stack. */
    const char *end = text;
    cJSON *header = cJSON_ParseWithLengthOpts(text, length, &end, 0);
    while (header && end < text + length && memchr(" \t\r\n", *end, 4))
        end++;
    cairn_status status =
        !cJSON_IsObject(header) || text[0] != '{' || end != text + length
            ? cairn_error_set(CAIRN_BAD_INPUT,
                              "%s: is not a safetensors file: its header is not a JSON object "
                              "(near byte %td)",
                              from->path, end - text)
            : read_entries(file, header, from);
    if (!status && from->data)
        status = check_seal(file, from);
    free(from->extents);
    cJSON_Delete(header);
    return status;
}

cairn_status cairn_safetensors_parse(cairn_safetensors *file, const void *bytes, size_t size,
                                     const char *name) {
    uint64_t length = 0;
    *file = (cairn_safetensors){0};
    cairn_status status = read_length(bytes, size, name, &length);
    if (status)
        return status;
    const char *text = (const char *)bytes + LENGTH_BYTES;
    source from = {.path = name, .size = size - LENGTH_BYTES - length};
    from.data = (const uint8_t *)text + length;
    status = read_header(file, text, length, &from);
    if (status)
        cairn_safetensors_free(file);
    return status;
}

/* Whether the header agrees with the file's length: before memory is taken for the tensors. */
static cairn_status check_header(const char *path) {
    uint8_t begin[LENGTH_BYTES], *head = NULL;
    uint64_t size = 0, length = 0;
    cairn_safetensors none = {0};
    cairn_status status = cairn_file_read_begin(path, begin, sizeof begin, &size);
    if (!status)
        status = read_length(begin, size, path, &length);
    if (!status && !(head = malloc(LENGTH_BYTES + length)))
        status = out_of_memory();
    if (!status)
        status = cairn_file_read_begin(path, head, LENGTH_BYTES + length, &size);
    source from = {.path = path, .size = size - LENGTH_BYTES - length};
    if (!status && size < LENGTH_BYTES + length)
        status = cairn_error_set(CAIRN_BAD_INPUT, "%s: became shorter", path);
    else if (!status)
        status = read_header(&none, (const char *)head + LENGTH_BYTES, length, &from);
    cairn_safetensors_free(&none);
    free(head);
    return status;
}

cairn_status cairn_safetensors_read(cairn_safetensors *file, const char *path) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    *file = (cairn_safetensors){0};
    cairn_status status = check_header(path);
    if (!status)
        status = cairn_file_read(path, &bytes, &size);
    if (!status)
        status = cairn_safetensors_parse(file, bytes, size, path);
    free(bytes);
    return status;
}
