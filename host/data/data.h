/* What the files of host/data/ share; not for other modules. */
#ifndef CAIRN_HOST_DATA_H
#define CAIRN_HOST_DATA_H

#include "cairn/dataset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The shape of CIFAR's images and of the synthetic ones, and the size of all three sets. */
enum {
    CHANNELS = 3,
    SIDE = 32,
    PLANE = SIDE * SIDE,
    PIXELS = CHANNELS * PLANE, /* bytes of one image */
    TRAIN_COUNT = 50000,
    TEST_COUNT = 10000,
};

/* CIFAR-10 comes in files of 10,000 images: five to train, one to test, counted from 0. */
enum { BATCH_COUNT = 10000, TEST_BATCH = TRAIN_COUNT / BATCH_COUNT };

/* Of a path, a class's name and the most bytes that one has. */
#define NOT_A_CLASS_NAME                                                                           \
    "%s: '%s' is no name for a class: at most %zu bytes of printable UTF-8 would be right"

/* Set class names and channel statistics. */
void cairn_cifar10_describe(cairn_dataset *dataset);
void cairn_cifar100_describe(cairn_dataset *dataset);
void cairn_synthetic_describe(cairn_dataset *dataset);

/* Fill a described data set whose splits are allocated, cut to the configuration's limits. */
cairn_status cairn_cifar10_load(cairn_dataset *dataset, const cairn_config *config);
cairn_status cairn_cifar100_load(cairn_dataset *dataset, const cairn_config *config);
cairn_status cairn_synthetic_load(cairn_dataset *dataset, const cairn_config *config);

/* Everything of a data set in folders of images, its splits' allocation included, until *stop. */
cairn_status cairn_folder_load(cairn_dataset *dataset, const cairn_config *config,
                               const volatile sig_atomic_t *stop);

/* The number of its training images, without reading them. */
cairn_status cairn_folder_count(const cairn_config *config, int *count);

/* Marks `held` of `count` training images, of each class its share, by the seed. */
cairn_status cairn_holdout_choose(const uint8_t *labels, int count, int held, uint64_t seed,
                                  bool *is_held);

/* Moves config->data.validation of a whole training split to the test split, which has no images
 * yet, and cuts both to their limits. */
cairn_status cairn_holdout_take(cairn_dataset *dataset, const cairn_config *config);

/* The smaller of a count and a configured limit, where there is one. */
int cairn_split_limit(int64_t limit, int64_t count);

/* Memory for split->count images of the split's shape, and their labels. */
cairn_status cairn_split_allocate(cairn_split *split);

/* Whether `dir` holds all files, in any layout, in sizes that can be right. */
bool cairn_cifar10_complete(const char *dir);
bool cairn_cifar100_complete(const char *dir);

/* The refusal of a data.dir, which `lacks` what it wants, or is not there, with how to get it. */
cairn_status cairn_data_missing(const char *dir, const char *lacks, const char *name);

/* Opens a regular file of a data set and tells its size. */
cairn_status cairn_data_file_open(const char *path, int *fd, size_t *size);

/* A file of `records` records: `label_bytes` bytes, of which the last is the label, and PIXELS. */
typedef struct {
    const char *path;
    int records, label_bytes;
} record_file;
enum { LABEL_BYTES_MAX = 2 };

/* Its first `count` images and labels; the labels are not checked. */
cairn_status cairn_records_read(const record_file *file, int count, uint8_t *images,
                                uint8_t *labels);
/* Whether the labels of a file's first `count` records are classes. */
cairn_status cairn_labels_check(const char *path, const uint8_t *labels, int count, int classes);

/* The names in a file, a line each, where there is one: as many as the data set has classes. */
cairn_status cairn_class_names_read(cairn_dataset *dataset, const char *path);

/* The first `count` images and labels of one cifar-10-batches-py file, given in memory; `name`
 * stands for it in messages. Labels are not checked against the classes. */
cairn_status cairn_pickle_batch(const uint8_t *bytes, size_t size, const char *name, int count,
                                uint8_t *images, uint8_t *labels);

/* A data set that comes as an archive. */
typedef struct {
    const char *name, *title;   /* as data.name has it, and for people */
    const char *source, *md5;   /* of the official archive */
    const char *folders[2];     /* the archive holds one of these; the second may be NULL */
    const char *files;          /* what has to be in it, for messages */
    size_t file_max, total_max; /* bytes of one file in it, of all together */
    bool (*complete)(const char *dir);
} archive_kind;

/* Unpacks an archive of that kind into `folder`: beside the final place first, then renamed. On
 * failure the folder is as it was. */
cairn_status cairn_archive_unpack(const archive_kind *kind, const char *archive, const char *folder,
                                  const volatile sig_atomic_t *stop);

#endif
