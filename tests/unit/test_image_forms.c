/* Image files of every form that people have: the colour spaces of JPEGs, the headers and palettes
 * of BMPs, which way up a picture is, what takes more memory than it looks, and what is refused by
 * the name of its form. Beside Pillow, over many more files: parity/check_images.py. */
#include "cairn/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>

enum { WIDTH = 5, HEIGHT = 3, FILE_MAX = 1 << 20 };

typedef struct {
    uint8_t bytes[FILE_MAX];
    size_t size;
} file;
static file made;

static void put(const void *bytes, size_t count) {
    assert_true(count <= sizeof made.bytes - made.size);
    memcpy(made.bytes + made.size, bytes, count);
    made.size += count;
}

static void put_little(uint32_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        put(&(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

static void decode(uint8_t *pixels, int height, int width) {
    const cairn_shape shape = {3, height, width};
    if (cairn_image_decode(made.bytes, made.size, "file", shape, CAIRN_IMAGE_EXACT, pixels))
        fail_msg("%s", cairn_error_message());
}

static void refused(const char *reason) {
    uint8_t pixels[3 * HEIGHT * WIDTH];
    const cairn_shape shape = {3, HEIGHT, WIDTH};
    assert_int_equal(
        cairn_image_decode(made.bytes, made.size, "file", shape, CAIRN_IMAGE_RESIZED, pixels),
        CAIRN_BAD_INPUT);
    if (!strstr(cairn_error_message(), reason))
        fail_msg("'%s' is not in: %s", reason, cairn_error_message());
}

static void near(int value, int expected, int tolerance) {
    if (abs(value - expected) > tolerance)
        fail_msg("%d is not %d +- %d", value, expected, tolerance);
}

/* BMP ------------------------------------------------------------------------------------------ */

static uint8_t colour_of(int index, int channel) {
    return (uint8_t)(200 - 7 * index - 30 * channel);
}

/* `colours` entries, and pixels that count through all that so many bits can name. */
static void make_palette_bmp(int bits, int header, int colours) {
    const int entry = header == 12 ? 3 : 4, begin = 14 + header + entry * colours;
    const int stride = (WIDTH * bits + 31) / 32 * 4;
    made.size = 0;
    put("BM", 2);
    put_little(0, 4);
    put_little(0, 4);
    put_little((uint32_t)begin, 4);
    put_little((uint32_t)header, 4);
    put_little(WIDTH, header == 12 ? 2 : 4);
    put_little(HEIGHT, header == 12 ? 2 : 4);
    put_little(1, 2);
    put_little((uint32_t)bits, 2);
    for (int i = 16; i < header; i += 4)
        put_little(i == 32 ? (uint32_t)colours : 0, 4);
    for (int i = 0; i < colours; i++) {
        for (int c = 2; c >= 0; c--)
            put(&(uint8_t){colour_of(i, c)}, 1);
        put_little(0, entry - 3);
    }
    for (int y = 0; y < HEIGHT; y++) {
        uint8_t row[64] = {0};
        for (int x = 0; x < WIDTH; x++) {
            const int index = (y * WIDTH + x) % (1 << bits), bit = x * bits;
            row[bit / 8] = (uint8_t)(row[bit / 8] | index << (8 - bits - bit % 8));
        }
        put(row, (size_t)stride);
    }
}

/* Before and after memory was used for something else: nothing of that may be seen. */
static void palettes_of_any_length_are_read(void **state) {
    (void)state;
    static const int headers[] = {12, 40, 52, 56, 64, 108, 124};
    for (int bits = 1; bits <= 8; bits *= bits == 1 ? 4 : 2)
        for (size_t h = 0; h < sizeof headers / sizeof headers[0]; h++)
            for (int colours = 1; colours <= 1 << bits; colours += colours < 16 ? 1 : 60) {
                uint8_t pixels[3][HEIGHT][WIDTH], *used = malloc(4096);
                assert_non_null(used);
                memset(used, 0xA5, 4096);
                free(used);
                make_palette_bmp(bits, headers[h], colours);
                decode(pixels[0][0], HEIGHT, WIDTH);
                for (int i = 0; i < HEIGHT * WIDTH; i++)
                    for (int c = 0; c < 3; c++) {
                        const int index = i % (1 << bits);
                        const uint8_t expected = index < colours ? colour_of(index, c) : 0;
                        assert_int_equal(pixels[c][HEIGHT - 1 - i / WIDTH][i % WIDTH], expected);
                    }
            }
}

/* Whatever a header says, every pixel is the file's or it is refused. */
static void bmp_headers_may_lie(void **state) {
    (void)state;
    for (int bits = 1; bits <= 8; bits *= bits == 1 ? 4 : 2)
        for (size_t at = 2; at < 54; at++)
            for (int value = 0; value < 256; value += value < 8 ? 1 : 31) {
                uint8_t first[3 * HEIGHT * WIDTH] = {0}, second[3 * HEIGHT * WIDTH] = {0};
                const cairn_shape shape = {3, HEIGHT, WIDTH};
                make_palette_bmp(bits, 40, 1 << bits);
                made.bytes[at] = (uint8_t)value;
                cairn_status status = cairn_image_decode(made.bytes, made.size, "file", shape,
                                                         CAIRN_IMAGE_EXACT, first);
                assert_true(status == CAIRN_OK || status == CAIRN_BAD_INPUT);
                assert_int_equal(cairn_image_decode(made.bytes, made.size, "file", shape,
                                                    CAIRN_IMAGE_EXACT, second),
                                 status);
                assert_memory_equal(first, second, sizeof first);
            }
}

/* JPEG ----------------------------------------------------------------------------------------- */

/* A JPEG of one colour: its samples as the colour space `in` has them, stored as `stored`. */
static void make_jpeg(const uint8_t *samples, int components, J_COLOR_SPACE in,
                      J_COLOR_SPACE stored, bool progressive) {
    struct jpeg_compress_struct coder;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    uint8_t row[4 * WIDTH];
    JSAMPROW rows[] = {row};
    for (int i = 0; i < components * WIDTH; i++)
        row[i] = samples[i % components];
    coder.err = jpeg_std_error(&errors);
    jpeg_create_compress(&coder);
    jpeg_mem_dest(&coder, &bytes, &size);
    coder.image_width = WIDTH;
    coder.image_height = HEIGHT;
    coder.input_components = components;
    coder.in_color_space = in;
    jpeg_set_defaults(&coder);
    jpeg_set_colorspace(&coder, stored);
    jpeg_set_quality(&coder, 100, TRUE);
    if (progressive)
        jpeg_simple_progression(&coder);
    jpeg_start_compress(&coder, TRUE);
    for (int y = 0; y < HEIGHT; y++)
        jpeg_write_scanlines(&coder, rows, 1);
    jpeg_finish_compress(&coder);
    jpeg_destroy_compress(&coder);
    made.size = 0;
    put(bytes, size);
    free(bytes);
}

/* Print's inks are stored as Adobe does, by their complements. */
static void jpegs_of_every_colour_space_are_read(void **state) {
    (void)state;
    static const struct {
        int components;
        J_COLOR_SPACE in, stored;
        uint8_t samples[4], expected[3];
    } cases[] = {
        {1, JCS_GRAYSCALE, JCS_GRAYSCALE, {90}, {90, 90, 90}},
        {3, JCS_RGB, JCS_YCbCr, {200, 100, 30}, {200, 100, 30}},
        {3, JCS_RGB, JCS_RGB, {10, 100, 230}, {10, 100, 230}},
        {4, JCS_CMYK, JCS_CMYK, {255, 128, 0, 255}, {255, 128, 0}},
        {4, JCS_CMYK, JCS_CMYK, {200, 100, 50, 128}, {100, 50, 25}},
        {4, JCS_CMYK, JCS_YCCK, {255, 128, 0, 255}, {255, 128, 0}},
        {4, JCS_CMYK, JCS_YCCK, {200, 100, 50, 128}, {100, 50, 25}},
        {4, JCS_CMYK, JCS_YCCK, {200, 100, 50, 0}, {0, 0, 0}},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        const size_t k = i / 2;
        uint8_t pixels[3][HEIGHT][WIDTH], grey[HEIGHT][WIDTH];
        make_jpeg(cases[k].samples, cases[k].components, cases[k].in, cases[k].stored, i % 2);
        decode(pixels[0][0], HEIGHT, WIDTH);
        for (int c = 0; c < 3; c++)
            near(pixels[c][HEIGHT - 1][WIDTH - 1], cases[k].expected[c], 2);
        const uint8_t *e = cases[k].expected;
        assert_int_equal(cairn_image_decode(made.bytes, made.size, "file",
                                            (cairn_shape){1, HEIGHT, WIDTH}, CAIRN_IMAGE_EXACT,
                                            grey[0]),
                         CAIRN_OK);
        near(grey[1][1], (299 * e[0] + 587 * e[1] + 114 * e[2]) / 1000, 2);
    }
}

/* Where the start of the frame lies. */
static uint8_t *frame(void) {
    for (size_t i = 0; i + 10 < made.size; i++)
        if (made.bytes[i] == 0xFF && (made.bytes[i + 1] == 0xC0 || made.bytes[i + 1] == 0xC2))
            return made.bytes + i;
    fail_msg("the JPEG has no frame");
    return NULL;
}

static void jpegs_that_are_not_read_are_not_called_damaged(void **state) {
    (void)state;
    static const struct {
        int at; /* of the frame's bytes */
        uint8_t value;
        const char *reason;
    } cases[] = {
        {4, 12, "is a JPEG of other than 8 bits a sample, which is not read"},
        {1, 0xC3, "is a lossless or hierarchical JPEG, which is not read"},
        {1, 0xC5, "is a lossless or hierarchical JPEG, which is not read"},
        {6, 0, "is a JPEG that does not give its height at its beginning, which is not read"},
        {7, 0xFF, "is 65281 by 3 pixels"},
        {11, 0xFF, "the image is damaged or cut short"},
    };
    const uint8_t samples[] = {1, 2, 3};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_jpeg(samples, 3, JCS_RGB, JCS_YCbCr, false);
        frame()[cases[i].at] = cases[i].value;
        if (cases[i].at == 7) /* width 65,281 and height 65,283 */
            frame()[5] = 0xFF;
        refused(cases[i].at == 7 ? "65283" : cases[i].reason);
    }
    made.size -= 2; /* its end */
    refused("damaged");
}

/* Scans that say nothing, in a few bytes each, cost a pass over the picture each. */
static void many_scans_are_refused(void **state) {
    (void)state;
    const uint8_t samples[] = {90};
    uint8_t pixels[HEIGHT * WIDTH * 3];
    make_jpeg(samples, 1, JCS_GRAYSCALE, JCS_GRAYSCALE, true);
    size_t begin = made.size - 2, end = made.size - 2;
    while (made.bytes[begin] != 0xFF || made.bytes[begin + 1] != 0xDA)
        begin--;
    uint8_t scan[256];
    const size_t size = end - begin;
    assert_true(size < sizeof scan);
    memcpy(scan, made.bytes + begin, size);
    made.size = end;
    for (int i = 0; i < 40; i++)
        put(scan, size);
    put("\xFF\xD9", 2);
    decode(pixels, HEIGHT, WIDTH);
    made.size -= 2;
    for (int i = 0; i < 40; i++)
        put(scan, size);
    put("\xFF\xD9", 2);
    refused("is a JPEG of too many scans, which is not read");
}

/* PNG ------------------------------------------------------------------------------------------ */

static uint32_t checksum(const uint8_t *at, size_t size) {
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        sum ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320u : 0);
    }
    return ~sum;
}

