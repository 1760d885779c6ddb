/* Resizing by stb_image_resize, of either generation. */
#include "picture.h"

#include <stddef.h>

#define STB_IMAGE_RESIZE_STATIC
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#if __has_include(<stb_image_resize2.h>) /* since 2023; the earlier one has another interface */
#define RESIZE2
#include <stb_image_resize2.h>
#else
#include <stb_image_resize.h>
#endif

/* The largest part in the middle of so many pixels by so many that has the shape's proportions. */
static void find_middle(int *width, int *height, cairn_shape shape) {
    int64_t fitting_width = (int64_t)*height * shape.w / shape.h;
    int64_t fitting_height = (int64_t)*width * shape.h / shape.w;
    if (fitting_width < *width)
        *width = fitting_width > 1 ? (int)fitting_width : 1;
    else if (fitting_height < *height)
        *height = fitting_height > 1 ? (int)fitting_height : 1;
}

bool cairn_picture_resize(const picture *in, bool crops, uint8_t *out, cairn_shape shape) {
    int width = in->width, height = in->height, stride = in->width * in->channels;
    if (crops)
        find_middle(&width, &height, shape);
    const size_t top = (size_t)(in->height - height) / 2, left = (size_t)(in->width - width) / 2;
    const uint8_t *from = in->pixels + top * (size_t)stride + left * (size_t)in->channels;
#ifdef RESIZE2
    return stbir_resize(from, width, height, stride, out, shape.w, shape.h, 0,
                        shape.c == 1 ? STBIR_1CHANNEL : STBIR_RGB, STBIR_TYPE_UINT8,
                        STBIR_EDGE_CLAMP, STBIR_FILTER_TRIANGLE) != NULL;
#else
    return stbir_resize_uint8_generic(from, width, height, stride, out, shape.w, shape.h, 0,
                                      shape.c, STBIR_ALPHA_CHANNEL_NONE, 0, STBIR_EDGE_CLAMP,
                                      STBIR_FILTER_TRIANGLE, STBIR_COLORSPACE_LINEAR, NULL) != 0;
#endif
}
