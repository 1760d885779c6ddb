/* JPEG files by libjpeg, baseline and progressive, of grey, colour or the four inks of print. One
 * that ends early is damaged; what libjpeg can go on after, it goes on after, as everywhere. */
#include "picture.h"

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

/* Behind jpeglib.h: its numbers depend on the library's version. */
#include <jerror.h>

/* Each scan is a pass over the whole picture, of a few bytes if a file wants it so; progressive
 * files have about ten. */
enum { SCANS_MAX = 64, SCANS_OF_LARGEST = 16 };

typedef struct {
    struct jpeg_decompress_struct decoder;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    picture *out;
    picture_outcome outcome; /* what a jump means */
} decoding;

/* The form that libjpeg does not read, by its message; NULL: it is no matter of form. */
static const char *form_of(int message) {
    switch (message) {
    case JERR_BAD_PRECISION:
        return "a JPEG of other than 8 bits a sample";
    case JERR_SOF_UNSUPPORTED:
        return "a lossless or hierarchical JPEG";
    case JERR_ARITH_NOTIMPL:
        return "a JPEG in arithmetic coding";
    case JERR_EMPTY_IMAGE:
        return "a JPEG that does not give its height at its beginning";
    case JERR_COMPONENT_COUNT:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_BAD_J_COLORSPACE:
        return "a JPEG of other than 1, 3 or 4 components";
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_NOT_COMPILED:
        return "a JPEG of a kind that libjpeg does not read";
    default:
        return NULL;
    }
}

__attribute__((noreturn)) static void leave(j_common_ptr common) {
    decoding *d = common->client_data;
    const int message = common->err->msg_code;
    if (message == JERR_OUT_OF_MEMORY)
        d->outcome = PICTURE_NO_MEMORY;
    else if (message == JERR_IMAGE_TOO_BIG)
        d->outcome = cairn_picture_allocate(d->out, UINT32_MAX, UINT32_MAX);
    else if (form_of(message))
        d->outcome = cairn_picture_refuse(d->out, form_of(message));
    longjmp(d->jump, 1);
}

static void on_message(j_common_ptr common, int level) {
    if (level < 0 && common->err->msg_code == JWRN_JPEG_EOF)
        leave(common);
}

static void on_progress(j_common_ptr common) {
    decoding *d = common->client_data;
    const int64_t scans = d->decoder.input_scan_number;
    if (scans > SCANS_MAX ||
        scans * d->out->width * d->out->height > (int64_t)SCANS_OF_LARGEST * PICTURE_PIXELS_MAX) {
        d->outcome = cairn_picture_refuse(d->out, "a JPEG of too many scans");
        longjmp(d->jump, 1);
    }
}

/* One row of cyan, magenta, yellow and black, of which print programs store the complement, to
 * red, green and blue, as Pillow does. */
static void convert_inks(const uint8_t *inks, int width, uint8_t *out) {
    for (int x = 0; x < width; x++, inks += 4, out += 3)
        for (int c = 0; c < 3; c++)
            out[c] = (uint8_t)((inks[c] * inks[3] + 127) / 255);
}

static void read_rows(decoding *d) {
    j_decompress_ptr decoder = &d->decoder;
    const bool inks = decoder->num_components == 4;
    const size_t stride = 3 * (size_t)d->out->width;
    decoder->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    JSAMPARRAY row =
        decoder->mem->alloc_sarray((j_common_ptr)decoder, JPOOL_IMAGE, 4 * decoder->image_width, 1);
    jpeg_start_decompress(decoder);
    while (decoder->output_scanline < decoder->output_height) {
        JSAMPROW out = d->out->pixels + decoder->output_scanline * stride;
        jpeg_read_scanlines(decoder, inks ? row : &out, 1);
        if (inks)
            convert_inks(row[0], d->out->width, out);
    }
    jpeg_finish_decompress(decoder);
}

/* Its own function, so that no local variable changes between setjmp and longjmp. */
static void decode(decoding *d, const uint8_t *file, size_t size) {
    if (setjmp(d->jump))
        return;
    jpeg_create_decompress(&d->decoder);
    d->decoder.progress = &d->progress;
    jpeg_mem_src(&d->decoder, file, size);
    jpeg_read_header(&d->decoder, TRUE);
    const int components = d->decoder.num_components;
    if (components != 1 && components != 3 && components != 4) {
        d->outcome = cairn_picture_refuse(d->out, form_of(JERR_COMPONENT_COUNT));
        return;
    }
    d->outcome = cairn_picture_allocate(d->out, d->decoder.image_width, d->decoder.image_height);
    if (d->outcome)
        return;
    d->outcome = PICTURE_DAMAGED;
    read_rows(d);
    d->outcome = PICTURE_DECODED;
}

picture_outcome cairn_jpeg_decode(const uint8_t *file, size_t size, picture *out) {
    decoding d = {.out = out, .outcome = PICTURE_DAMAGED, .progress.progress_monitor = on_progress};
    d.decoder.err = jpeg_std_error(&d.errors);
    d.errors.error_exit = leave;
    d.errors.emit_message = on_message;
    d.decoder.client_data = &d;
    decode(&d, file, size);
    jpeg_destroy_decompress(&d.decoder);
    return d.outcome;
}
