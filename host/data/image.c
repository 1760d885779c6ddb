/* One image file: told by its first bytes, decoded by the reader of its format (png.c, jpeg.c,
 * bmp.c, webp.c), turned the right way up (orient.c), brought to the wanted size (resize.c). Many
 * files at once are images.c. */
#include "cairn/image.h"

#include "cairn/file.h"
#include "picture.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 64 << 20 };

#define READ_FORMATS "PNG, JPEG, BMP or WebP"

picture_outcome cairn_picture_allocate(picture *out, uint64_t width, uint64_t height) {
    out->width = width < INT_MAX ? (int)width : INT_MAX;
    out->height = height < INT_MAX ? (int)height : INT_MAX;
    if (width < 1 || height < 1)
        return PICTURE_DAMAGED;
    if (width > PICTURE_PIXELS_MAX / height)
        return PICTURE_TOO_LARGE;
    out->pixels = calloc((size_t)(width * height), (size_t)out->channels);
    return out->pixels ? PICTURE_DECODED : PICTURE_NO_MEMORY;
}

picture_outcome cairn_picture_refuse(picture *out, const char *form) {
    out->form = form;
    return PICTURE_UNSUPPORTED;
}

/* What a file is by its first bytes: with a decoder, or with the name of a format that has none. */
typedef struct {
    const char *bytes;
    size_t count, at;
    picture_outcome (*decode)(const uint8_t *file, size_t size, picture *out);
    const char *form;
} signature;

static const signature signatures[] = {
    {"\x89PNG", 4, 0, cairn_png_decode, NULL},
    {"\xFF\xD8", 2, 0, cairn_jpeg_decode, NULL},
    {"BM", 2, 0, cairn_bmp_decode, NULL},
    {"WEBP", 4, 8, cairn_webp_decode, NULL},
    {"GIF8", 4, 0, NULL, "a GIF"},
    {"II*", 4, 0, NULL, "a TIFF"},
    {"MM\0*", 4, 0, NULL, "a TIFF"},
    {"ftypavi", 7, 4, NULL, "an AVIF"},
    {"ftyphe", 6, 4, NULL, "a HEIC"},
    {"ftypmif1", 8, 4, NULL, "a HEIC or AVIF"},
    {"jP  ", 4, 4, NULL, "a JPEG 2000"},
    {"JXL ", 4, 4, NULL, "a JPEG XL"},
    {"\xFF\x0A", 2, 0, NULL, "a JPEG XL"},
    {"8BPS", 4, 0, NULL, "a Photoshop file"},
    {"%PDF", 4, 0, NULL, "a PDF"},
};

static const signature *recognise(const uint8_t *file, size_t size) {
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        const signature *s = &signatures[i];
        if (size >= s->at + s->count && memcmp(file + s->at, s->bytes, s->count) == 0)
            return s;
    }
    return NULL;
}

static cairn_status too_long(const char *name, size_t size) {
    return cairn_error_set(CAIRN_BAD_INPUT, "%s: is %zu bytes long; images up to %d are read", name,
                           size, FILE_MAX);
}

/* A failure in words. */
static cairn_status explain(picture_outcome outcome, const char *name, const picture *out) {
    switch (outcome) {
    case PICTURE_UNREADABLE:
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is no " READ_FORMATS " image", name);
    case PICTURE_UNSUPPORTED:
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is %s, which is not read", name, out->form);
    case PICTURE_TOO_LARGE:
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: is %d by %d pixels; up to %d million in all are read", name,
                               out->width, out->height, PICTURE_PIXELS_MAX / 1000000);
    case PICTURE_DAMAGED:
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: the image is damaged or cut short", name);
    case PICTURE_NO_MEMORY:
        return cairn_error_set(CAIRN_FAILED, "%s: out of memory for %d by %d pixels", name,
                               out->width, out->height);
    case PICTURE_DECODED:
        break;
    }
    return CAIRN_OK;
}

static cairn_status decode(const uint8_t *file, size_t size, const char *name, picture *out) {
    const signature *found = recognise(file, size);
    picture_outcome outcome = PICTURE_UNREADABLE;
    if (size > FILE_MAX)
        return too_long(name, size);
    if (size == 0)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is empty, so no " READ_FORMATS " image", name);
    out->channels = 3;
    if (found)
        outcome =
            found->decode ? found->decode(file, size, out) : cairn_picture_refuse(out, found->form);
    if (!outcome && !cairn_picture_orient(out, cairn_orientation_read(file, size)))
        outcome = PICTURE_NO_MEMORY;
    return explain(outcome, name, out);
}

