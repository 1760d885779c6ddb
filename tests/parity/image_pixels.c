/* For check_images.py and scripts/valgrind.sh: what the readers of image files make of each that is
 * named: a line "<status> <width> <height> <bytes of message>", the message, the pixels [3,h,w]. */
#include "cairn/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        cairn_shape shape = {3, 0, 0};
        uint8_t *pixels = NULL;
        cairn_status status = cairn_image_size(argv[i], &shape.w, &shape.h);
        if (!status) {
            pixels = malloc(cairn_shape_count(shape));
            status = pixels ? cairn_image_read(argv[i], shape, CAIRN_IMAGE_EXACT, pixels)
                            : cairn_error_set(CAIRN_FAILED, "out of memory");
        }
        const char *message = status ? cairn_error_message() : "";
        printf("%d %d %d %zu\n%s", status, shape.w, shape.h, strlen(message), message);
        if (!status)
            fwrite(pixels, 1, cairn_shape_count(shape), stdout);
        free(pixels);
    }
    return 0;
}
