/* Opening a data set: allocates both splits at their limited sizes, lets the source fill them,
 * digests the result. The sources are cifar10.c and synthetic.c. */
#include "data.h"

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

static cairn_status split_allocate(cairn_split *split, int count) {
    split->count = count;
    split->images = allocate((size_t)count * PIXELS);
    split->labels = malloc((size_t)count);
    if (!split->images || !split->labels)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d images", count);
    return CAIRN_OK;
}

static cairn_status digest_split(cairn_digest *digest, const cairn_split *split) {
    cairn_status status = cairn_digest_add(digest, split->images, (size_t)split->count * PIXELS);
    return status ? status : cairn_digest_add(digest, split->labels, (size_t)split->count);
}

static cairn_status digest_dataset(cairn_dataset *dataset) {
    cairn_digest *digest = NULL;
    cairn_status status = cairn_digest_begin(&digest, "sha256");
    if (status)
        return status;
    status = digest_split(digest, &dataset->train);
    if (!status)
        status = digest_split(digest, &dataset->test);
    cairn_status ended = cairn_digest_end(digest, status ? NULL : dataset->digest);
    return status ? status : ended;
}

cairn_status cairn_dataset_describe(cairn_dataset **dataset, const cairn_config *config) {
    const char *name = config->data.name;
    bool cifar10 = strcmp(name, "cifar10") == 0;
    if (!cifar10 && strcmp(name, "synthetic") != 0)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "data.name: there is no data set '%s'; there are cifar10 and "
                               "synthetic",
                               name);
    cairn_dataset *made = calloc(1, sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a data set");
    strcpy(made->name, cifar10 ? "cifar10" : "synthetic");
    made->classes = CLASSES;
    made->held_out = config->data.validation > 0;
    made->test_from = TRAIN_COUNT - (int)config->data.validation;
    made->train = made->test = (cairn_split){.channels = CHANNELS, .height = SIDE, .width = SIDE};
    if (cifar10)
        cairn_cifar10_describe(made);
    else
        cairn_synthetic_describe(made);
    *dataset = made;
    return CAIRN_OK;
}

static int limited(int64_t limit, int count) {
    return limit > 0 && limit < count ? (int)limit : count;
}

int cairn_dataset_train_count(const cairn_config *config) {
    return limited(config->data.train_limit, TRAIN_COUNT - (int)config->data.validation);
}

cairn_status cairn_dataset_open(cairn_dataset **dataset, const cairn_config *config) {
    cairn_dataset *made = NULL;
    cairn_status status = cairn_dataset_describe(&made, config);
    if (status)
        return status;
    status = split_allocate(&made->train, cairn_dataset_train_count(config));
    if (!status)
        status = split_allocate(
            &made->test, limited(config->data.test_limit,
                                 made->held_out ? (int)config->data.validation : TEST_COUNT));
    if (!status && strcmp(made->name, "cifar10") == 0)
        status = cairn_cifar10_load(made, config->data.dir);
    else if (!status)
        status = cairn_synthetic_make(made, config->seed, (int)config->train.threads);
    if (!status)
        status = digest_dataset(made);
    if (status) {
        cairn_dataset_destroy(made);
        return status;
    }
    *dataset = made;
    return CAIRN_OK;
}

void cairn_dataset_destroy(cairn_dataset *dataset) {
    if (!dataset)
        return;
    free(dataset->train.images);
    free(dataset->train.labels);
    free(dataset->test.images);
    free(dataset->test.labels);
    free(dataset);
}
