/* What the tests of augmentation share: random images, and what is made of them byte by byte. */
#ifndef CAIRN_TESTS_UNIT_AUGMENT_IMAGES_H
#define CAIRN_TESTS_UNIT_AUGMENT_IMAGES_H

#include "host/data/transform_pixels.h"

enum { SAMPLES = 12, HEIGHT = 13, WIDTH = 10, PLANE = HEIGHT * WIDTH, SIZE = 3 * PLANE };

static uint8_t images[SAMPLES * SIZE];

static inline int make_images(void **state) {
    (void)state;
    for (int i = 0; i < SAMPLES * SIZE; i++)
        images[i] = (uint8_t)(cairn_rng(1, CAIRN_RNG_TEST, 0, 0, (uint64_t)i).word[0] >> 24);
    return 0;
}

/* No augmentation, of the images above. */
static inline cairn_augmenter nothing(void) {
    return (cairn_augmenter){
        .how = {.fill = {125, 123, 114, 0}, .pivot = 121, .mix_share = CAIRN_ONE},
        .seed = 42,
        .channels = 3,
        .height = HEIGHT,
        .width = WIDTH,
        .count = SAMPLES};
}

static inline cairn_transform find(const cairn_augmenter *a, uint32_t epoch, uint32_t index) {
    cairn_transform transform = {0};
    if (index < SAMPLES)
        cairn_transform_make(a, &transform, images, epoch, index);
    else
        cairn_transform_draw(a, &transform, epoch, index);
    return transform;
}

static inline int original(uint32_t index, int c, int i, int j) {
    return images[(int)index * SIZE + c * PLANE + i * WIDTH + j];
}

/* Calls check(a, transform, epoch, index, c, i, j, level) for every byte of some samples. */
typedef void (*checker)(const cairn_augmenter *, const cairn_transform *, uint32_t, uint32_t, int,
                        int, int, int);
static inline void for_every_byte(const cairn_augmenter *a, checker check) {
    for (uint32_t epoch = 0; epoch < 4; epoch++)
        for (uint32_t index = 0; index < SAMPLES; index++) {
            cairn_transform transform = find(a, epoch, index);
            for (int c = 0; c < a->channels; c++)
                for (int i = 0; i < HEIGHT; i++)
                    for (int j = 0; j < WIDTH; j++)
                        check(a, &transform, epoch, index, c, i, j,
                              cairn_transform_level(a, &transform, images, index, c, i, j));
        }
}

#endif
