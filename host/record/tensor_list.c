/* A safetensors file in memory: lists of its tensors and of its metadata. */
#include "tensor_list.h"

#include "cairn/safetensors.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Room for one more element: capacities are powers of two, so the count alone says when to grow. */
static cairn_status grow(void **list, size_t count, size_t element) {
    if (count >= ENTRIES_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT, "more than %d tensors or metadata", ENTRIES_MAX);
    if (count & (count - 1))
        return CAIRN_OK;
    void *grown = realloc(*list, (count ? 2 * count : 1) * element);
    if (!grown)
        return out_of_memory();
    *list = grown;
    return CAIRN_OK;
}

cairn_status cairn_safetensors_add(cairn_safetensors *file, const char *name, int rank,
                                   const int *dim, float **values) {
    cairn_tensor made = {.rank = rank, .count = 1};
    if (strlen(name) >= sizeof made.name)
        return cairn_error_set(CAIRN_BAD_INPUT, "tensor name '%.60s...' is longer than %zu bytes",
                               name, sizeof made.name - 1);
    if (strcmp(name, metadata_key) == 0 || cairn_safetensors_find(file, name))
        return cairn_error_set(CAIRN_BAD_INPUT, "tensor '%s' is there twice", name);
    if (rank < 0 || rank > (int)(sizeof made.dim / sizeof made.dim[0]))
        return cairn_error_set(CAIRN_BAD_INPUT, "tensor '%s' has rank %d; up to 8 can be", name,
                               rank);
    for (int i = 0; i < rank; i++) {
        made.dim[i] = dim[i];
        if (dim[i] < 0 || __builtin_mul_overflow(made.count, (size_t)dim[i], &made.count) ||
            made.count > SIZE_MAX / 16)
            return cairn_error_set(CAIRN_BAD_INPUT, "tensor '%s' has an impossible shape", name);
    }
    memcpy(made.name, name, strlen(name));
    void *list = file->tensor;
    cairn_status status = grow(&list, file->tensor_count, sizeof made);
    if (status)
        return status;
    file->tensor = list;
    made.values = calloc(made.count ? made.count : 1, sizeof made.values[0]);
    if (!made.values)
        return out_of_memory();
    file->tensor[file->tensor_count++] = made;
    *values = made.values;
    return CAIRN_OK;
}

cairn_status cairn_safetensors_add_metadata(cairn_safetensors *file, const char *key,
                                            const char *value) {
    if (cairn_safetensors_metadata(file, key))
        return cairn_error_set(CAIRN_BAD_INPUT, "metadata '%s' is there twice", key);
    void *list = file->metadata;
    cairn_status status = grow(&list, file->metadata_count, sizeof file->metadata[0]);
    if (status)
        return status;
    file->metadata = list;
    cairn_metadata made = {strdup(key), strdup(value)};
    if (!made.key || !made.value) {
        free(made.key);
        free(made.value);
        return out_of_memory();
    }
    file->metadata[file->metadata_count++] = made;
    return CAIRN_OK;
}

cairn_tensor *cairn_safetensors_find(const cairn_safetensors *file, const char *name) {
    for (size_t i = 0; i < file->tensor_count; i++)
        if (strcmp(file->tensor[i].name, name) == 0)
            return &file->tensor[i];
    return NULL;
}

const char *cairn_safetensors_metadata(const cairn_safetensors *file, const char *key) {
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0)
            return file->metadata[i].value;
    return NULL;
}

void cairn_safetensors_free(cairn_safetensors *file) {
    for (size_t i = 0; i < file->tensor_count; i++)
        free(file->tensor[i].values);
    for (size_t i = 0; i < file->metadata_count; i++) {
        free(file->metadata[i].key);
        free(file->metadata[i].value);
    }
    free(file->tensor);
    free(file->metadata);
    *file = (cairn_safetensors){0};
}
