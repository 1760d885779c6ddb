/* What the files of host/data/ share; not for other rooms. */
#ifndef CAIRN_HOST_DATA_H
#define CAIRN_HOST_DATA_H

#include "cairn/dataset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Both data sets have CIFAR-10's shape. */
enum {
    CLASSES = 10,
    CHANNELS = 3,
    SIDE = 32,
    PLANE = SIDE * SIDE,
    PIXELS = CHANNELS * PLANE, /* bytes of one image */
    TRAIN_COUNT = 50000,
    TEST_COUNT = 10000,
};

/* CIFAR-10 comes in files of 10,000 images: five to train, one to test, counted from 0. */
enum { BATCH_COUNT = 10000, TEST_BATCH = TRAIN_COUNT / BATCH_COUNT };

/* Set class names and channel statistics. */
void cairn_cifar10_describe(cairn_dataset *dataset);
void cairn_synthetic_describe(cairn_dataset *dataset);

/* Fill a described data set whose splits are allocated, cut to the configuration's limits. */
cairn_status cairn_cifar10_load(cairn_dataset *dataset, const char *dir);
cairn_status cairn_synthetic_make(cairn_dataset *dataset, uint64_t seed, int threads);

/* Whether `dir` holds all six files, in either layout, in sizes that can be right. */
bool cairn_cifar10_complete(const char *dir);

/* The first `count` images and labels of one cifar-10-batches-py file, given in memory; `name`
 * stands for it in messages. Labels are not checked against CLASSES. */
cairn_status cairn_pickle_batch(const uint8_t *bytes, size_t size, const char *name, int count,
                                uint8_t *images, uint8_t *labels);

/* Unpacks an archive of cifar-10-batches-bin/ or cifar-10-batches-py/ into `folder`: beside the
 * final place first, then renamed. On failure the folder is as it was. */
cairn_status cairn_archive_unpack(const char *archive, const char *folder,
                                  const volatile sig_atomic_t *stop);

#endif
