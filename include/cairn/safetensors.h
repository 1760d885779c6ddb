/* The safetensors format (github.com/huggingface/safetensors, "Format"): an 8-byte little-endian
 * header length, a JSON header, then the tensors' bytes. PyTorch's safetensors.torch.load_file
 * reads what this writes and the other way round. */
#ifndef CAIRN_SAFETENSORS_H
#define CAIRN_SAFETENSORS_H

#include "cairn/status.h"

#include <stddef.h>

typedef struct {
    char name[128];
    int rank, dim[8];
    size_t count;
    float *values; /* [count] */
} cairn_tensor;

typedef struct {
    char *key, *value;
} cairn_metadata;

/* A file in memory. It owns everything that the pointers reach. */
typedef struct {
    size_t tensor_count, metadata_count;
    cairn_tensor *tensor;
    cairn_metadata *metadata;
} cairn_safetensors;

/* Zero-initialise a cairn_safetensors, then add. The tensor's values are allocated, zeroed, for the
 * caller to fill; the pointer into `file->tensor` holds until the next add. */
cairn_status cairn_safetensors_add(cairn_safetensors *file, const char *name, int rank,
                                   const int *dim, float **values);
cairn_status cairn_safetensors_add_metadata(cairn_safetensors *file, const char *key,
                                            const char *value);

/* NULL when there is none of that name. */
cairn_tensor *cairn_safetensors_find(const cairn_safetensors *file, const char *name);
const char *cairn_safetensors_metadata(const cairn_safetensors *file, const char *key);

/* Written atomically, as F32, tensors and metadata in the order added, with a digest of them. */
cairn_status cairn_safetensors_write(const cairn_safetensors *file, const char *path);

/* The same to where a user asked for it, see cairn_file_write_output. */
cairn_status cairn_safetensors_write_output(const cairn_safetensors *file, const char *path);

/* Reads F32, and F64, F16, BF16 and I64 converted to float. Every offset, size and overlap is
 * checked, and the digest where there is one: CAIRN_BAD_INPUT names file and tensor. */
cairn_status cairn_safetensors_read(cairn_safetensors *file, const char *path);

/* The same from memory; `name` stands for the file in messages. */
cairn_status cairn_safetensors_parse(cairn_safetensors *file, const void *bytes, size_t size,
                                     const char *name);
void cairn_safetensors_free(cairn_safetensors *file); /* and zeroes it */

#endif
