/* Image files by stb_image and stb_image_resize, the only users of which are in this file. */
#include "cairn/image.h"

#include "cairn/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_FAILURE_STRINGS
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

#define STB_IMAGE_RESIZE_STATIC
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#if __has_include(<stb_image_resize2.h>) /* since 2023; the earlier one has another interface */
#define RESIZE2
#include <stb_image_resize2.h>
#else
#include <stb_image_resize.h>
#endif

enum { FILE_MAX = 64 << 20, PIXELS_MAX = 64000000 };

/* Linear interpolation, its kernel widened when shrinking; levels as they are, not gamma-corrected,
 * as the data sets were made. Both are [h,w,c]. */
static bool resize(const uint8_t *in, int width, int height, uint8_t *out, cairn_shape shape) {
#ifdef RESIZE2
    return stbir_resize(in, width, height, 0, out, shape.w, shape.h, 0,
                        shape.c == 1 ? STBIR_1CHANNEL : STBIR_RGB, STBIR_TYPE_UINT8,
                        STBIR_EDGE_CLAMP, STBIR_FILTER_TRIANGLE) != NULL;
#else
    return stbir_resize_uint8_generic(in, width, height, 0, out, shape.w, shape.h, 0, shape.c,
                                      STBIR_ALPHA_CHANNEL_NONE, 0, STBIR_EDGE_CLAMP,
                                      STBIR_FILTER_TRIANGLE, STBIR_COLORSPACE_LINEAR, NULL) != 0;
#endif
}

/* Where two bytes in a row end for the last time; 0 when they are nowhere. */
static size_t last_pair(const uint8_t *file, size_t size, uint8_t first, uint8_t second) {
    for (size_t end = size; end >= 2; end--)
        if (file[end - 2] == first && file[end - 1] == second)
            return end;
    return 0;
}

/* stb_image takes what is missing at the end of a BMP or JPEG for zeros. An uncompressed BMP says
 * where its rows begin and how deep they are; a JPEG's last scan (FF DA) is followed by its end
 * (FF D9), and neither marker can occur inside coded data. */
static bool cut_short(const uint8_t *file, size_t size, int width, int height) {
    if (size < 30)
        return true;
    if (file[0] == 'B' && file[1] == 'M') {
        bool os2 = file[14] == 12; /* the older header, of 12 bytes */
        uint64_t begin = file[10] | file[11] << 8 | file[12] << 16 | (uint64_t)file[13] << 24;
        uint64_t bits = os2 ? file[24] : file[28];
        return begin + ((uint64_t)width * bits + 31) / 32 * 4 * (uint64_t)height > size;
    }
    if (file[0] == 0xFF && file[1] == 0xD8)
        return last_pair(file, size, 0xFF, 0xD9) < last_pair(file, size, 0xFF, 0xDA);
    return false;
}

/* The file's pixels [height, width, channels], to be freed by stbi_image_free. */
static cairn_status decode(const char *path, int channels, uint8_t **pixels, int *width,
                           int *height) {
    struct stat info;
    uint8_t *file = NULL;
    size_t size = 0;
    int found;
    if (stat(path, &info) == 0 && info.st_size > FILE_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is %lld bytes long; images up to %d are read",
                               path, (long long)info.st_size, FILE_MAX);
    cairn_status status = cairn_file_read(path, &file, &size);
    if (status)
        return status;
    /* The size is known before anything is decoded: a small file cannot ask for all memory. */
    bool known = stbi_info_from_memory(file, (int)size, width, height, &found);
    if (known && *height < 0 && *height > -PIXELS_MAX) /* a BMP with its top row first */
        *height = -*height;
    if (!known) {
        status = cairn_error_set(CAIRN_BAD_INPUT,
                                 "%s: is no PNG, JPEG or BMP image that can be read", path);
    } else if (*width < 1 || *height < 1 || *width > PIXELS_MAX / *height) {
        status = cairn_error_set(CAIRN_BAD_INPUT,
                                 "%s: is %d by %d pixels; up to %d million in all are read", path,
                                 *width, *height, PIXELS_MAX / 1000000);
    } else {
        int w, h;
        if (!cut_short(file, size, *width, *height))
            *pixels = stbi_load_from_memory(file, (int)size, &w, &h, &found, channels);
        if (!*pixels)
            status =
                cairn_error_set(CAIRN_BAD_INPUT, "%s: the image is damaged or cut short", path);
    }
    free(file);
    return status;
}

cairn_status cairn_image_read(const char *path, cairn_shape shape, uint8_t *pixels) {
    uint8_t *decoded = NULL;
    int width = 0, height = 0;
    size_t plane = (size_t)shape.h * (size_t)shape.w;
    if (shape.c != 1 && shape.c != 3)
        return cairn_error_set(
            CAIRN_BAD_INPUT, "%s: images have 1 or 3 channels, the model reads %d", path, shape.c);
    uint8_t *sized = malloc(plane * (size_t)shape.c);
    if (!sized)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
    cairn_status status = decode(path, shape.c, &decoded, &width, &height);
    if (!status && width == shape.w && height == shape.h)
        memcpy(sized, decoded, plane * (size_t)shape.c);
    else if (!status && !resize(decoded, width, height, sized, shape))
        status = cairn_error_set(CAIRN_FAILED, "%s: out of memory for resizing", path);
    /* [h,w,c] -> [c,h,w] */
    for (size_t i = 0; i < plane && !status; i++)
        for (size_t c = 0; c < (size_t)shape.c; c++)
            pixels[c * plane + i] = sized[i * (size_t)shape.c + c];
    stbi_image_free(decoded);
    free(sized);
    return status;
}
