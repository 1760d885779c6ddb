/* Many image files: finding them in folders, reading them side by side. */
#include "cairn/image.h"
#include "cairn/threads.h"

#include "cairn/text.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

void cairn_images_read(const char *const *paths, int count, cairn_shape shape, cairn_image_fit fit,
                       int threads, const volatile sig_atomic_t *stop, uint8_t *pixels,
                       cairn_image_outcome *outcomes) {
    size_t size = cairn_shape_count(shape);
    /* Files differ in length, so threads take the next one as they become free. */
#pragma omp parallel for schedule(dynamic)                                                         \
    num_threads(threads ? threads : cairn_threads_available(NULL))
    for (int i = 0; i < count; i++) {
        outcomes[i].status =
            stop && *stop
                ? cairn_error_set(CAIRN_INTERRUPTED, "%s: reading was interrupted", paths[i])
                : cairn_image_read(paths[i], shape, fit, pixels + (size_t)i * size);
        outcomes[i].message = outcomes[i].status ? strdup(cairn_error_message()) : NULL;
    }
}

bool cairn_image_named(const char *name) {
    static const char *const endings[] = {
        ".png",  ".jpg", ".jpeg", ".bmp",
#ifdef CAIRN_WITH_WEBP
        ".webp",
#endif
    };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && name[0] != '.' && i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

void cairn_left_out_add(cairn_left_out *left_out, const char *path) {
    if (left_out->count++ == 0)
        snprintf(left_out->first, sizeof left_out->first, "%s", path);
}

const char *cairn_left_out_describe(const cairn_left_out *left_out, char *out, size_t size) {
    char shown[2 * sizeof left_out->first];
    cairn_text_show(shown, sizeof shown, left_out->first);
    if (left_out->count > 1)
        snprintf(out, size, "left out %zu that are no images, first %s", left_out->count, shown);
    else
        snprintf(out, size, left_out->count ? "left out %s, which is no image" : "%.0s", shown);
    return out;
}

cairn_status cairn_image_paths_add(cairn_image_paths *paths, const char *path) {
    if (paths->count == paths->capacity) {
        size_t capacity = paths->capacity ? 2 * paths->capacity : 64;
        char **grown = realloc(paths->path, capacity * sizeof *grown);
        if (!grown)
            return cairn_error_set(CAIRN_FAILED, "out of memory for the names of images");
        paths->path = grown;
        paths->capacity = capacity;
    }
    char *copy = strdup(path);
    if (!copy)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the names of images");
    paths->path[paths->count++] = copy;
    return CAIRN_OK;
}

void cairn_image_paths_free(cairn_image_paths *paths) {
    for (size_t i = 0; i < paths->count; i++)
        free(paths->path[i]);
    free(paths->path);
    *paths = (cairn_image_paths){0};
}

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static bool is_link_to_file(const FTSENT *entry) {
    struct stat info;
    return entry->fts_info == FTS_SL && stat(entry->fts_accpath, &info) == 0 &&
           S_ISREG(info.st_mode);
}

/* One step of the walk. */
static cairn_status visit(cairn_image_paths *paths, FTS *walk, FTSENT *entry) {
    const bool below = entry->fts_level > FTS_ROOTLEVEL, hidden = entry->fts_name[0] == '.';
    if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot read the folder: %s", entry->fts_path,
                               strerror(entry->fts_errno));
    if (!below || entry->fts_info == FTS_DP)
        return CAIRN_OK;
    if (hidden && entry->fts_info == FTS_D)
        fts_set(walk, entry, FTS_SKIP);
    const bool is_file = entry->fts_info == FTS_F || is_link_to_file(entry);
    if (is_file && cairn_image_named(entry->fts_name))
        return cairn_image_paths_add(paths, entry->fts_path);
    if (is_file || hidden)
        cairn_left_out_add(&paths->left_out, entry->fts_path);
    return CAIRN_OK;
}

cairn_status cairn_image_paths_find(cairn_image_paths *paths, const char *folder) {
    char *root = strdup(folder), *const roots[] = {root, NULL};
    size_t before = paths->count;
    cairn_status status = CAIRN_OK;
    FTS *walk = root ? fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name) : NULL;
    if (!walk)
        status = cairn_error_set(CAIRN_FAILED, "%s: cannot read the folder: %s", folder,
                                 strerror(errno));
    for (FTSENT *entry; !status && (entry = fts_read(walk));)
        status = visit(paths, walk, entry);
    if (walk)
        fts_close(walk);
    free(root);
    if (!status && paths->count == before)
        status = cairn_error_set(
            CAIRN_BAD_INPUT, "%s: the folder holds no image files (.png, .jpg, .jpeg, .bmp, .webp)",
            folder);
    return status;
}
