/* PNG files by libpng. Levels are taken as they are: no gamma; 16 bits are cut to 8; transparency
 * is left out. */
#include "picture.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

typedef struct {
    const uint8_t *at;
    size_t left;
} source;

static void read_bytes(png_structp png, png_bytep out, size_t count) {
    source *from = png_get_io_ptr(png);
    if (count > from->left)
        png_error(png, "the file is cut short");
    memcpy(out, from->at, count);
    from->at += count;
    from->left -= count;
}

static PNG_NORETURN void on_error(png_structp png, png_const_charp text) {
    (void)text;
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

/* Asks libpng for 8-bit samples of the wanted channels, whatever the file has. */
static void set_conversion(png_structp png, png_infop info, int channels) {
    int colour = png_get_color_type(png, info) & PNG_COLOR_MASK_COLOR;
    png_set_strip_16(png);
    png_set_expand(png);
    png_set_strip_alpha(png);
    if (channels == 3 && !colour)
        png_set_gray_to_rgb(png);
    if (channels == 1 && colour) /* the luma of ITU-R BT.601, as JPEG has it */
        png_set_rgb_to_gray_fixed(png, PNG_ERROR_ACTION_NONE, 29900, 58700);
}

static void read_rows(png_structp png, png_infop info, const picture *out) {
    size_t stride = (size_t)out->width * (size_t)out->channels;
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if (png_get_rowbytes(png, info) != stride)
        png_error(png, "the rows are not as asked for");
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < (size_t)out->height; y++)
            png_read_row(png, out->pixels + y * stride, NULL);
    png_read_end(png, NULL);
}

/* Its own function, so that no local variable changes between setjmp and longjmp. */
static void decode(png_structp png, png_infop info, picture *out, picture_outcome *outcome) {
    if (setjmp(png_jmpbuf(png)))
        return;
    *outcome = PICTURE_UNREADABLE;
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_read_info(png, info);
    *outcome = cairn_picture_allocate(out, png_get_image_width(png, info),
                                      png_get_image_height(png, info));
    if (*outcome)
        return;
    *outcome = PICTURE_DAMAGED;
    set_conversion(png, info, out->channels);
    read_rows(png, info, out);
    *outcome = PICTURE_DECODED;
}

picture_outcome cairn_png_decode(const uint8_t *file, size_t size, picture *out) {
    source from = {file, size};
    picture_outcome outcome = PICTURE_NO_MEMORY;
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (info) {
        png_set_read_fn(png, &from, read_bytes);
        decode(png, info, out, &outcome);
    }
    png_destroy_read_struct(&png, &info, NULL);
    return outcome;
}
