/* PNG files by libpng. Levels are taken as they are: no gamma; 16 bits are cut to 8; what is
 * transparent is laid over white. Of the chunks that a picture can do without none is read: texts
 * and profiles of kilobytes may unfold to gigabytes. */
#include "picture.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

enum { CHUNK_MAX = 1 << 20 }; /* bytes of what is kept of one chunk: of palettes, 768 */

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
    picture_outcome *outcome = png_get_error_ptr(png);
    if (strcasestr(text, "out of memory") || strcasestr(text, "insufficient memory"))
        *outcome = PICTURE_NO_MEMORY;
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

/* Asks libpng for 8 bits each of red, green and blue, whatever the file has. */
static void set_conversion(png_structp png, png_infop info) {
    const png_color_16 white = {.red = 255, .green = 255, .blue = 255, .gray = 255};
    png_set_strip_16(png);
    png_set_expand(png);
    png_set_gray_to_rgb(png);
    if (png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA ||
        png_get_valid(png, info, PNG_INFO_tRNS))
        png_set_background_fixed(png, &white, PNG_BACKGROUND_GAMMA_SCREEN, 0, 0);
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
    *outcome = PICTURE_DAMAGED;
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* all but tRNS */
    png_set_chunk_malloc_max(png, CHUNK_MAX);
    png_read_info(png, info);
    *outcome = cairn_picture_allocate(out, png_get_image_width(png, info),
                                      png_get_image_height(png, info));
    if (*outcome)
        return;
    *outcome = PICTURE_DAMAGED;
    set_conversion(png, info);
    read_rows(png, info, out);
    *outcome = PICTURE_DECODED;
}

picture_outcome cairn_png_decode(const uint8_t *file, size_t size, picture *out) {
    source from = {file, size};
    picture_outcome outcome = PICTURE_NO_MEMORY;
    if (size >= 16 && memcmp(file + 12, "CgBI", 4) == 0)
        return cairn_picture_refuse(out, "a PNG as Apple's tools change them (CgBI)");
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &outcome, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (info) {
        png_set_read_fn(png, &from, read_bytes);
        decode(png, info, out, &outcome);
    }
    png_destroy_read_struct(&png, &info, NULL);
    return outcome;
}
