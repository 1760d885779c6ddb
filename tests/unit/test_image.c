/* Image files: the pixels of small ones in each format, sizes, and files that lie or end early. */
#include "cairn/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Four pixels by two: a red row above a blue one, as Pillow saves it. */
/* clang-format off */
static const uint8_t png[] = {
    0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0x00, 0x00, 0x00, 0x0D, 0x49, 0x48, 0x44, 0x52,
    0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x02, 0x08, 0x02, 0x00, 0x00, 0x00, 0xF0, 0xCA, 0xEA,
    0x34, 0x00, 0x00, 0x00, 0x11, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9C, 0x63, 0xFC, 0xCF, 0x80, 0x00,
    0x8C, 0x0C, 0x0C, 0x08, 0x2E, 0x00, 0x23, 0x1E, 0x02, 0x01, 0x06, 0xF7, 0x4A, 0xAE, 0x00, 0x00,
    0x00, 0x00, 0x49, 0x45, 0x4E, 0x44, 0xAE, 0x42, 0x60, 0x82
};
static const uint8_t jpeg[] = {
    0xFF, 0xD8, 0xFF, 0xE0, 0x00, 0x10, 0x4A, 0x46, 0x49, 0x46, 0x00, 0x01, 0x01, 0x00, 0x00, 0x01,
    0x00, 0x01, 0x00, 0x00, 0xFF, 0xDB, 0x00, 0x43, 0x00, 0x02, 0x01, 0x01, 0x01, 0x01, 0x01, 0x02,
    0x01, 0x01, 0x01, 0x02, 0x02, 0x02, 0x02, 0x02, 0x04, 0x03, 0x02, 0x02, 0x02, 0x02, 0x05, 0x04,
    0x04, 0x03, 0x04, 0x06, 0x05, 0x06, 0x06, 0x06, 0x05, 0x06, 0x06, 0x06, 0x07, 0x09, 0x08, 0x06,
    0x07, 0x09, 0x07, 0x06, 0x06, 0x08, 0x0B, 0x08, 0x09, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x06, 0x08,
    0x0B, 0x0C, 0x0B, 0x0A, 0x0C, 0x09, 0x0A, 0x0A, 0x0A, 0xFF, 0xDB, 0x00, 0x43, 0x01, 0x02, 0x02,
    0x02, 0x02, 0x02, 0x02, 0x05, 0x03, 0x03, 0x05, 0x0A, 0x07, 0x06, 0x07, 0x0A, 0x0A, 0x0A, 0x0A,
    0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A,
    0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A,
    0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0xFF, 0xC0,
    0x00, 0x11, 0x08, 0x00, 0x02, 0x00, 0x04, 0x03, 0x01, 0x11, 0x00, 0x02, 0x11, 0x01, 0x03, 0x11,
    0x01, 0xFF, 0xC4, 0x00, 0x14, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0xFF, 0xC4, 0x00, 0x1B, 0x10, 0x00, 0x00, 0x07, 0x01,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x05, 0x06,
    0x17, 0x56, 0x95, 0xD2, 0xFF, 0xC4, 0x00, 0x15, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x09, 0xFF, 0xC4, 0x00, 0x1B, 0x11,
    0x00, 0x00, 0x07, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x04, 0x07, 0x17, 0x56, 0x94, 0xD3, 0x05, 0xFF, 0xDA, 0x00, 0x0C, 0x03, 0x01, 0x00, 0x02,
    0x11, 0x03, 0x11, 0x00, 0x3F, 0x00, 0x22, 0xA4, 0x17, 0xED, 0xDD, 0x63, 0x48, 0xDE, 0x85, 0xA7,
    0x62, 0x51, 0x08, 0xBF, 0x3A, 0x91, 0x6C, 0x81, 0x5E, 0x75, 0x86, 0x46, 0x7E, 0xE1, 0x8D, 0x07,
    0xFF, 0xD9
};
static const uint8_t bmp[] = {
    0x42, 0x4D, 0x4E, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x36, 0x00, 0x00, 0x00, 0x28, 0x00,
    0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x18, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x18, 0x00, 0x00, 0x00, 0xC4, 0x0E, 0x00, 0x00, 0xC4, 0x0E, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0x00, 0x00, 0xFF, 0x00, 0x00, 0xFF, 0x00, 0x00, 0xFF,
    0x00, 0x00, 0x00, 0x00, 0xFF, 0x00, 0x00, 0xFF, 0x00, 0x00, 0xFF, 0x00, 0x00, 0xFF
};
/* clang-format on */

