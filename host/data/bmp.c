/* BMP files: palettes of 1, 4 and 8 bits, colour of 16, 24 and 32; uncompressed, with masks, or in
 * runs (RLE4, RLE8); with Windows' headers and OS/2's, the top row first or last. What a short
 * palette lacks is black, as Pillow has it; alpha is left out, as Windows does. Every byte that is
 * looked at lies in the file, and every pixel comes from it.
 *
 *   14 bytes   "BM", file size, 4 bytes of nothing, where the pixels begin
 *   a header   its own size; width, height, planes, bits; longer ones: compression, the pixels'
 *              bytes, two resolutions, the palette's length, and from 52 bytes on the masks
 *   masks      of red, green and blue, where a header of 40 bytes asks for them
 *   a palette  of 4 bytes a colour (blue, green, red, nothing), OS/2's of 3
 *   pixels     in rows of whole 4 bytes */
#include "picture.h"

#include <string.h>

enum { FILE_HEADER = 14, OS2_HEADER = 12, INFO_HEADER = 40, PALETTE_MAX = 256 };
enum { RAW, RLE8, RLE4, MASKS }; /* compressions */

typedef struct {
    const uint8_t *file;
    size_t size, at; /* `at`: behind what has been read */
    uint32_t header, bits, compression, colours;
    uint64_t width, height, begin;
    bool top_down;
    uint32_t mask[3];
    uint8_t palette[PALETTE_MAX][3];
} bitmap;

static uint32_t little_endian(const uint8_t *at, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint32_t)at[i] << 8 * i;
    return value;
}

/* The header ----------------------------------------------------------------------------------- */

static picture_outcome read_os2(bitmap *b) {
    const uint8_t *header = b->file + FILE_HEADER;
    b->width = little_endian(header + 4, 2);
    b->height = little_endian(header + 6, 2);
    b->bits = little_endian(header + 10, 2);
    return PICTURE_DECODED;
}

static picture_outcome read_info(bitmap *b, picture *out) {
    const uint8_t *header = b->file + FILE_HEADER;
    const uint32_t height = little_endian(header + 8, 4);
    b->width = little_endian(header + 4, 4);
    b->top_down = height > INT32_MAX;
    b->height = b->top_down ? (uint64_t)UINT32_MAX + 1 - height : height;
    b->bits = little_endian(header + 14, 2);
    b->compression = little_endian(header + 16, 4);
    b->colours = little_endian(header + 32, 4);
    if (b->compression > MASKS || (b->header == 64 && b->compression == MASKS))
        return cairn_picture_refuse(out, "a BMP in a compression other than runs");
    if (b->compression != MASKS)
        return PICTURE_DECODED;
    /* In the header, or behind one that is too short for them. */
    if (b->header == INFO_HEADER)
        b->at += 12;
    if (b->at > b->size)
        return PICTURE_DAMAGED;
    for (int i = 0; i < 3; i++)
        b->mask[i] = little_endian(header + INFO_HEADER + 4 * i, 4);
    return PICTURE_DECODED;
}

static bool is_known(uint32_t header) {
    static const uint32_t known[] = {OS2_HEADER, INFO_HEADER, 52, 56, 64, 108, 124};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (header == known[i])
            return true;
    return false;
}

static picture_outcome read_header(bitmap *b, picture *out) {
    if (b->size < FILE_HEADER + 4)
        return PICTURE_DAMAGED;
    b->begin = little_endian(b->file + 10, 4);
    b->header = little_endian(b->file + FILE_HEADER, 4);
    if (!is_known(b->header))
        return cairn_picture_refuse(out, "a BMP with a header of another kind");
    b->at = FILE_HEADER + b->header;
    if (b->at > b->size)
        return PICTURE_DAMAGED;
    picture_outcome outcome = b->header == OS2_HEADER ? read_os2(b) : read_info(b, out);
    if (outcome)
        return outcome;
    if (b->bits != 1 && b->bits != 4 && b->bits != 8 && b->bits != 16 && b->bits != 24 &&
        b->bits != 32)
        return cairn_picture_refuse(out, "a BMP of other than 1, 4, 8, 16, 24 or 32 bits a pixel");
    if ((b->compression == RLE8 && b->bits != 8) || (b->compression == RLE4 && b->bits != 4) ||
        (b->compression == MASKS && b->bits <= 8))
        return PICTURE_DAMAGED; /* it contradicts itself */
    return PICTURE_DECODED;
}

/* As many colours as the header names, but for those that lie where the pixels do. */
static void read_palette(bitmap *b) {
    const size_t entry = b->header == OS2_HEADER ? 3 : 4;
    const uint64_t colours = b->bits > 8 ? 0 : b->colours ? b->colours : (uint64_t)1 << b->bits;
    const uint64_t end = b->at + entry * colours;
    /* Some programs forget the palette when they say where the pixels begin. */
    if (b->begin == 0 || (b->bits <= 8 && b->begin == FILE_HEADER + b->header))
        b->begin = end;
    for (uint64_t i = 0; i < colours && i < PALETTE_MAX; i++) {
        const uint64_t at = b->at + i * entry;
        if (at + entry > b->size || at + entry > b->begin)
            break;
        for (uint64_t c = 0; c < 3; c++)
            b->palette[i][c] = b->file[at + 2 - c];
    }
}

/* Pixels --------------------------------------------------------------------------------------- */

