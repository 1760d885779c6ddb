/* A data set in folders of image files: data.dir holds train/<class>/ and test/<class>/, or val/ in
 * place of test/.
 *
 * The classes are train's folders, in byte order of their names. A split takes its images in turns
 * from the classes, in byte order of the files' names, so that a limit keeps the classes balanced.
 * What is no image by its name (notes.txt, .DS_Store, .ipynb_checkpoints) is left out and counted;
 * a folder, a pipe or an image where none belongs is refused. Links are followed: DVC and others
 * keep data in a store and link to it. */
#include "cairn/file.h"
#include "cairn/image.h"
#include "cairn/text.h"
#include "cairn/threads.h"
#include "data.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES_MAX = 10000000 };

/* What one split's folder holds: the files of class k are files.path[first[k]], ... */
typedef struct {
    cairn_dataset *dataset;
    bool names_classes; /* train: its folders are the classes; test's have to be among them */
    cairn_image_paths files;
    size_t first[CAIRN_CLASSES_MAX], count[CAIRN_CLASSES_MAX];
    int label; /* of the folder that the walk is in */
} listing;

/* Finding the files ---------------------------------------------------------------------------- */

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int find_class(const cairn_dataset *dataset, const char *name) {
    for (int label = 0; label < dataset->classes; label++)
        if (strcmp(dataset->class_names[label], name) == 0)
            return label;
    return -1;
}

static cairn_status enter_class(listing *list, const FTSENT *folder) {
    cairn_dataset *dataset = list->dataset;
    const char *name = folder->fts_name;
    const size_t longest = sizeof dataset->class_names[0] - 1;
    if (!list->names_classes) {
        list->label = find_class(dataset, name);
        if (list->label < 0)
            return cairn_error_set(CAIRN_BAD_INPUT, "%s: train has no folder of that class",
                                   folder->fts_path);
    } else {
        if (strlen(name) > longest || !cairn_text_is_plain(name))
            return cairn_error_set(CAIRN_BAD_INPUT, NOT_A_CLASS_NAME, folder->fts_path, name,
                                   longest);
        if (dataset->classes == CAIRN_CLASSES_MAX)
            return cairn_error_set(CAIRN_BAD_INPUT, "%s: there are more than %d classes",
                                   folder->fts_path, CAIRN_CLASSES_MAX);
        list->label = dataset->classes++;
        strcpy(dataset->class_names[list->label], name);
    }
    list->first[list->label] = list->files.count;
    return CAIRN_OK;
}

static cairn_status take_file(listing *list, const FTSENT *file) {
    if (list->files.count == IMAGES_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: there are more than %d images", file->fts_path,
                               IMAGES_MAX);
    list->count[list->label]++;
    return cairn_image_paths_add(&list->files, file->fts_path);
}

/* One step of the walk: level 0 is the split's folder, 1 are the classes', 2 their files. */
static cairn_status visit(listing *list, FTS *walk, FTSENT *entry) {
    const int level = entry->fts_level, kind = entry->fts_info;
    if (level == FTS_ROOTLEVEL && (kind == FTS_D || kind == FTS_DP))
        return CAIRN_OK;
    if (kind == FTS_DNR || kind == FTS_ERR || kind == FTS_NS)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot read: %s", entry->fts_path,
                               strerror(entry->fts_errno));
    if (kind == FTS_DP)
        return CAIRN_OK;
    const bool hidden = entry->fts_name[0] == '.', folder = kind == FTS_D || kind == FTS_DC;
    if (kind == FTS_SL && !hidden) { /* comes again as what it leads to */
        fts_set(walk, entry, FTS_FOLLOW);
        return CAIRN_OK;
    }
    if (level > FTS_ROOTLEVEL && (hidden || !(folder || cairn_image_named(entry->fts_name)))) {
        cairn_left_out_add(&list->dataset->left_out, entry->fts_path);
        fts_set(walk, entry, FTS_SKIP);
        return CAIRN_OK;
    }
    if (level == 1 && kind == FTS_D)
        return enter_class(list, entry);
    if (level == 2 && kind == FTS_F)
        return take_file(list, entry);
    return cairn_error_set(CAIRN_BAD_INPUT, "%s: is %s; %s", entry->fts_path,
                           kind == FTS_D        ? "a folder"
                           : kind == FTS_SLNONE ? "a link to nothing"
                           : kind == FTS_DC     ? "a link to a folder that it is in"
                           : kind == FTS_F      ? "a file"
                                                : "no regular file",
                           level == 2 ? "a class's folder holds image files"
                                      : "a folder for each class would be right");
}

