/* Between image.c, the decoders of png.c and jpeg.c, and resize.c; not for other modules. */
#ifndef CAIRN_HOST_PICTURE_H
#define CAIRN_HOST_PICTURE_H

#include "cairn/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PICTURE_PIXELS_MAX = 64000000 };

typedef enum {
    PICTURE_DECODED,
    PICTURE_UNREADABLE, /* not of this format, or of a kind of it that is not read */
    PICTURE_TOO_LARGE,
    PICTURE_DAMAGED,
    PICTURE_NO_MEMORY,
} picture_outcome;

/* Decoded pixels [height, width, channels], malloced, also after a failure. */
typedef struct {
    int channels; /* asked for: 1 or 3 */
    int width, height;
    uint8_t *pixels;
} picture;

/* Notes the size that a header names and allocates the pixels, or refuses: a small file cannot ask
 * for all memory. */
picture_outcome cairn_picture_allocate(picture *out, uint64_t width, uint64_t height);

picture_outcome cairn_png_decode(const uint8_t *file, size_t size, picture *out);
picture_outcome cairn_jpeg_decode(const uint8_t *file, size_t size, picture *out);

/* To [h,w,c] of the shape's size, of the middle that has its proportions where `crops`. Linear
 * interpolation, its kernel widened when shrinking; levels as they are, not gamma-corrected, as the
 * data sets were made. False: out of memory. */
bool cairn_picture_resize(const picture *in, bool crops, uint8_t *out, cairn_shape shape);

#endif