static const struct {
    const uint8_t *bytes;
    size_t size;
    int tolerance; /* JPEG is lossy */
} files[] = {{png, sizeof png, 0}, {jpeg, sizeof jpeg, 4}, {bmp, sizeof bmp, 0}};
enum { FILES = sizeof files / sizeof files[0] };

static char path[64];

static int set_up(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/cairn-image-%d", (int)getpid());
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return unlink(path);
}

static void write_file(const uint8_t *bytes, size_t size) {
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void near(int value, int expected, int tolerance) {
    if (abs(value - expected) > tolerance)
        fail_msg("%d is not %d +- %d", value, expected, tolerance);
}

static void each_format_gives_its_pixels(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        uint8_t pixels[3][2][4];
        write_file(files[f].bytes, files[f].size);
        assert_int_equal(
            cairn_image_read(path, (cairn_shape){3, 2, 4}, CAIRN_IMAGE_RESIZED, pixels[0][0]),
            CAIRN_OK);
        for (int x = 0; x < 4; x++) {
            near(pixels[0][0][x], 255, files[f].tolerance);
            near(pixels[2][0][x], 0, files[f].tolerance);
            near(pixels[0][1][x], 0, files[f].tolerance);
            near(pixels[1][1][x], 0, files[f].tolerance);
            near(pixels[2][1][x], 255, files[f].tolerance);
        }
    }
}

/* A BMP whose height is negative has its top row first. */
static void a_bmp_may_be_stored_from_the_top(void **state) {
    (void)state;
    uint8_t bytes[sizeof bmp], pixels[3][2][4];
    memcpy(bytes, bmp, sizeof bmp);
    memcpy(bytes + 22, (uint8_t[]){0xFE, 0xFF, 0xFF, 0xFF}, 4);
    write_file(bytes, sizeof bytes);
    assert_int_equal(
        cairn_image_read(path, (cairn_shape){3, 2, 4}, CAIRN_IMAGE_RESIZED, pixels[0][0]),
        CAIRN_OK);
    assert_int_equal(pixels[0][0][0], 0);
    assert_int_equal(pixels[2][0][0], 255);
}

static void images_are_resized(void **state) {
    (void)state;
    uint8_t pixel[3], large[3][32][32], grey[2][4];
    write_file(png, sizeof png);
    assert_int_equal(cairn_image_read(path, (cairn_shape){3, 1, 1}, CAIRN_IMAGE_RESIZED, pixel),
                     CAIRN_OK);
    near(pixel[0], 128, 1); /* the mean of both rows */
    near(pixel[1], 0, 0);
    near(pixel[2], 128, 1);
    assert_int_equal(
        cairn_image_read(path, (cairn_shape){3, 32, 32}, CAIRN_IMAGE_RESIZED, large[0][0]),
        CAIRN_OK);
    assert_int_equal(large[0][0][0], 255);
    assert_int_equal(large[2][31][31], 255);
    assert_int_equal(large[0][31][31], 0);
    assert_true(large[0][15][7] > large[0][16][7]); /* a ramp between */
    assert_int_equal(cairn_image_read(path, (cairn_shape){1, 2, 4}, CAIRN_IMAGE_RESIZED, grey[0]),
                     CAIRN_OK);
    near(grey[0][0], 77, 1); /* 0.299 of red, 0.114 of blue */
    near(grey[1][0], 29, 1);
    assert_int_equal(cairn_image_read(path, (cairn_shape){2, 2, 4}, CAIRN_IMAGE_RESIZED, grey[0]),
                     CAIRN_BAD_INPUT);
}

/* The largest middle with the right proportions, without a pixel of the rest: of two rows the
 * first; where a pixel is too wide, one pixel. */
