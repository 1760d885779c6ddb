/* JPEG files by libjpeg, baseline and progressive, of grey or colour. A file that libjpeg would
 * complete by its own invention is damaged. */
#include "picture.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

#include <jpeglib.h>

/* Behind jpeglib.h: its numbers depend on the library's version. */
#include <jerror.h>

/* Each scan is a pass over the whole picture; progressive files have about ten. */
enum { SCANS_MAX = 64 };

typedef struct {
    struct jpeg_decompress_struct decoder;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    picture_outcome outcome; /* what a jump means */
} decoding;

__attribute__((noreturn)) static void leave(j_common_ptr common) {
    decoding *d = common->client_data;
    if (common->err->msg_code == JERR_OUT_OF_MEMORY)
        d->outcome = PICTURE_NO_MEMORY;
    longjmp(d->jump, 1);
}

static void on_message(j_common_ptr common, int level) {
    int code = common->err->msg_code;
    if (level < 0 && (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
                      code == JWRN_JPEG_EOF || code == JWRN_MUST_RESYNC))
        leave(common);
}

static void on_progress(j_common_ptr common) {
    decoding *d = common->client_data;
    if (d->decoder.input_scan_number > SCANS_MAX)
        leave(common);
}

static void read_rows(decoding *d, const picture *out) {
    j_decompress_ptr decoder = &d->decoder;
    decoder->out_color_space = out->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(decoder);
    while (decoder->output_scanline < decoder->output_height) {
        JSAMPROW row = out->pixels + (size_t)decoder->output_scanline * (size_t)out->width *
                                         (size_t)out->channels;
        jpeg_read_scanlines(decoder, &row, 1);
    }
    jpeg_finish_decompress(decoder);
}

/* Its own function, so that no local variable changes between setjmp and longjmp. */
static void decode(decoding *d, const uint8_t *file, size_t size, picture *out) {
    if (setjmp(d->jump))
        return;
    jpeg_create_decompress(&d->decoder);
    d->decoder.progress = &d->progress;
    jpeg_mem_src(&d->decoder, file, size);
    jpeg_read_header(&d->decoder, TRUE);
    d->outcome = cairn_picture_allocate(out, d->decoder.image_width, d->decoder.image_height);
    if (d->outcome)
        return;
    d->outcome = PICTURE_DAMAGED;
    read_rows(d, out);
    d->outcome = PICTURE_DECODED;
}

picture_outcome cairn_jpeg_decode(const uint8_t *file, size_t size, picture *out) {
    decoding d = {.outcome = PICTURE_UNREADABLE, .progress.progress_monitor = on_progress};
    d.decoder.err = jpeg_std_error(&d.errors);
    d.errors.error_exit = leave;
    d.errors.emit_message = on_message;
    d.decoder.client_data = &d;
    decode(&d, file, size, out);
    jpeg_destroy_decompress(&d.decoder);
    return d.outcome;
}
