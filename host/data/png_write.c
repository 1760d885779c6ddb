/* Writing PNG files, by libpng. */
#include "cairn/file.h"
#include "cairn/image.h"

#include <png.h>
#include <stdlib.h>

cairn_status cairn_image_write(const char *path, int width, int height, const uint8_t *pixels) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)width,
                       .height = (png_uint_32)height,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    uint8_t *file = malloc(size);
    if (!file)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
    cairn_status status =
        png_image_write_to_memory(&image, file, &size, 0, pixels, 0, NULL)
            ? cairn_file_write_output(path, file, size)
            : cairn_error_set(CAIRN_FAILED, "%s: libpng: %s", path, image.message);
    free(file);
    return status;
}
