/* Image files from outside: PNG, JPEG and BMP, brought to the shape that a net reads. */
#ifndef CAIRN_IMAGE_H
#define CAIRN_IMAGE_H

#include "cairn/net.h"
#include "cairn/status.h"

#include <stddef.h>
#include <stdint.h>

/* Decodes the file and resizes it to shape.w by shape.h (whatever its proportions; linear, averaged
 * when shrinking; untouched when of that size already), in grey for one channel, in RGB for three.
 * pixels [shape.c, shape.h, shape.w]. CAIRN_BAD_INPUT names the file: no image, damaged, above 64
 * MiB or 64 million pixels. */
cairn_status cairn_image_read(const char *path, cairn_shape shape, uint8_t *pixels);

/* The same from memory; `name` stands for the file in messages. */
cairn_status cairn_image_decode(const uint8_t *bytes, size_t size, const char *name,
                                cairn_shape shape, uint8_t *pixels);

/* Writes a PNG file of pixels [height, width, 3]. */
cairn_status cairn_image_write(const char *path, int width, int height, const uint8_t *pixels);

#endif