static void put_big(uint32_t value) {
    for (int i = 3; i >= 0; i--)
        put(&(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

static void put_chunk(const char *kind, const void *body, size_t size) {
    put_big((uint32_t)size);
    put(kind, 4);
    put(body, size);
    put_big(checksum(made.bytes + made.size - size - 4, size + 4));
}

/* The PNG as libpng writes it, but for its end, where chunks can be put; then put_end. */
static void make_png(const uint8_t *pixels, png_uint_32 format) {
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = WIDTH, .height = HEIGHT, .format = format};
    png_alloc_size_t size = sizeof made.bytes;
    assert_true(png_image_write_to_memory(&image, made.bytes, &size, 0, pixels, 0, NULL));
    made.size = size - 12;
}

static void put_end(void) {
    put_chunk("IEND", "", 0);
}

static void transparency_is_laid_over_white(void **state) {
    (void)state;
    uint8_t pixels[HEIGHT * WIDTH * 4], got[3][HEIGHT * WIDTH];
    for (int i = 0; i < HEIGHT * WIDTH; i++)
        memcpy(pixels + 4 * i, (uint8_t[]){0, 100, 255, (uint8_t)(17 * i)}, 4);
    make_png(pixels, PNG_FORMAT_RGBA);
    put_end();
    decode(got[0], HEIGHT, WIDTH);
    for (int i = 0; i < HEIGHT * WIDTH; i++) {
        near(got[0][i], 255 - 17 * i, 1);
        near(got[1][i], 255 - 155 * 17 * i / 255, 1);
        assert_int_equal(got[2][i], 255);
    }
}

/* Texts that unfold to 7 MB each: none is unfolded, before the pixels or behind them. */
static void compressed_texts_take_no_memory(void **state) {
    (void)state;
    enum { TEXT = 7000000, TIMES = 60 };
    uint8_t pixels[HEIGHT * WIDTH * 3] = {0}, got[3 * HEIGHT * WIDTH];
    char *text = malloc(TEXT + 1);
    assert_non_null(text);
    memset(text, 'A', TEXT);
    text[TEXT] = '\0';
    char name[] = "/tmp/cairn-text-XXXXXX";
    FILE *out = fdopen(mkstemp(name), "w+b");
    assert_non_null(out);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_text words = {.compression = PNG_TEXT_COMPRESSION_zTXt, .key = (char[]){"k"}, .text = text};
    words.text_length = TEXT;
    png_init_io(png, out);
    png_set_IHDR(png, info, WIDTH, HEIGHT, 8, PNG_COLOR_TYPE_RGB, 0, 0, 0);
    png_set_text(png, info, &words, 1);
    png_write_info(png, info);
    png_destroy_write_struct(&png, &info);
    free(text);
    static uint8_t start[64 << 10];
    rewind(out);
    const size_t size = fread(start, 1, sizeof start, out);
    fclose(out);
    remove(name);
    assert_in_range(size, 100, sizeof start / 4); /* 33 bytes, and the chunk */
    for (int behind = 0; behind < 2; behind++) {
        make_png(pixels, PNG_FORMAT_RGB);
        static file plain;
        plain = made;
        made.size = behind ? made.size : 33;
        for (int i = 0; i < TIMES; i++)
            put(start + 33, size - 33);
        if (!behind)
            put(plain.bytes + 33, plain.size - 33);
        put_end();
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        decode(got, HEIGHT, WIDTH);
        getrusage(RUSAGE_SELF, &after);
        assert_in_range(after.ru_maxrss - before.ru_maxrss, 0, 2048); /* KiB; one text is 7000 */
    }
}

/* Which way up -------------------------------------------------------------------------------- */

static void put_exif(int orientation, bool big_endian) {
    uint8_t little[] = {'I', 'I', '*', 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0};
    uint8_t big[] = {'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0};
    little[18] = big[19] = (uint8_t)orientation;
    put_chunk("eXIf", big_endian ? big : little, sizeof big);
}

static void pictures_are_turned_as_exif_says(void **state) {
    (void)state;
    /* Where the stored picture's upper left and lower right pixels come to lie. */
    enum { R = WIDTH - 1, B = HEIGHT - 1 };
    static const int corners[10][2][2] = {
        {{0, 0}, {B, R}}, {{0, 0}, {B, R}}, {{0, R}, {B, 0}}, {{B, R}, {0, 0}}, {{B, 0}, {0, R}},
        {{0, 0}, {R, B}}, {{0, B}, {R, 0}}, {{R, B}, {0, 0}}, {{R, 0}, {0, B}}, {{0, 0}, {B, R}},
    };
    uint8_t pixels[HEIGHT * WIDTH * 3], got[3 * HEIGHT * WIDTH];
    for (int i = 0; i < HEIGHT * WIDTH * 3; i++)
        pixels[i] = (uint8_t)(i / 3);
    for (int i = 0; i < 20; i++) {
        const int orientation = i / 2,
                  width = orientation >= 5 && orientation <= 8 ? HEIGHT : WIDTH;
        make_png(pixels, PNG_FORMAT_RGB);
        put_exif(orientation, i % 2);
        put_end();
        decode(got, HEIGHT * WIDTH / width, width);
        assert_int_equal(got[corners[orientation][0][0] * width + corners[orientation][0][1]], 0);
        assert_int_equal(got[corners[orientation][1][0] * width + corners[orientation][1][1]],
                         HEIGHT * WIDTH - 1);
        assert_memory_equal(got, got + HEIGHT * WIDTH, HEIGHT * WIDTH);
    }
}

/* Where EXIF says nothing, XMP may; in whichever form XML has it. */
static void xmp_turns_where_exif_says_nothing(void **state) {
    (void)state;
    static const struct {
        const char *xmp;
        int exif, corner; /* where the stored picture's first pixel comes to lie */
    } cases[] = {
        {"<a tiff:Orientation=\"3\">", 0, HEIGHT * WIDTH - 1},
        {"<tiff:Orientation>2</tiff:Orientation>", 0, WIDTH - 1},
        {"tiff:Orientation tiff:Orientation='3' tiff:Orientation=\"2\"", 0, WIDTH - 1},
        {"<a tiff:Orientation=\"3\">", 2, WIDTH - 1},
        {"<a tiff:Orientation=\"9\">", 0, 0},
        {"<a tiff:Orientation=\"", 0, 0},
        {"tiff:Orientation", 0, 0},
    };
    uint8_t pixels[HEIGHT * WIDTH * 3], got[3 * HEIGHT * WIDTH];
    for (int i = 0; i < HEIGHT * WIDTH * 3; i++)
        pixels[i] = (uint8_t)(i / 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200] = "XML:com.adobe.xmp\0\0\0\0";
        make_png(pixels, PNG_FORMAT_RGB);
        strcpy(text + 22, cases[i].xmp);
        put_chunk("iTXt", text, 22 + strlen(cases[i].xmp));
        if (cases[i].exif)
            put_exif(cases[i].exif, false);
        put_end();
        decode(got, HEIGHT, WIDTH);
        assert_int_equal(got[cases[i].corner], 0);
    }
}

/* A tag that ends early, points outside, or counts what is not there turns nothing. */
static void damaged_exif_turns_nothing(void **state) {
    (void)state;
    uint8_t pixels[HEIGHT * WIDTH * 3], got[3 * HEIGHT * WIDTH];
    for (int i = 0; i < HEIGHT * WIDTH * 3; i++)
        pixels[i] = (uint8_t)(i / 3);
    make_png(pixels, PNG_FORMAT_RGB);
    const size_t begin = made.size;
    for (size_t at = 0; at < 22; at++)
        for (int value = 0; value < 256; value += 15) {
            made.size = begin;
            put_exif(3, at % 2);
            made.bytes[begin + 8 + at] = (uint8_t)value;
            put_end();
            decode(got, HEIGHT, WIDTH); /* its checksum is wrong now, which is nobody's concern */
            assert_true(got[0] == 0 || got[0] == HEIGHT * WIDTH - 1);
        }
}

/* Forms that are not read ---------------------------------------------------------------------- */

static void other_formats_are_named(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        const char *reason;
    } cases[] = {
        {"GIF89a..............", 20, "is a GIF, which is not read"},
        {"II*\0................", 20, "is a TIFF, which is not read"},
        {"MM\0*................", 20, "is a TIFF, which is not read"},
        {"....ftypheic........", 20, "is a HEIC, which is not read"},
        {"....ftypavif........", 20, "is an AVIF, which is not read"},
        {"\0\0\0\x0CjP  \r\n........", 18, "is a JPEG 2000, which is not read"},
        {"\x89PNG\r\n\x1a\n\0\0\0\4CgBI\0\0\0\0", 20, "is a PNG as Apple's tools change them"},
        {"\x89PNG\n\n\x1a\n............", 20, "damaged or cut short"},
        {"", 0, "is empty"},
        {"<svg xmlns=.........", 20, "is no PNG, JPEG, BMP or WebP image"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        made.size = 0;
        put(cases[i].bytes, cases[i].count);
        refused(cases[i].reason);
    }
    make_palette_bmp(8, 40, 256);
    made.bytes[30] = 4; /* compression: JPEG */
    refused("is a BMP in a compression other than runs, which is not read");
    make_palette_bmp(8, 40, 256);
    made.bytes[28] = 2;
    refused("is a BMP of other than 1, 4, 8, 16, 24 or 32 bits a pixel, which is not read");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compressed_texts_take_no_memory), /* first: it looks at the peak */
        cmocka_unit_test(palettes_of_any_length_are_read),
        cmocka_unit_test(bmp_headers_may_lie),
        cmocka_unit_test(jpegs_of_every_colour_space_are_read),
        cmocka_unit_test(jpegs_that_are_not_read_are_not_called_damaged),
        cmocka_unit_test(many_scans_are_refused),
        cmocka_unit_test(transparency_is_laid_over_white),
        cmocka_unit_test(pictures_are_turned_as_exif_says),
        cmocka_unit_test(xmp_turns_where_exif_says_nothing),
        cmocka_unit_test(damaged_exif_turns_nothing),
        cmocka_unit_test(other_formats_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