/* The row that is `stored`-th in the file. */
static uint8_t *row_of(const bitmap *b, const picture *out, uint64_t stored) {
    const uint64_t y = b->top_down ? stored : b->height - 1 - stored;
    return out->pixels + (size_t)(y * b->width) * 3;
}

static void put_colour(const bitmap *b, uint8_t *pixel, uint32_t index) {
    memcpy(pixel, b->palette[index], 3);
}

/* The masked bits, as a level from 0 to 255. */
static uint8_t masked(uint32_t pixel, uint32_t mask) {
    const uint64_t lowest = mask & -mask, most = mask / lowest, value = (pixel & mask) / lowest;
    return (uint8_t)((value * 255 + most / 2) / most);
}

static void put_masked(const bitmap *b, uint8_t *pixel, uint32_t value) {
    for (int c = 0; c < 3; c++)
        pixel[c] = masked(value, b->mask[c]);
}

/* One row of uncompressed pixels. */
static void read_row(const bitmap *b, const uint8_t *from, uint8_t *pixel) {
    const int bytes = (int)b->bits / 8;
    for (uint64_t x = 0; x < b->width; x++, pixel += 3) {
        const uint64_t bit = x * b->bits;
        const uint8_t *at = from + bit / 8;
        if (b->bits <= 8)
            put_colour(b, pixel,
                       (uint32_t)(*at >> (8 - b->bits - bit % 8)) & ((1U << b->bits) - 1));
        else
            put_masked(b, pixel, little_endian(at, bytes));
    }
}

/* Each mask is one row of bits, and none is shared. What has no masks has those of its depth, and
 * so has what says that they are all zero, as Pillow reads it. */
static bool complete_masks(bitmap *b) {
    static const uint32_t of16[] = {0x7C00, 0x3E0, 0x1F}, of24[] = {0xFF0000, 0xFF00, 0xFF};
    uint32_t all = 0;
    if (!(b->mask[0] | b->mask[1] | b->mask[2]))
        memcpy(b->mask, b->bits == 16 ? of16 : of24, sizeof of24);
    for (int i = 0; i < 3; i++) {
        const uint32_t mask = b->mask[i];
        if (!mask || (mask & (mask + (mask & -mask))) || (mask & all))
            return false;
        all |= mask;
    }
    return true;
}

static picture_outcome read_rows(bitmap *b, picture *out) {
    const uint64_t stride = (b->width * b->bits + 31) / 32 * 4;
    const uint64_t last = (b->width * b->bits + 7) / 8; /* the last row may lack its padding */
    if (b->bits > 8 && !complete_masks(b))
        return cairn_picture_refuse(out, "a BMP whose masks overlap or have gaps");
    if (b->begin + stride * (b->height - 1) + last > b->size)
        return PICTURE_DAMAGED;
    for (uint64_t y = 0; y < b->height; y++)
        read_row(b, b->file + b->begin + y * stride, row_of(b, out, y));
    return PICTURE_DECODED;
}

/* Runs: (count, colour) repeats a colour, RLE4 two in turns; (0, count) is followed by so many
 * colours, in whole 16 bits; (0, 0) ends a row, (0, 1) the picture, (0, 2) skips. What is skipped
 * is of the palette's first colour. */
static void put_runs(const bitmap *b, const picture *out, uint64_t *x, uint64_t y, uint32_t count,
                     const uint8_t *colours, bool repeats) {
    uint8_t *row = row_of(b, out, y);
    for (uint32_t i = 0; i < count && *x < b->width; i++, ++*x) {
        const uint32_t k = repeats ? i % (b->bits == 4 ? 2 : 1) : i;
        const uint32_t colour =
            b->bits == 8 ? colours[k] : (uint32_t)colours[k / 2] >> (k % 2 ? 0 : 4) & 15;
        put_colour(b, row + 3 * *x, colour);
    }
}

static picture_outcome read_runs(bitmap *b, picture *out) {
    uint64_t x = 0, y = 0, at = b->begin;
    for (uint64_t i = 0; i < b->width * b->height; i++)
        put_colour(b, out->pixels + 3 * i, 0);
    while (y < b->height && (y < b->height - 1 || x < b->width)) {
        if (at + 2 > b->size)
            return PICTURE_DAMAGED;
        const uint32_t count = b->file[at], second = b->file[at + 1];
        at += 2;
        if (count) {
            put_runs(b, out, &x, y, count, b->file + at - 1, true);
        } else if (second == 0) {
            x = 0;
            y++;
        } else if (second == 1) {
            return PICTURE_DAMAGED; /* before its last pixel */
        } else if (second == 2) {
            if (at + 2 > b->size)
                return PICTURE_DAMAGED;
            x += b->file[at];
            y += b->file[at + 1];
            at += 2;
        } else {
            const uint64_t bytes = (second * b->bits + 7) / 8;
            if (at + bytes > b->size)
                return PICTURE_DAMAGED;
            put_runs(b, out, &x, y, second, b->file + at, false);
            at += (bytes + 1) / 2 * 2;
        }
    }
    return PICTURE_DECODED;
}

picture_outcome cairn_bmp_decode(const uint8_t *file, size_t size, picture *out) {
    bitmap b = {.file = file, .size = size};
    picture_outcome outcome = read_header(&b, out);
    if (!outcome)
        outcome = cairn_picture_allocate(out, b.width, b.height);
    if (outcome)
        return outcome;
    read_palette(&b);
    return b.compression == RLE8 || b.compression == RLE4 ? read_runs(&b, out) : read_rows(&b, out);
}
