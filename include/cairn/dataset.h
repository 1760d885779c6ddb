/* Data sets in memory: 8-bit images and labels, in two splits. A label is one byte, so there are at
 * most 256 classes; an image takes channels * height * width bytes and one for its label. */
#ifndef CAIRN_DATASET_H
#define CAIRN_DATASET_H

#include "cairn/config.h"
#include "cairn/digest.h"
#include "cairn/image.h"
#include "cairn/split.h"
#include "cairn/status.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An image's side: as data.image_size has it. */
enum { CAIRN_CLASSES_MAX = 256, CAIRN_CHANNELS_MAX = 4, CAIRN_SIDE_MAX = 1024 };

typedef struct {
    char name[32]; /* "cifar10", "cifar100", "folder" or "synthetic" */
    cairn_split train, test;
    bool held_out; /* data.validation: `test` is of training images, of every class its share */
    /* folder: the path of each test image below data.dir, [test.count]; else NULL. */
    char **test_files;
    cairn_left_out left_out; /* folder: what is no image */
    int classes;
    cairn_class_name class_names[CAIRN_CLASSES_MAX];
    cairn_resize resize; /* what is done with images of another size */
    /* Channel statistics of the training pixels scaled to [0,1], for x -> (x / 255 - mean) / std.
     */
    float mean[CAIRN_CHANNELS_MAX], std[CAIRN_CHANNELS_MAX];
} cairn_dataset;

/* Loads what config->data names, cut to its limits; free with cairn_dataset_destroy.
 *   cifar10    data.dir holds cifar-10-batches-bin or cifar-10-batches-py (or is one of them)
 *   cifar100   data.dir holds cifar-100-binary (or is it); the classes are the 100 fine ones
 *   folder     data.dir holds train/<class>/ and test/<class>/ (or val/) with image files: see
 * folder.c synthetic  computed from config->seed; needs no files CAIRN_BAD_INPUT names the file and
 * what is wrong with it, and says how to get the data. */
cairn_status cairn_dataset_open(cairn_dataset **dataset, const cairn_config *config);

/* The same, until *stop is not zero: then CAIRN_INTERRUPTED, where there are many files to read. */
cairn_status cairn_dataset_open_until(cairn_dataset **dataset, const cairn_config *config,
                                      const volatile sig_atomic_t *stop);

/* The same without images, the splits empty: shape, class names, statistics. Needs no files, and
 * has the official names of CIFAR's classes; but `folder` is read once, since only its files can
 * tell. */
cairn_status cairn_dataset_describe(cairn_dataset **dataset, const cairn_config *config);

/* How many training images config->data means. */
cairn_status cairn_dataset_train_count(const cairn_config *config, int *count);

/* How many images of each class are held out: "77 cat, 19 dog, 4 ship", or in brief. */
const char *cairn_held_out_describe(const cairn_dataset *dataset, char *out, size_t size);

/* SHA-256 over what will be used: train images, train labels, test images, test labels. */
cairn_status cairn_dataset_digest(const cairn_dataset *dataset, char hex[CAIRN_DIGEST_HEX]);

/* The memory that a split's images and labels take. */
size_t cairn_split_bytes(const cairn_split *split);

void cairn_dataset_destroy(cairn_dataset *dataset); /* NULL is allowed */

/* Where cairn_dataset_fetch takes the archive from, and how it knows it. */
typedef struct {
    const char *name;   /* "cifar10" or "cifar100"; NULL: the first */
    const char *source; /* path or URL of the .tar.gz; NULL: the official address */
    const char *md5;    /* hex; NULL: the official archive's when source is NULL, else unchecked
                           (only for a path; a URL needs a checksum) */
    const char *sha256; /* hex; NULL: not checked */
    const char *folder; /* data.dir */
    bool quiet;         /* no word on stderr about a download and its progress */
    const volatile sig_atomic_t *stop; /* becomes non-zero to stop; NULL: never */
} cairn_fetch;

/* Brings cifar-10-batches-bin (or -py, if the archive holds that) or cifar-100-binary into the
 * folder: downloads to
 * `<archive's name>.part` there, resuming what an earlier call left, verifies, unpacks beside the
 * final place and renames. An incomplete folder in that place is kept, as `<its name>.old-XXXXXX`.
 * Returns at once when the folder already holds complete data. CAIRN_INTERRUPTED after a stop. */
cairn_status cairn_dataset_fetch(const cairn_fetch *fetch);

/* The order of one epoch: a permutation of 0..count-1 by Fisher-Yates,
 * for i = count-1 .. 1: swap(order[i], order[below(word 0 of (seed, SHUFFLE, epoch, 0, i), i +
 * 1)]). */
void cairn_sampler_order(uint64_t seed, uint32_t epoch, int count, int32_t *order);

#endif
