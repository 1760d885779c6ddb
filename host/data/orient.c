/* Which way up a picture is: cameras store it as their sensor lies, and say in EXIF's tag 0x112 how
 * to turn it (CIPA DC-008, "Orientation"). It stands in a JPEG's APP1 segments, a PNG's eXIf chunk,
 * a WebP's EXIF chunk, each time as the first directory of a TIFF. A tag that is missing, damaged
 * or of no known number turns nothing. */
#include "picture.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *at;
    size_t size;
} bytes;

static uint32_t number(const uint8_t *at, int count, bool big_endian) {
    uint32_t value = 0;
    for (int i = 0; i < count; i++)
        value |= (uint32_t)at[i] << 8 * (big_endian ? count - 1 - i : i);
    return value;
}

/* The orientation that a TIFF's first directory names; 0: none. */
static int read_tiff(bytes tiff) {
    enum { HEADER = 8, ENTRY = 12, ORIENTATION = 0x112, SHORT = 3, LONG = 4 };
    int found = 0;
    if (tiff.size < HEADER || (memcmp(tiff.at, "II*", 4) != 0 && memcmp(tiff.at, "MM\0*", 4) != 0))
        return 0;
    const bool big_endian = tiff.at[0] == 'M';
    const uint32_t directory = number(tiff.at + 4, 4, big_endian);
    if (directory > tiff.size || tiff.size - directory < 2)
        return 0;
    const uint8_t *at = tiff.at + directory + 2, *end = tiff.at + tiff.size;
    for (uint32_t left = number(at - 2, 2, big_endian); left > 0 && end - at >= ENTRY; left--) {
        const uint32_t type = number(at + 2, 2, big_endian);
        const int width = type == SHORT ? 2 : type == LONG ? 4 : 0;
        if (number(at, 2, big_endian) == ORIENTATION && number(at + 4, 4, big_endian) == 1 && width)
            found = (int)number(at + 8, width, big_endian);
        at += ENTRY;
    }
    return found;
}

/* EXIF as it stands, with or without its own mark before the TIFF. */
static int read_exif(bytes exif) {
    if (exif.size >= 6 && memcmp(exif.at, "Exif\0", 6) == 0)
        exif = (bytes){exif.at + 6, exif.size - 6};
    return read_tiff(exif);
}

/* The first APP1 segment of EXIF, before the first scan. */
static int read_jpeg(bytes file) {
    for (size_t at = 2; file.size - at >= 4 && file.size > at;) {
        const uint8_t *segment = file.at + at;
        if (segment[0] != 0xFF || segment[1] == 0xFF || segment[1] == 0) {
            at++; /* filling, or rubbish, which decoders skip too */
            continue;
        }
        const size_t length = number(segment + 2, 2, true);
        if (segment[1] == 0xDA || segment[1] == 0xD9 || length < 2 || length > file.size - at - 2)
            return 0;
        const bytes body = {segment + 4, length - 2};
        if (segment[1] == 0xE1 && body.size >= 6 && memcmp(body.at, "Exif\0", 6) == 0)
            return read_exif(body);
        at += 2 + length;
    }
    return 0;
}

/* Chunks of a length, a kind and a body, in either order of the first two. */
static int read_chunks(bytes file, size_t first, const char *kind, bool is_png) {
    enum { FRAME = 8, CHECKSUM = 4 };
    for (size_t at = first; at < file.size && file.size - at >= FRAME;) {
        const uint8_t *chunk = file.at + at;
        const size_t length = number(chunk + (is_png ? 0 : 4), 4, is_png);
        if (length > file.size - at - FRAME)
            return 0;
        if (memcmp(chunk + (is_png ? 4 : 0), kind, 4) == 0)
            return read_exif((bytes){chunk + FRAME, length});
        at += FRAME + length + (is_png ? CHECKSUM : length % 2);
    }
    return 0;
}

int cairn_orientation_read(const uint8_t *file, size_t size) {
    const bytes all = {file, size};
    int found = 0;
    if (size >= 4 && file[0] == 0xFF)
        found = read_jpeg(all);
    else if (size >= 8 && file[0] == 0x89)
        found = read_chunks(all, 8, "eXIf", true);
    else if (size >= 12 && file[0] == 'R')
        found = read_chunks(all, 12, "EXIF", false);
    return found >= 1 && found <= 8 ? found : 1;
}

/* Where pixel (y, x) of the turned picture comes from: 2 to 4 mirror and half turns; 5 to 8 stand
 * on their side. */
bool cairn_picture_orient(picture *p, int orientation) {
    const bool sideways = orientation >= 5;
    const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 ||
                            orientation == 8; /* of the stored picture */
    const bool from_bottom =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    if (orientation <= 1)
        return true;
    const size_t width = (size_t)p->width, height = (size_t)p->height;
    const size_t across = sideways ? height : width, down = sideways ? width : height;
    uint8_t *turned = malloc(width * height * 3), *to = turned;
    if (!turned)
        return false;
    for (size_t y = 0; y < down; y++)
        for (size_t x = 0; x < across; x++, to += 3) {
            const size_t row = sideways ? x : y, column = sideways ? y : x;
            const size_t from = (from_bottom ? height - 1 - row : row) * width +
                                (from_right ? width - 1 - column : column);
            memcpy(to, p->pixels + 3 * from, 3);
        }
    free(p->pixels);
    p->pixels = turned;
    p->width = (int)across;
    p->height = (int)down;
    return true;
}
