/* Many image files: finding them in folders, reading them side by side. */
#include "cairn/image.h"
#include "cairn/threads.h"

#include <errno.h>
#include <fts.h>
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
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".bmp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
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
    bool below = entry->fts_level > FTS_ROOTLEVEL;
    if (below && entry->fts_info == FTS_D && entry->fts_name[0] == '.')
        fts_set(walk, entry, FTS_SKIP);
    if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot read the folder: %s", entry->fts_path,
                               strerror(entry->fts_errno));
    if (below && entry->fts_name[0] != '.' && cairn_image_named(entry->fts_name) &&
        (entry->fts_info == FTS_F || is_link_to_file(entry)))
        return cairn_image_paths_add(paths, entry->fts_path);
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
        status = cairn_error_set(CAIRN_BAD_INPUT,
                                 "%s: the folder holds no .png, .jpg, .jpeg or .bmp files", folder);
    return status;
}
