/* One image file: PNG and JPEG by their own libraries (png.c, jpeg.c), BMP by stb_image, to the
 * wanted size by resize.c. stb_image has its faults with hostile PNG and JPEG files; its BMP reader
 * is small enough to be asked only what it can answer. Many files at once are images.c. */
#include "cairn/image.h"

#include "cairn/file.h"
#include "picture.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_FAILURE_STRINGS
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

enum { FILE_MAX = 64 << 20 };

picture_outcome cairn_picture_allocate(picture *out, uint64_t width, uint64_t height) {
    out->width = width < INT_MAX ? (int)width : INT_MAX;
    out->height = height < INT_MAX ? (int)height : INT_MAX;
    if (width < 1 || height < 1 || width > PICTURE_PIXELS_MAX / height)
        return PICTURE_TOO_LARGE;
    out->pixels = malloc((size_t)(width * height) * (size_t)out->channels);
    return out->pixels ? PICTURE_DECODED : PICTURE_NO_MEMORY;
}

/* stb_image takes what is missing at the end of an uncompressed BMP for zeros. The file says where
 * its rows begin and how deep they are. */
static bool bmp_cut_short(const uint8_t *file, size_t size, const picture *p) {
    bool os2 = file[14] == 12; /* the older header, of 12 bytes */
    uint64_t begin = (uint64_t)file[10] | (uint64_t)file[11] << 8 | (uint64_t)file[12] << 16 |
                     (uint64_t)file[13] << 24;
    uint64_t bits = os2 ? file[24] : file[28];
    uint64_t stride = ((uint64_t)p->width * bits + 31) / 32 * 4;
    return begin + stride * (uint64_t)p->height > size;
}

static picture_outcome decode_bmp(const uint8_t *file, size_t size, picture *out) {
    int width, height, found;
    if (size < 30 || !stbi_info_from_memory(file, (int)size, &width, &height, &found))
        return PICTURE_UNREADABLE;
    if (height < 0 && height >= -PICTURE_PIXELS_MAX) /* the top row comes first */
        height = -height;
    picture_outcome outcome = cairn_picture_allocate(out, width > 0 ? (uint64_t)width : 0,
                                                     height > 0 ? (uint64_t)height : 0);
    if (outcome)
        return outcome;
    if (bmp_cut_short(file, size, out))
        return PICTURE_DAMAGED;
    uint8_t *pixels =
        stbi_load_from_memory(file, (int)size, &width, &height, &found, out->channels);
    if (!pixels)
        return PICTURE_DAMAGED;
    memcpy(out->pixels, pixels, (size_t)width * (size_t)height * (size_t)out->channels);
    stbi_image_free(pixels);
    return PICTURE_DECODED;
}

static cairn_status too_long(const char *name, size_t size) {
    return cairn_error_set(CAIRN_BAD_INPUT, "%s: is %zu bytes long; images up to %d are read", name,
                           size, FILE_MAX);
}

static cairn_status decode(const uint8_t *file, size_t size, const char *name, picture *out) {
    picture_outcome outcome = PICTURE_UNREADABLE;
    if (size > FILE_MAX)
        return too_long(name, size);
    if (size >= 2 && file[0] == 0x89 && file[1] == 'P')
        outcome = cairn_png_decode(file, size, out);
    else if (size >= 2 && file[0] == 0xFF && file[1] == 0xD8)
        outcome = cairn_jpeg_decode(file, size, out);
    else if (size >= 2 && file[0] == 'B' && file[1] == 'M')
        outcome = decode_bmp(file, size, out);
    switch (outcome) {
    case PICTURE_UNREADABLE:
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is no PNG, JPEG or BMP image that can be read",
                               name);
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

cairn_status cairn_image_decode(const uint8_t *bytes, size_t size, const char *name,
                                cairn_shape shape, cairn_image_fit fit, uint8_t *pixels) {
    picture decoded = {.channels = shape.c};
    size_t plane = (size_t)shape.h * (size_t)shape.w;
    if (shape.c != 1 && shape.c != 3)
        return cairn_error_set(
            CAIRN_BAD_INPUT, "%s: images have 1 or 3 channels, the model reads %d", name, shape.c);
    uint8_t *sized = malloc(plane * (size_t)shape.c);
    if (!sized)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %s", name);
    cairn_status status = decode(bytes, size, name, &decoded);
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

/* Before it is read, so that a giant file costs no memory and a pipe is not waited for. */
static cairn_status read_file(const char *path, uint8_t **file, size_t *size) {
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is not a regular file", path);
    if (stat(path, &info) == 0 && info.st_size > FILE_MAX)
        return too_long(path, (size_t)info.st_size);
    return cairn_file_read(path, file, size);
}

cairn_status cairn_image_read(const char *path, cairn_shape shape, cairn_image_fit fit,
                              uint8_t *pixels) {
    uint8_t *file = NULL;
    size_t size = 0;
    cairn_status status = read_file(path, &file, &size);
    if (!status)
        status = cairn_image_decode(file, size, path, shape, fit, pixels);
    free(file);
    return status;
}

cairn_status cairn_image_size(const char *path, int *width, int *height) {
    uint8_t *file = NULL;
    size_t size = 0;
    picture decoded = {.channels = 3};
    cairn_status status = read_file(path, &file, &size);
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
