/* What the tests of data sets in folders share: image files, each of one colour, which names its
 * place, and opening the test's folder. */
#ifndef CAIRN_TESTS_UNIT_IMAGE_FOLDERS_H
#define CAIRN_TESTS_UNIT_IMAGE_FOLDERS_H

#include "folder.h"

#include "cairn/dataset.h"
#include "cairn/file.h"

#include <png.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 4 };

static inline const char *path_of(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Makes the folders above a file. */
static inline void make_way(const char *name) {
    char way[600];
    snprintf(way, sizeof way, "%s", path_of(name));
    *strrchr(way, '/') = '\0';
    assert_int_equal(cairn_folder_make(way), CAIRN_OK);
}

/* An image of `side` pixels squared, grey or of the colour (level, level / 2, 255 - level). */
static inline void write_image(const char *name, int side, uint8_t level, bool grey) {
    static uint8_t pixels[(CAIRN_SIDE_MAX + 1) * (CAIRN_SIDE_MAX + 1) * 3];
    assert_true(side <= CAIRN_SIDE_MAX + 1);
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)side,
                       .height = (png_uint_32)side,
                       .format = grey ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
    for (int i = 0; i < side * side; i++) {
        const uint8_t colour[] = {level, level / 2, (uint8_t)(255 - level)};
        memcpy(pixels + (grey ? i : 3 * i), colour, grey ? 1 : 3);
    }
    make_way(name);
    assert_true(png_image_write_to_file(&image, path_of(name), 0, pixels, 0, NULL));
}

static inline void write_text(const char *name, const char *text) {
    make_way(name);
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static inline void make_link(const char *target, const char *name) {
    make_way(name);
    assert_int_equal(symlink(target, path_of(name)), 0);
}

/* Three classes with 3, 1 and 2 training images; a test image in two of them. */
static inline void write_small(void) {
    write_image("train/b/0.png", SIDE, 10, false);
    write_image("train/b/1.PNG", SIDE, 11, false);
    write_image("train/b/10.png", SIDE, 12, false);
    write_image("train/a/x.png", SIDE, 20, false);
    write_image("train/c d/1.png", SIDE, 30, true);
    write_image("train/c d/2.png", SIDE, 31, false);
    write_image("test/c d/t.png", SIDE, 40, false);
    write_image("test/a/t.png", SIDE, 41, false);
}

static inline cairn_config configure(int64_t train_limit, int64_t image_size) {
    cairn_config config = {.seed = 42};
    strcpy(config.data.name, "folder");
    strcpy(config.data.dir, folder);
    config.data.train_limit = train_limit;
    config.data.image_size = image_size;
    return config;
}

static inline cairn_dataset *open_dataset(const cairn_config *config) {
    cairn_dataset *dataset = NULL;
    if (cairn_dataset_open(&dataset, config))
        fail_msg("%s", cairn_error_message());
    return dataset;
}

static inline void expect_refusal(const char *file, const char *reason) {
    cairn_config config = configure(0, 0);
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_null(dataset);
    if (!strstr(cairn_error_message(), file) || !strstr(cairn_error_message(), reason))
        fail_msg("message '%s' lacks '%s' or '%s'", cairn_error_message(), file, reason);
}

static inline void check_split(const cairn_split *split, int count, const uint8_t *levels,
                               const uint8_t *labels) {
    assert_int_equal(split->count, count);
    for (int i = 0; i < count; i++) {
        const uint8_t *image = split->images + (size_t)i * 3 * SIDE * SIDE;
        assert_int_equal(image[0], levels[i]);
        assert_int_equal(image[SIDE * SIDE - 1], levels[i]);
        assert_int_equal(image[SIDE * SIDE], levels[i] == 30 ? 30 : levels[i] / 2);
        assert_int_equal(image[2 * SIDE * SIDE], levels[i] == 30 ? 30 : 255 - levels[i]);
        assert_int_equal(split->labels[i], labels[i]);
    }
}

#endif
