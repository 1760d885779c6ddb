/* Which way up a picture is: cameras store it as their sensor lies, and say in EXIF's tag 0x112 how
 * to turn it (CIPA DC-008, "Orientation"). It stands in a JPEG's APP1 segments, a PNG's eXIf chunk,
 * a WebP's EXIF chunk, each time as the first directory of a TIFF; where that has no such tag, it
 * may stand in the same places' XMP, as text. A tag that is missing, damaged or of no known number
 * turns nothing. */
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

enum { NONE = -1 };

/* The orientation that a TIFF's first directory names. */
static int read_tiff(bytes tiff) {
    enum { HEADER = 8, ENTRY = 12, ORIENTATION = 0x112, SHORT = 3, LONG = 4 };
    int found = NONE;
    if (tiff.size < HEADER || (memcmp(tiff.at, "II*", 4) != 0 && memcmp(tiff.at, "MM\0*", 4) != 0))
        return NONE;
    const bool big_endian = tiff.at[0] == 'M';
    const uint32_t directory = number(tiff.at + 4, 4, big_endian);
    if (directory > tiff.size || tiff.size - directory < 2)
        return NONE;
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

/* Of XML, an attribute or an element: tiff:Orientation="6", <tiff:Orientation>6<. */
static int read_xmp(bytes xmp) {
    static const char tag[] = "tiff:Orientation";
    const uint8_t *end = xmp.at + xmp.size;
    for (const uint8_t *at = xmp.at; (at = memmem(at, (size_t)(end - at), tag, sizeof tag - 1));) {
        at += sizeof tag - 1;
        const size_t mark = end - at > 1 && at[0] == '=' && at[1] == '"' ? 2 : 1;
        if ((size_t)(end - at) > mark && (mark == 2 || at[0] == '>') && at[mark] >= '0' &&
            at[mark] <= '9')
            return at[mark] - '0';
    }
    return NONE;
}

/* Where a format keeps both. */
typedef struct {
    int exif, xmp;
} orientations;

static bool begins_with(bytes text, const char *mark, size_t size) {
    return text.size >= size && memcmp(text.at, mark, size) == 0;
}

/* Each with the zero at its end; what follows PNG's says that it is not compressed. */
static const char exif_mark[] = "Exif\0", jpeg_xmp_mark[] = "http://ns.adobe.com/xap/1.0/",
                  png_xmp_mark[] = "XML:com.adobe.xmp\0";

/* The APP1 segments before the first scan. */
static orientations read_jpeg(bytes file) {
    orientations found = {NONE, NONE};
    for (size_t at = 2; file.size > at && file.size - at >= 4;) {
        const uint8_t *segment = file.at + at;
        if (segment[0] != 0xFF || segment[1] == 0xFF || segment[1] == 0) {
            at++; /* filling, or rubbish, which decoders skip too */
            continue;
        }
        const size_t length = number(segment + 2, 2, true);
        if (segment[1] == 0xDA || segment[1] == 0xD9 || length < 2 || length > file.size - at - 2)
            break;
        const bytes body = {segment + 4, length - 2};
        const bool is_app1 = segment[1] == 0xE1;
        if (is_app1 && found.exif == NONE && begins_with(body, exif_mark, sizeof exif_mark))
            found.exif = read_exif(body);
        else if (is_app1 && begins_with(body, jpeg_xmp_mark, sizeof jpeg_xmp_mark))
            found.xmp = read_xmp(body);
        at += 2 + length;
    }
    return found;
}

/* Chunks of a length, a kind and a body, in either order of the first two. */
static orientations read_chunks(bytes file, bool is_png) {
    enum { FRAME = 8, CHECKSUM = 4, PNG_BEGIN = 8, RIFF_BEGIN = 12 };
    orientations found = {NONE, NONE};
    for (size_t at = is_png ? PNG_BEGIN : RIFF_BEGIN; at < file.size && file.size - at >= FRAME;) {
        const uint8_t *chunk = file.at + at, *kind = chunk + (is_png ? 4 : 0);
        const size_t length = number(chunk + (is_png ? 0 : 4), 4, is_png);
        if (length > file.size - at - FRAME)
            break;
        const bytes body = {chunk + FRAME, length};
        const bool is_xmp = is_png ? memcmp(kind, "iTXt", 4) == 0 &&
                                         begins_with(body, png_xmp_mark, sizeof png_xmp_mark)
                                   : memcmp(kind, "XMP ", 4) == 0;
        if (found.exif == NONE && memcmp(kind, is_png ? "eXIf" : "EXIF", 4) == 0)
            found.exif = read_exif(body);
        else if (is_xmp)
            found.xmp = read_xmp(body);
        at += FRAME + length + (is_png ? CHECKSUM : length % 2);
    }
    return found;
}

int cairn_orientation_read(const uint8_t *file, size_t size) {
    const bytes all = {file, size};
    orientations found = {NONE, NONE};
    if (size >= 4 && file[0] == 0xFF)
        found = read_jpeg(all);
    else if (size >= 12 && (file[0] == 0x89 || file[0] == 'R'))
        found = read_chunks(all, file[0] == 0x89);
    const int chosen = found.exif == NONE ? found.xmp : found.exif;
    return chosen >= 1 && chosen <= 8 ? chosen : 1;
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
