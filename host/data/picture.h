/* Between image.c and the decoders of png.c and jpeg.c; not for other rooms. */
#ifndef CAIRN_HOST_PICTURE_H
#define CAIRN_HOST_PICTURE_H

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

#endif