static cairn_status check_listing(const listing *list, const char *folder) {
    const cairn_dataset *dataset = list->dataset;
    if (list->names_classes && dataset->classes < 2)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: holds %d %s; one for each of 2 to %d classes would be "
                               "right",
                               folder, dataset->classes,
                               cairn_noun(dataset->classes, "folder", "folders"),
                               CAIRN_CLASSES_MAX);
    for (int label = 0; list->names_classes && label < dataset->classes; label++)
        if (list->count[label] == 0)
            return cairn_error_set(CAIRN_BAD_INPUT, "%s/%s: holds no images", folder,
                                   dataset->class_names[label]);
    if (list->files.count == 0)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: holds no images", folder);
    return CAIRN_OK;
}

/* Lists data.dir/<split>; `list` is zero but for the data set and is the caller's to free. */
static cairn_status list_split(listing *list, const char *dir, const char *split) {
    char folder[PATH_MAX];
    char *const roots[] = {folder, NULL};
    list->names_classes = strcmp(split, "train") == 0;
    cairn_status status = cairn_path_format(folder, sizeof folder, "%s/%s", dir, split);
    if (status)
        return status;
    if (!cairn_folder_exists(folder))
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: there is no such folder; data.name: folder wants "
                               "train/<class>/ and test/<class>/ (or val/<class>/) in data.dir",
                               folder);
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    if (!walk)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot read: %s", folder, strerror(errno));
    for (FTSENT *entry; !status && (entry = fts_read(walk));)
        status = visit(list, walk, entry);
    fts_close(walk);
    return status ? status : check_listing(list, folder);
}

/* The folder of the images to measure on: val, where there is no test. */
static cairn_status list_test(listing *list, const char *dir) {
    char test[PATH_MAX], val[PATH_MAX];
    cairn_status status = cairn_path_format(test, sizeof test, "%s/test", dir);
    if (!status)
        status = cairn_path_format(val, sizeof val, "%s/val", dir);
    if (status)
        return status;
    const bool is_val = !cairn_folder_exists(test) && cairn_folder_exists(val);
    return list_split(list, dir, is_val ? "val" : "test");
}

/* Reading them --------------------------------------------------------------------------------- */

/* All files of a list, in turns from the classes, and which of them are held out. */
typedef struct {
    const char **path;
    uint8_t *label;
    bool *is_held;
} queue;

static void free_queue(queue *q) {
    free(q->path);
    free(q->label);
    free(q->is_held);
}

static cairn_status make_queue(queue *q, const listing *list, int64_t held, uint64_t seed) {
    const size_t count = list->files.count;
    *q = (queue){calloc(count, sizeof *q->path), calloc(count, 1),
                 calloc(count, sizeof *q->is_held)};
    if (!q->path || !q->label || !q->is_held)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %zu %s", count,
                               cairn_noun((long long)count, "image", "images"));
    size_t taken = 0;
    for (size_t turn = 0; taken < count; turn++)
        for (int label = 0; label < list->dataset->classes; label++)
            if (turn < list->count[label]) {
                q->path[taken] = list->files.path[list->first[label] + turn];
                q->label[taken++] = (uint8_t)label;
            }
    return held ? cairn_holdout_choose(q->label, (int)count, (int)held, seed, q->is_held)
                : CAIRN_OK;
}