static void images_are_cropped(void **state) {
    (void)state;
    uint8_t row[3][8], column[3][64];
    write_file(png, sizeof png);
    assert_int_equal(cairn_image_read(path, (cairn_shape){3, 1, 8}, CAIRN_IMAGE_CROPPED, row[0]),
                     CAIRN_OK);
    assert_int_equal(
        cairn_image_read(path, (cairn_shape){3, 64, 1}, CAIRN_IMAGE_CROPPED, column[0]), CAIRN_OK);
    for (int x = 0; x < 8; x++) {
        assert_int_equal(row[0][x], 255);
        assert_int_equal(row[2][x], 0);
    }
    assert_int_equal(column[0][0], 255);
    assert_int_equal(column[2][63], 255);
}

static void refused(const char *expected) {
    uint8_t pixels[3][2][4];
    cairn_status status =
        cairn_image_read(path, (cairn_shape){3, 2, 4}, CAIRN_IMAGE_RESIZED, pixels[0][0]);
    assert_int_equal(status, CAIRN_BAD_INPUT);
    if (!strstr(cairn_error_message(), path) || !strstr(cairn_error_message(), expected))
        fail_msg("expected '%s' in: %s", expected, cairn_error_message());
}

/* A PNG's last 12 bytes, its end marker, add nothing to the pixels. */
static void files_cut_short_are_refused(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++)
        for (size_t size = 0; size < files[f].size - (f == 0 ? 12 : 0); size++) {
            write_file(files[f].bytes, size);
            refused("");
        }
}

/* Any byte may lie: the answer is pixels or a refusal, never a crash. */
static void damage_never_crashes(void **state) {
    (void)state;
    uint8_t pixels[3][2][4];
    for (int f = 0; f < FILES; f++) {
        uint8_t *bytes = malloc(files[f].size);
        assert_non_null(bytes);
        memcpy(bytes, files[f].bytes, files[f].size);
        for (size_t i = 0; i < files[f].size; i++) {
            bytes[i] ^= 0x55;
            write_file(bytes, files[f].size);
            cairn_status status =
                cairn_image_read(path, (cairn_shape){3, 2, 4}, CAIRN_IMAGE_RESIZED, pixels[0][0]);
            assert_true(status == CAIRN_OK || status == CAIRN_BAD_INPUT);
            bytes[i] ^= 0x55;
        }
        free(bytes);
    }
}

static void sizes_are_checked_before_decoding(void **state) {
    (void)state;
    uint8_t bytes[sizeof bmp];
    memcpy(bytes, bmp, sizeof bmp);
    bytes[19] = bytes[23] = 0x40; /* the second byte of width and height */
    write_file(bytes, sizeof bytes);
    refused("16388 by 16386 pixels");
    write_file(bmp, sizeof bmp);
    assert_int_equal(truncate(path, (64 << 20) + 1), 0);
    refused("67108865 bytes");
    write_file((const uint8_t *)"GIF89a.............................", 35);
    refused("is a GIF, which is not read");
}

/* A picture of the wanted size is taken as it is, another one refused with both sizes. */
static void exact_images_are_not_resized(void **state) {
    (void)state;
    uint8_t pixels[3 * 32 * 32];
    int width = 0, height = 0;
    write_file(png, sizeof png);
    assert_int_equal(cairn_image_size(path, &width, &height), CAIRN_OK);
    assert_int_equal(width, 4);
    assert_int_equal(height, 2);
    assert_int_equal(cairn_image_read(path, (cairn_shape){3, 2, 4}, CAIRN_IMAGE_EXACT, pixels),
                     CAIRN_OK);
    assert_int_equal(pixels[0], 255);
    assert_int_equal(cairn_image_read(path, (cairn_shape){3, 4, 4}, CAIRN_IMAGE_EXACT, pixels),
                     CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "4 by 2 pixels"));
    write_file(png, 40);
    assert_int_equal(cairn_image_size(path, &width, &height), CAIRN_BAD_INPUT);
}

