/* Image files, for `cairn predict` and for data sets, in colour or grey by the input's parity. */
#include "cairn/image.h"
#include "fuzz.h"

#include <string.h>

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t little_endian(const uint8_t *at, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint32_t)at[i] << 8 * i;
    return value;
}

enum { SIDE_MAX = 64 };

/* The sides of a WebP's canvas, whichever of three headers it has. */
static bool is_large_webp(const uint8_t *data, size_t size) {
    uint32_t width = 0, height = 0;
    if (size < 30)
        return false;
    if (memcmp(data + 12, "VP8X", 4) == 0) {
        width = little_endian(data + 24, 3);
        height = little_endian(data + 27, 3);
    } else if (memcmp(data + 12, "VP8L", 4) == 0) {
        width = little_endian(data + 21, 4) & 0x3FFF;
        height = little_endian(data + 21, 4) >> 14 & 0x3FFF;
    } else {
        width = little_endian(data + 26, 2) & 0x3FFF;
        height = little_endian(data + 28, 2) & 0x3FFF;
    }
    return width > SIDE_MAX || height > SIDE_MAX;
}

/* Whether a header of any of the formats may ask for a large picture. Decoding those takes
 * long and shows nothing new; the unit tests have their limits. */
static bool is_large(const uint8_t *data, size_t size) {
    if (size >= 12 && data[0] == 'R')
        return is_large_webp(data, size);
    if (size >= 26 && data[0] == 'B' && data[14] == 12)
        return little_endian(data + 18, 2) > SIDE_MAX || little_endian(data + 20, 2) > SIDE_MAX;
    if (size >= 26 && data[0] == 'B') {
        int32_t height;
        memcpy(&height, data + 22, sizeof height);
        return little_endian(data + 18, 4) > SIDE_MAX || height > SIDE_MAX || height < -SIDE_MAX;
    }
    if (size >= 24 && data[0] == 0x89)
        return big_endian(data + 16) > SIDE_MAX || big_endian(data + 20) > SIDE_MAX;
    for (size_t i = 0; i + 9 <= size; i++) { /* JPEG: the start of a frame, of whichever kind */
        bool frame = data[i] == 0xFF && (data[i + 1] & 0xF0) == 0xC0 && data[i + 1] != 0xC4 &&
                     data[i + 1] != 0xC8 && data[i + 1] != 0xCC;
        if (frame &&
            (data[i + 5] || data[i + 6] > SIDE_MAX || data[i + 7] || data[i + 8] > SIDE_MAX))
            return true;
    }
    return false;
}

/* The last byte, which no format minds, says what size to bring the picture to, and whether to
 * refuse other sizes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { SIDE = 32, CHANNELS = 3 };
    static uint8_t pixels[CHANNELS * SIDE * SIDE + 1];
    uint8_t choice = size ? data[size - 1] : 0;
    cairn_shape shape = {size % 2 ? 1 : CHANNELS, SIDE - choice % 4 * 9, SIDE - choice / 4 % 4 * 9};
    cairn_image_fit fit = choice & 0x40 ? CAIRN_IMAGE_EXACT : CAIRN_IMAGE_RESIZED;
    if (is_large(data, size))
        return -1; /* not for the corpus */
    uint8_t *end = pixels + cairn_shape_count(shape);
    *end = 0x5A;
    fuzz_check_status(cairn_image_decode(data, size, "image", shape, fit, pixels));
    fuzz_check(*end == 0x5A, "nothing is written beyond the shape");
    return 0;
}

#ifdef CAIRN_FUZZ
/* The CRC-32 of PNG's specification, bit by bit. */
static uint32_t checksum(const uint8_t *at, size_t size) {
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        sum ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320u : 0);
    }
    return ~sum;
}

/* Puts right the checksums of a PNG's chunks. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
    enum { FRAME = 12 }; /* a chunk's length, kind and checksum */
    (void)seed;
    size = LLVMFuzzerMutate(data, size, capacity);
    if (size < 8 || data[0] != 0x89)
        return size;
    for (size_t at = 8; at + FRAME <= size && big_endian(data + at) <= size - at - FRAME;) {
        size_t body = big_endian(data + at);
        uint32_t sum = checksum(data + at + 4, 4 + body);
        for (size_t i = 0; i < 4; i++)
            data[at + 8 + body + i] = (uint8_t)(sum >> (24 - 8 * i));
        at += FRAME + body;
    }
    return size;
}
#endif