/* The first failure, with the number of all; that it was interrupted counts for more. */
static cairn_status judge(cairn_image_outcome *outcomes, int count) {
    cairn_status status = CAIRN_OK;
    int chosen = -1, failed = 0;
    for (int i = 0; i < count; i++) {
        bool interrupted = outcomes[i].status == CAIRN_INTERRUPTED && status != CAIRN_INTERRUPTED;
        failed += outcomes[i].status != CAIRN_OK;
        if (interrupted || (outcomes[i].status && !status)) {
            status = outcomes[i].status;
            chosen = i;
        }
    }
    if (status) {
        const char *message = outcomes[chosen].message;
        char others[64] = "";
        if (failed > 1 && status != CAIRN_INTERRUPTED)
            snprintf(others, sizeof others, "; this is the first of %d such files", failed);
        cairn_error_set(status, "%s%s", message ? message : "out of memory", others);
    }
    for (int i = 0; i < count; i++)
        free(outcomes[i].message);
    return status;
}

/* The paths from their byte `skip` on, in one block of memory; NULL: out of it. */
static char **keep_names(const char *const *paths, int count, size_t skip) {
    size_t size = (size_t)count * sizeof(char *);
    for (int i = 0; i < count; i++)
        size += strlen(paths[i] + skip) + 1;
    char **names = malloc(size), *text = (char *)(names + count);
    for (int i = 0; names && i < count; i++) {
        names[i] = strcpy(text, paths[i] + skip);
        text += strlen(text) + 1;
    }
    return names;
}

/* The first files of the queue that are held out, or are not. Their names go to *names, unless that
 * is NULL. */
static cairn_status read_split(cairn_split *split, const queue *q, bool held,
                               const cairn_config *config, const volatile sig_atomic_t *stop,
                               char ***names) {
    cairn_status status = cairn_split_allocate(split);
    if (status)
        return status;
    const char **paths = calloc((size_t)split->count, sizeof *paths);
    cairn_image_outcome *outcomes = calloc((size_t)split->count, sizeof *outcomes);
    if (paths && outcomes) {
        cairn_shape shape = {split->channels, split->height, split->width};
        cairn_image_fit fit =
            config->data.image_size ? (cairn_image_fit)config->data.resize : CAIRN_IMAGE_EXACT;
        for (int i = 0, taken = 0; taken < split->count; i++)
            if (q->is_held[i] == held) {
                paths[taken] = q->path[i];
                split->labels[taken++] = q->label[i];
            }
        cairn_images_read(paths, split->count, shape, fit, (int)config->train.threads, stop,
                          split->images, outcomes);
        status = judge(outcomes, split->count);
        if (!status && names) {
            *names = keep_names(paths, split->count, strlen(config->data.dir) + 1);
            status = *names
                         ? CAIRN_OK
                         : cairn_error_set(CAIRN_FAILED, "out of memory for the names of images");
        }
    } else {
        status = cairn_error_set(CAIRN_FAILED, "out of memory for %d %s", split->count,
                                 cairn_noun(split->count, "image", "images"));
    }
    free(paths);
    free(outcomes);
    return status;
}

/* The shape of every image: data.image_size, or that of the first file. */
static cairn_status choose_shape(cairn_dataset *dataset, const listing *train,
                                 const cairn_config *config) {
    int width = (int)config->data.image_size, height = width;
    cairn_status status =
        width ? CAIRN_OK : cairn_image_size(train->files.path[0], &width, &height);
    if (!status && !config->data.image_size && (width > CAIRN_SIDE_MAX || height > CAIRN_SIDE_MAX))
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: is %d by %d pixels; images of more than %d a side are made "
                               "smaller by data.image_size",
                               train->files.path[0], width, height, CAIRN_SIDE_MAX);
    dataset->train = dataset->test =
        (cairn_split){.channels = CHANNELS, .height = height, .width = width};
    return status;
}