/* Through a pipe, which gives what it has, and no size. */
static void streams_are_read_to_their_end(void **state) {
    (void)state;
    uint8_t pixels[3][2][4];
    for (int f = 0; f <= FILES; f++) {
        size_t size = f < FILES ? files[f].size : 0;
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], f < FILES ? files[f].bytes : png, size), size);
        close(ends[1]);
        cairn_status status = cairn_image_read_stream(ends[0], "input", (cairn_shape){3, 2, 4},
                                                      CAIRN_IMAGE_RESIZED, pixels[0][0]);
        close(ends[0]);
        assert_int_equal(status, f < FILES ? CAIRN_OK : CAIRN_BAD_INPUT);
        near(pixels[2][1][3], 255, 4);
    }
    assert_non_null(strstr(cairn_error_message(), "input: is empty"));
}

/* Many files: each has its own outcome, in its own place. */
static void many_files_are_read_at_once(void **state) {
    (void)state;
    enum { COUNT = 9 };
    const char *paths[COUNT];
    static uint8_t pixels[COUNT][3][2][4];
    cairn_image_outcome outcomes[COUNT];
    write_file(png, sizeof png);
    for (int i = 0; i < COUNT; i++)
        paths[i] = i % 3 == 1 ? "/nowhere.png" : path;
    cairn_images_read(paths, COUNT, (cairn_shape){3, 2, 4}, CAIRN_IMAGE_RESIZED, 2, NULL,
                      pixels[0][0][0], outcomes);
    for (int i = 0; i < COUNT; i++) {
        bool bad = i % 3 == 1;
        assert_int_equal(outcomes[i].status, bad ? CAIRN_BAD_INPUT : CAIRN_OK);
        assert_true(bad == (outcomes[i].message && strstr(outcomes[i].message, "/nowhere.png")));
        assert_int_equal(pixels[i][0][0][0], bad ? 0 : 255);
        free(outcomes[i].message);
    }
    const volatile sig_atomic_t stop = 1;
    cairn_images_read(paths, COUNT, (cairn_shape){3, 2, 4}, CAIRN_IMAGE_RESIZED, 2, &stop,
                      pixels[0][0][0], outcomes);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(outcomes[i].status, CAIRN_INTERRUPTED);
        free(outcomes[i].message);
    }
}

/* By ending, sorted, below the folder too; no hidden ones, no links to folders, no pipes. */
static void folders_are_searched(void **state) {
    (void)state;
    char folder[64], command[600];
    snprintf(folder, sizeof folder, "/tmp/cairn-images-%d", (int)getpid());
    snprintf(
        command, sizeof command,
        "mkdir -p %s/b/c %s/.hidden && cd %s && touch b/2.PNG b/c/3.jpeg a.jpg .x.png b/note.txt "
        "z.bmp .hidden/4.png && mkfifo b/pipe.png && ln -s a.jpg link.png && ln -s b loop && "
        "ln -s nothing broken.png",
        folder, folder, folder);
    assert_int_equal(system(command), 0);
    cairn_image_paths found = {0};
    assert_int_equal(cairn_image_paths_find(&found, folder), CAIRN_OK);
    const char *const expected[] = {"a.jpg", "b/2.PNG", "b/c/3.jpeg", "link.png", "z.bmp"};
    assert_int_equal(found.count, 5);
    for (size_t i = 0; i < found.count; i++)
        assert_string_equal(found.path[i] + strlen(folder) + 1, expected[i]);
    cairn_image_paths_free(&found);
    strcat(folder, "/.hidden");
    snprintf(command, sizeof command, "rm %s/4.png", folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(cairn_image_paths_find(&found, folder), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "holds no image files"));
    snprintf(command, sizeof command, "rm -r %.*s", (int)strlen(folder) - 8, folder);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format_gives_its_pixels),
        cmocka_unit_test(a_bmp_may_be_stored_from_the_top),
        cmocka_unit_test(images_are_resized),
        cmocka_unit_test(images_are_cropped),
        cmocka_unit_test(files_cut_short_are_refused),
        cmocka_unit_test(damage_never_crashes),
        cmocka_unit_test(sizes_are_checked_before_decoding),
        cmocka_unit_test(exact_images_are_not_resized),
        cmocka_unit_test(streams_are_read_to_their_end),
        cmocka_unit_test(many_files_are_read_at_once),
        cmocka_unit_test(folders_are_searched),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
