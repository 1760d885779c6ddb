/* The contact sheet of `cairn data show --out`: a row a sample, first as it is, then as training
 * sees it in one epoch after the other. */
#include "cli.h"

#include "cairn/augment.h"
#include "cairn/dataset.h"
#include "cairn/image.h"

#include <stdlib.h>
#include <string.h>

enum { SCALE = 3, GAP = 2, MARGIN = 6, PAPER = 255 };

typedef struct {
    int width, height; /* of the sheet, in pixels */
    uint8_t *pixels;   /* [height, width, 3] */
} sheet;

/* Puts an image [3,h,w] with its upper left corner at (top, left), enlarged. */
static void paste(const sheet *to, const cairn_split *split, const uint8_t *image, int top,
                  int left) {
    int plane = split->height * split->width;
    for (int y = 0; y < SCALE * split->height; y++)
        for (int x = 0; x < SCALE * split->width; x++) {
            const uint8_t *from = image + y / SCALE * split->width + x / SCALE;
            uint8_t *at =
                to->pixels + 3 * ((size_t)(top + y) * (size_t)to->width + (size_t)(left + x));
            for (int c = 0; c < 3; c++)
                at[c] = from[c * plane];
        }
}

static void fill(const sheet *to, const cairn_split *split, const cairn_augmenter *augmenter,
                 const cairn_sheet *wanted, uint8_t *pixels) {
    int down = SCALE * split->height + GAP, right = SCALE * split->width + GAP;
    size_t size = (size_t)split->channels * (size_t)split->height * (size_t)split->width;
    for (int row = 0; row < wanted->count; row++) {
        uint32_t index = (uint32_t)(wanted->first + row);
        int top = GAP + row * down;
        paste(to, split, split->images + index * size, top, GAP);
        for (int epoch = 0; epoch < wanted->epochs; epoch++) {
            cairn_transform transform;
            cairn_transform_make(augmenter, &transform, split->images, (uint32_t)epoch, index);
            cairn_transform_apply(augmenter, &transform, split->images, index, pixels);
            paste(to, split, pixels, top, GAP + MARGIN + (1 + epoch) * right);
        }
    }
}

cairn_status cairn_sheet_write(const cairn_sheet *wanted, const cairn_config *config,
                               const cairn_dataset *data) {
    const cairn_split *split = &data->train;
    const cairn_augmenter augmenter = {.how = cairn_augment_configure(config, data->mean),
                                       .seed = config->seed,
                                       .crop_padding = (int32_t)config->data.crop_padding,
                                       .channels = split->channels,
                                       .height = split->height,
                                       .width = split->width,
                                       .count = (uint32_t)split->count};
    size_t size = (size_t)split->channels * (size_t)split->height * (size_t)split->width;
    sheet made = {.width = GAP + MARGIN + (1 + wanted->epochs) * (SCALE * split->width + GAP),
                  .height = GAP + wanted->count * (SCALE * split->height + GAP)};
    if (split->channels != 3)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "--out: a picture needs images of 3 channels, not %d",
                               split->channels);
    size_t bytes = 3 * (size_t)made.width * (size_t)made.height;
    made.pixels = malloc(bytes);
    uint8_t *pixels = malloc(size);
    cairn_status status = CAIRN_OK;
    if (made.pixels && pixels) {
        memset(made.pixels, PAPER, bytes);
        fill(&made, split, &augmenter, wanted, pixels);
        status = cairn_image_write(wanted->path, made.width, made.height, made.pixels);
    } else {
        status = cairn_error_set(CAIRN_FAILED, "out of memory for a picture of %zu bytes", bytes);
    }
    free(made.pixels);
    free(pixels);
    return status;
}
