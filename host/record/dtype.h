/* Between safetensors.c and dtype.c; not for other modules. */
#ifndef CAIRN_HOST_DTYPE_H
#define CAIRN_HOST_DTYPE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name; /* as a header has it */
    size_t size;      /* bytes of a value */
    void (*convert)(float *out, const uint8_t *in, size_t count);
} cairn_dtype;

const cairn_dtype *cairn_dtype_find(const char *name); /* NULL: not read */

#endif
