/* Images with labels, and the names of their classes. */
#ifndef CAIRN_SPLIT_H
#define CAIRN_SPLIT_H

#include <stdint.h>

/* `count` images [count, channels, height, width], row-major, 0..255, and their labels [count]. */
typedef struct {
    int count, channels, height, width;
    uint8_t *images;
    uint8_t *labels;
} cairn_split;

/* A folder's name, of which Linux's file systems allow 255 bytes. */
typedef char cairn_class_name[256];

#endif