/* In place: the luma of ITU-R BT.601, by Pillow's integers. */
static void make_grey(picture *p) {
    const size_t count = (size_t)p->width * (size_t)p->height;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = p->pixels + 3 * i;
        p->pixels[i] =
            (uint8_t)((from[0] * 19595 + from[1] * 38470 + from[2] * 7471 + 0x8000) >> 16);
    }
    p->channels = 1;
}

cairn_status cairn_image_decode(const uint8_t *bytes, size_t size, const char *name,
                                cairn_shape shape, cairn_image_fit fit, uint8_t *pixels) {
    picture decoded = {0};
    size_t plane = (size_t)shape.h * (size_t)shape.w;
    if (shape.c != 1 && shape.c != 3)
        return cairn_error_set(
            CAIRN_BAD_INPUT, "%s: images have 1 or 3 channels, the model reads %d", name, shape.c);
    uint8_t *sized = malloc(plane * (size_t)shape.c);
    if (!sized)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %s", name);
    cairn_status status = decode(bytes, size, name, &decoded);
    if (!status && shape.c == 1)
        make_grey(&decoded);
    if (!status && decoded.width == shape.w && decoded.height == shape.h)
        memcpy(sized, decoded.pixels, plane * (size_t)shape.c);
    else if (!status && fit == CAIRN_IMAGE_EXACT)
        status =
            cairn_error_set(CAIRN_BAD_INPUT,
                            "%s: is %d by %d pixels, the first image %d by %d; data.image_size "
                            "resizes them all",
                            name, decoded.width, decoded.height, shape.w, shape.h);
    else if (!status && !cairn_picture_resize(&decoded, fit == CAIRN_IMAGE_CROPPED, sized, shape))
        status = cairn_error_set(CAIRN_FAILED, "%s: out of memory for resizing", name);
    /* [h,w,c] -> [c,h,w] */
    for (size_t i = 0; i < plane && !status; i++)
        for (size_t c = 0; c < (size_t)shape.c; c++)
            pixels[c * plane + i] = sized[i * (size_t)shape.c + c];
    free(decoded.pixels);
    free(sized);
    return status;
}

cairn_status cairn_image_read(const char *path, cairn_shape shape, cairn_image_fit fit,
                              uint8_t *pixels) {
    uint8_t *file = NULL;
    size_t size = 0;
    cairn_status status = cairn_file_read_at_most(path, FILE_MAX, &file, &size);
    if (!status)
        status = cairn_image_decode(file, size, path, shape, fit, pixels);
    free(file);
    return status;
}

cairn_status cairn_image_size(const char *path, int *width, int *height) {
    uint8_t *file = NULL;
    size_t size = 0;
    picture decoded = {0};
    cairn_status status = cairn_file_read_at_most(path, FILE_MAX, &file, &size);
    if (!status)
        status = decode(file, size, path, &decoded);
    *width = decoded.width;
    *height = decoded.height;
    free(decoded.pixels);
    free(file);
    return status;
}

cairn_status cairn_image_read_stream(int fd, const char *name, cairn_shape shape,
                                     cairn_image_fit fit, uint8_t *pixels) {
    enum { BLOCK = 64 << 10 };
    uint8_t *bytes = NULL;
    size_t size = 0, capacity = 0;
    cairn_status status = CAIRN_OK;
    for (ssize_t got = 1; got != 0 && !status;) {
        if (capacity - size < BLOCK) {
            capacity = capacity ? 2 * capacity : (size_t)4 * BLOCK;
            uint8_t *grown = realloc(bytes, capacity);
            if (!grown) {
                status = cairn_error_set(CAIRN_FAILED, "out of memory for %s", name);
                break;
            }
            bytes = grown;
        }
        got = read(fd, bytes + size, BLOCK);
        if (got < 0 && errno != EINTR)
            status = cairn_error_set(CAIRN_FAILED, "%s: cannot read: %s", name, strerror(errno));
        size += got > 0 ? (size_t)got : 0;
        if (size > FILE_MAX)
            status = cairn_error_set(
                CAIRN_BAD_INPUT, "%s: is longer than the %d bytes that are read", name, FILE_MAX);
    }
    if (!status)
        status = cairn_image_decode(bytes, size, name, shape, fit, pixels);
    free(bytes);
    return status;
}
