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

bool cairn_picture_resize(const picture *in, uint8_t *out, cairn_shape shape) {
#ifdef RESIZE2
    return stbir_resize(in->pixels, in->width, in->height, 0, out, shape.w, shape.h, 0,
                        shape.c == 1 ? STBIR_1CHANNEL : STBIR_RGB, STBIR_TYPE_UINT8,
                        STBIR_EDGE_CLAMP, STBIR_FILTER_TRIANGLE) != NULL;
#else
    return stbir_resize_uint8_generic(in->pixels, in->width, in->height, 0, out, shape.w, shape.h,
                                      0, shape.c, STBIR_ALPHA_CHANNEL_NONE, 0, STBIR_EDGE_CLAMP,
                                      STBIR_FILTER_TRIANGLE, STBIR_COLORSPACE_LINEAR, NULL) != 0;
#endif
}
