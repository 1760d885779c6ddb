/* Between image.c, the decoders of each format, orient.c and resize.c; not for other modules. */
#ifndef CAIRN_HOST_PICTURE_H
#define CAIRN_HOST_PICTURE_H

#include "cairn/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PICTURE_PIXELS_MAX = 64000000 };

typedef enum {
    PICTURE_DECODED,
    PICTURE_UNREADABLE,  /* of none of the formats */
    PICTURE_UNSUPPORTED, /* sound as far as one can tell, of the form that `form` names */
    PICTURE_TOO_LARGE,
    PICTURE_DAMAGED,
    PICTURE_NO_MEMORY,
} picture_outcome;

/* Decoded pixels [height, width, channels], malloced, also after a failure. */
typedef struct {
    int channels; /* 3 as decoded: red, green, blue; 1 once it is grey */
    int width, height;
    uint8_t *pixels;
    const char *form; /* "a ..." */
} picture;

/* Notes the size that a header names and allocates the pixels, or refuses: a small file cannot ask
 * for all memory. The pixels are zeros: what a damaged file leaves out is nobody's memory. */
picture_outcome cairn_picture_allocate(picture *out, uint64_t width, uint64_t height);

/* Says which form of a format is not read. */
picture_outcome cairn_picture_refuse(picture *out, const char *form);

picture_outcome cairn_png_decode(const uint8_t *file, size_t size, picture *out);
picture_outcome cairn_jpeg_decode(const uint8_t *file, size_t size, picture *out);
picture_outcome cairn_bmp_decode(const uint8_t *file, size_t size, picture *out);
picture_outcome cairn_webp_decode(const uint8_t *file, size_t size, picture *out);

/* How the file says that its picture is to be turned, as EXIF numbers it: 1 (not at all) to 8. */
int cairn_orientation_read(const uint8_t *file, size_t size);

/* Turns the picture so. False: out of memory. */
bool cairn_picture_orient(picture *p, int orientation);

/* To [h,w,c] of the shape's size, of the middle that has its proportions where `crops`. Linear
 * interpolation, its kernel widened when shrinking; levels as they are, not gamma-corrected, as the
 * data sets were made. False: out of memory. */
bool cairn_picture_resize(const picture *in, bool crops, uint8_t *out, cairn_shape shape);

#endif
