/* Image files from outside: PNG, JPEG, BMP and WebP, brought to the shape that a net reads. */
#ifndef CAIRN_IMAGE_H
#define CAIRN_IMAGE_H

#include "cairn/choices.h"
#include "cairn/net.h"
#include "cairn/status.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    /* An image of another size is resized, whole, whatever its proportions: linear interpolation,
     * averaged when shrinking. */
    CAIRN_IMAGE_RESIZED = CAIRN_RESIZE_STRETCH,
    /* The same with the largest part in its middle, in whole pixels, that has the right
     * proportions. */
    CAIRN_IMAGE_CROPPED = CAIRN_RESIZE_CROP,
    CAIRN_IMAGE_EXACT, /* it is refused */
} cairn_image_fit;

/* Decodes the file, in grey for one channel, in RGB for three; an image of that size already stays
 * as it is. pixels [shape.c, shape.h, shape.w]. CAIRN_BAD_INPUT names the file: no image, damaged,
 * of a form that is not read, above 64 MiB or 64 million pixels. As Pillow's `convert("RGB")` after
 * `exif_transpose`: turned as EXIF says; print's inks converted; of 16 bits the upper 8. What is
 * transparent is laid over white, alpha in a BMP left out; gamma and colour profiles are not
 * applied; of a moving picture the first frame is taken. */
cairn_status cairn_image_read(const char *path, cairn_shape shape, cairn_image_fit fit,
                              uint8_t *pixels);

/* The same from memory; `name` stands for the file in messages. */
cairn_status cairn_image_decode(const uint8_t *bytes, size_t size, const char *name,
                                cairn_shape shape, cairn_image_fit fit, uint8_t *pixels);

/* The same from an open file, a pipe too, to its end. */
cairn_status cairn_image_read_stream(int fd, const char *name, cairn_shape shape,
                                     cairn_image_fit fit, uint8_t *pixels);

/* The file's own size, after decoding it: it is a sound image. */
cairn_status cairn_image_size(const char *path, int *width, int *height);

/* What became of one of many files. */
typedef struct {
    cairn_status status;
    char *message; /* of a failure; the caller's to free; NULL when memory was short for it */
} cairn_image_outcome;

/* Reads many files at a time, on `threads` threads (0: all): file i into pixels + i * the shape's
 * count, with outcomes[i]. Once *stop is not zero (NULL: never), the outcome of all that is left is
 * CAIRN_INTERRUPTED. */
void cairn_images_read(const char *const *paths, int count, cairn_shape shape, cairn_image_fit fit,
                       int threads, const volatile sig_atomic_t *stop, uint8_t *pixels,
                       cairn_image_outcome *outcomes);

/* What was left out of a folder, since by its name it is no image: hidden, or of another ending
 * than .png, .jpg, .jpeg, .bmp and .webp (which only a build with libwebp reads). */
typedef struct {
    size_t count;
    char first[512]; /* of them; a longer path is cut */
} cairn_left_out;

void cairn_left_out_add(cairn_left_out *left_out, const char *path);

/* "left out 3 that are no images, first photos/notes.txt"; "" when there is none. */
const char *cairn_left_out_describe(const cairn_left_out *left_out, char *out, size_t size);

/* Paths, in memory of their own. */
typedef struct {
    char **path;
    size_t count, capacity;
    cairn_left_out left_out;
} cairn_image_paths;

cairn_status cairn_image_paths_add(cairn_image_paths *paths, const char *path);
void cairn_image_paths_free(cairn_image_paths *paths);

/* Adds the image files in a folder and below it, in byte order of their names: regular files and
 * links to such that end as images do, in any case. The rest is left out and counted, but for links
 * to folders, which are passed over. A folder without any image is CAIRN_BAD_INPUT. */
cairn_status cairn_image_paths_find(cairn_image_paths *paths, const char *folder);

/* Whether a file's name is an image's: not hidden, and with the ending of one. */
bool cairn_image_named(const char *name);

/* Writes a PNG file of pixels [height, width, 3]. */
cairn_status cairn_image_write(const char *path, int width, int height, const uint8_t *pixels);

#endif
