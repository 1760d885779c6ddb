/* Opening a data set: allocates both splits at their limited sizes, lets the source fill them,
 * digests the result where that is wanted. The sources are cifar10.c, cifar100.c, folder.c and
 * synthetic.c. */
#include "data.h"

#include "cairn/memory.h"
#include "cairn/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Not an arena: its zeroing would touch every page once more. */
static void *allocate(size_t bytes) {
    const size_t huge_page = (size_t)2 << 20;
    size_t alignment = bytes >= huge_page ? huge_page : 64;
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void *memory = aligned_alloc(alignment, rounded);
    if (memory && alignment == huge_page)
        (void)madvise(memory, rounded, MADV_HUGEPAGE); /* advice: refusal costs only speed */
    return memory;
}

int cairn_split_limit(int64_t limit, int64_t count) {
    return (int)(limit > 0 && limit < count ? limit : count);
}

static size_t image_bytes(const cairn_split *split) {
    return (size_t)split->channels * (size_t)split->height * (size_t)split->width;
}

/* More than there is would not fail here, but get the process killed later. A little is there, and
 * asking takes longer. */
cairn_status cairn_split_allocate(cairn_split *split) {
    const double little = 1 << 20;
    double wanted = (double)split->count * (double)(image_bytes(split) + 1);
    double there = wanted <= little ? little : (double)cairn_memory_available();
    if (wanted > there)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%d %s of %d x %d x %d would need %.1f GB, there are %.1f GB; "
                               "data.image_size, data.train_limit and data.test_limit make it less",
                               split->count, cairn_noun(split->count, "image", "images"),
                               split->channels, split->height, split->width, 1e-9 * wanted,
                               1e-9 * there);
    split->images = allocate((size_t)split->count * image_bytes(split));
    split->labels = malloc((size_t)split->count);
    if (!split->images || !split->labels)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d %s", split->count,
                               cairn_noun(split->count, "image", "images"));
    return CAIRN_OK;
}

size_t cairn_split_bytes(const cairn_split *split) {
    return (size_t)split->count * (image_bytes(split) + 1);
}

static cairn_status digest_split(cairn_digest *digest, const cairn_split *split) {
    cairn_status status =
        cairn_digest_add(digest, split->images, (size_t)split->count * image_bytes(split));
    return status ? status : cairn_digest_add(digest, split->labels, (size_t)split->count);
}

cairn_status cairn_dataset_digest(const cairn_dataset *dataset, char hex[CAIRN_DIGEST_HEX]) {
    cairn_digest *digest = NULL;
    cairn_status status = cairn_digest_begin(&digest, "sha256");
    if (status)
        return status;
    status = digest_split(digest, &dataset->train);
    if (!status)
        status = digest_split(digest, &dataset->test);
    cairn_status ended = cairn_digest_end(digest, status ? NULL : hex);
    return status ? status : ended;
}

/* The data sets by name. */
typedef struct {
    const char *name;
    void (*describe)(cairn_dataset *); /* NULL: only its files can tell, it is `folder` */
    cairn_status (*load)(cairn_dataset *, const cairn_config *);
} source;

static const source sources[] = {
    {"cifar10", cairn_cifar10_describe, cairn_cifar10_load},
    {"cifar100", cairn_cifar100_describe, cairn_cifar100_load},
    {"folder", NULL, NULL},
    {"synthetic", cairn_synthetic_describe, cairn_synthetic_load},
};

static cairn_status find_source(const source **found, const char *name) {
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        if (strcmp(name, sources[i].name) == 0) {
            *found = &sources[i];
            return CAIRN_OK;
        }
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "data.name: there is no data set '%s'; there are cifar10, cifar100, "
                           "folder and synthetic",
                           name);
}

/* A data set with its name and, where that is known without files, its description. */
static cairn_status create(cairn_dataset **dataset, const source *from,
                           const cairn_config *config) {
    cairn_dataset *made = calloc(1, sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a data set");
    strcpy(made->name, from->name);
    made->resize = config->data.resize;
    made->held_out = config->data.validation > 0;
    made->train = made->test = (cairn_split){.channels = CHANNELS, .height = SIDE, .width = SIDE};
    made->test_files = NULL; /* gcc's analyzer forgets calloc's zeros at the strcpy */
    if (from->describe)
        from->describe(made);
    *dataset = made;
    return CAIRN_OK;
}

/* How many images of a set of CIFAR's size there are to train on. */
static int train_count(const cairn_config *config) {
    return cairn_split_limit(config->data.train_limit, TRAIN_COUNT - (int)config->data.validation);
}

static cairn_status load(cairn_dataset *made, const source *from, const cairn_config *config,
                         const volatile sig_atomic_t *stop) {
    if (!from->describe)
        return cairn_folder_load(made, config, stop);
    /* Which images are held out, their labels say: then all are read first. */
    made->train.count = made->held_out ? TRAIN_COUNT : train_count(config);
    made->test.count = made->held_out ? 0 : cairn_split_limit(config->data.test_limit, TEST_COUNT);
    cairn_status status = cairn_split_allocate(&made->train);
    if (!status && !made->held_out)
        status = cairn_split_allocate(&made->test);
    if (!status)
        status = from->load(made, config);
    return status || !made->held_out ? status : cairn_holdout_take(made, config);
}

cairn_status cairn_dataset_open(cairn_dataset **dataset, const cairn_config *config) {
    return cairn_dataset_open_until(dataset, config, NULL);
}

cairn_status cairn_dataset_open_until(cairn_dataset **dataset, const cairn_config *config,
                                      const volatile sig_atomic_t *stop) {
    const source *from = NULL;
    cairn_dataset *made = NULL;
    cairn_status status = find_source(&from, config->data.name);
    if (!status)
        status = create(&made, from, config);
    if (!status)
        status = load(made, from, config, stop);
    if (status) {
        cairn_dataset_destroy(made);
        return status;
    }
    *dataset = made;
    return CAIRN_OK;
}

static void drop_images(cairn_split *split) {
    free(split->images);
    free(split->labels);
    split->images = split->labels = NULL;
    split->count = 0;
}

cairn_status cairn_dataset_describe(cairn_dataset **dataset, const cairn_config *config) {
    const source *from = NULL;
    cairn_status status = find_source(&from, config->data.name);
    if (!status && from->describe)
        return create(dataset, from, config);
    if (!status)
        status = cairn_dataset_open(dataset, config);
    if (!status) {
        drop_images(&(*dataset)->train);
        drop_images(&(*dataset)->test);
    }
    return status;
}

cairn_status cairn_dataset_train_count(const cairn_config *config, int *count) {
    const source *from = NULL;
    cairn_status status = find_source(&from, config->data.name);
    *count = train_count(config);
    return status || from->describe ? status : cairn_folder_count(config, count);
}

void cairn_dataset_destroy(cairn_dataset *dataset) {
    if (!dataset)
        return;
    drop_images(&dataset->train);
    drop_images(&dataset->test);
    free(dataset->test_files);
    free(dataset);
}