/* Four decimals, as such statistics are usually given: the same on every machine. */
static float rounded(double value) {
    return (float)(round(value * 1e4) / 1e4);
}

/* Mean and deviation of every channel over the training images; a constant channel has deviation 1.
 */
static void measure_channels(cairn_dataset *dataset, int threads) {
    const cairn_split *split = &dataset->train;
    const size_t plane = (size_t)split->height * (size_t)split->width;
    for (int c = 0; c < split->channels; c++) {
        uint64_t sum = 0, squares = 0; /* exact for all that fits in memory */
#pragma omp parallel for reduction(+ : sum, squares) num_threads(threads)
        for (int i = 0; i < split->count; i++) {
            const uint8_t *pixel =
                split->images + ((size_t)i * (size_t)split->channels + (size_t)c) * plane;
            for (size_t p = 0; p < plane; p++) {
                sum += pixel[p];
                squares += (uint64_t)pixel[p] * pixel[p];
            }
        }
        double count = (double)split->count * (double)plane, mean = (double)sum / count;
        double variance = (double)squares / count - mean * mean;
        float deviation = rounded(sqrt(variance > 0 ? variance : 0) / 255);
        dataset->mean[c] = rounded(mean / 255);
        dataset->std[c] = deviation > 0 ? deviation : 1;
    }
}

/* How many images the listed training files leave to train on. */
static cairn_status count_training(const listing *train, const cairn_config *config, int *count) {
    int64_t files = (int64_t)train->files.count, held = config->data.validation;
    if (held >= files)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "data.validation: found %lld; there are %lld training images, of "
                               "which some must be left",
                               (long long)held, (long long)files);
    *count = cairn_split_limit(config->data.train_limit, files - held);
    return CAIRN_OK;
}

/* Both splits' images: of train's files, and of test's, or those of train's that are held out. */
static cairn_status read_both(cairn_dataset *dataset, const listing *train, const listing *test,
                              const cairn_config *config, const volatile sig_atomic_t *stop) {
    const int64_t held = config->data.validation;
    queue trained = {0}, tested = {0};
    cairn_status status = make_queue(&trained, train, held, config->seed);
    if (!status && !held)
        status = make_queue(&tested, test, 0, config->seed);
    if (!status)
        status = read_split(&dataset->train, &trained, false, config, stop, NULL);
    if (!status)
        status = read_split(&dataset->test, held ? &trained : &tested, held, config, stop,
                            &dataset->test_files);
    free_queue(&trained);
    free_queue(&tested);
    return status;
}

cairn_status cairn_folder_load(cairn_dataset *dataset, const cairn_config *config,
                               const volatile sig_atomic_t *stop) {
    listing train = {.dataset = dataset}, test = {.dataset = dataset};
    const int64_t held = config->data.validation;
    int count = 0, threads = 1;
    cairn_status status = cairn_threads_resolve((int)config->train.threads, &threads);
    if (!status)
        status = list_split(&train, config->data.dir, "train");
    if (!status && !held)
        status = list_test(&test, config->data.dir);
    if (!status)
        status = count_training(&train, config, &count);
    if (!status)
        status = choose_shape(dataset, &train, config);
    if (!status) {
        dataset->train.count = count;
        dataset->test.count =
            cairn_split_limit(config->data.test_limit, held ? held : (int64_t)test.files.count);
        status = read_both(dataset, &train, &test, config, stop);
    }
    if (!status)
        measure_channels(dataset, threads);
    cairn_image_paths_free(&train.files);
    cairn_image_paths_free(&test.files);
    return status;
}

cairn_status cairn_folder_count(const cairn_config *config, int *count) {
    cairn_dataset *dataset = calloc(1, sizeof *dataset);
    listing train = {.dataset = dataset};
    if (!dataset)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a data set");
    cairn_status status = list_split(&train, config->data.dir, "train");
    if (!status)
        status = count_training(&train, config, count);
    cairn_image_paths_free(&train.files);
    free(dataset);
    return status;
}
