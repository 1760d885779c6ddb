/* TensorBoard's event files as bytes: checksums, records, and which files a run leaves; and the
 * pictures. What TensorBoard itself reads in them is tests/e2e/tensorboard.bats's. */
#include "cairn/file.h"
#include "cairn/tensorboard.h"
#include "cairn/experiment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CAIRN_WITH_PROTOBUF

#include "folder.h"

static glob_t found;

static int tear_down(void **state) {
    globfree(&found);
    found = (glob_t){0};
    return remove_folder(state);
}

/* The folder's event files, sorted as TensorBoard sorts them. */
static size_t find_files(void) {
    char pattern[sizeof folder + 32];
    snprintf(pattern, sizeof pattern, "%s/*tfevents*", folder);
    globfree(&found);
    found = (glob_t){0};
    glob(pattern, 0, NULL, &found);
    return found.gl_pathc;
}

/* RFC 3720, B.4, and the check value that catalogues of CRCs give. */
static void checksums_are_crc32c(void **state) {
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(cairn_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(cairn_crc32c("", 0), 0);
    assert_int_equal(cairn_crc32c(bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(cairn_crc32c(bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(cairn_crc32c(bytes, 32), 0x46dd794e);
    /* The length of the first record of most event files, 24 bytes, with its checksum there. */
    memset(bytes, 0, 8);
    bytes[0] = 24;
    assert_int_equal(cairn_crc32c_mask(cairn_crc32c(bytes, 8)), 0x224b7fa3);
}

static uint64_t number(const uint8_t *bytes, int count) {
    uint64_t value = 0;
    for (int i = count; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

/* The records of a file, whose checksums must be right: their data's places and sizes. */
enum { RECORDS = 64 };
typedef struct {
    uint8_t *bytes;
    size_t size;
    const uint8_t *data[RECORDS];
    size_t length[RECORDS];
    int count;
} records;

static records read_records(const char *path) {
    records file = {0};
    assert_int_equal(cairn_file_read(path, &file.bytes, &file.size), CAIRN_OK);
    for (size_t at = 0; at < file.size;) {
        assert_true(file.size - at >= 12 && file.count < RECORDS);
        uint64_t length = number(file.bytes + at, 8);
        assert_int_equal(number(file.bytes + at + 8, 4),
                         cairn_crc32c_mask(cairn_crc32c(file.bytes + at, 8)));
        assert_true(file.size - at - 12 >= length + 4);
        file.data[file.count] = file.bytes + at + 12;
        file.length[file.count++] = length;
        at += 12 + length;
        assert_int_equal(number(file.bytes + at, 4),
                         cairn_crc32c_mask(cairn_crc32c(file.bytes + at - length, length)));
        at += 4;
    }
    return file;
}

/* Behind the time (a tag and eight bytes) an event holds exactly these bytes. */
static void assert_event(const records *file, int which, const char *bytes, size_t size) {
    assert_true(which < file->count);
    assert_int_equal(file->length[which], 9 + size);
    assert_int_equal(file->data[which][0], 0x09);
    assert_memory_equal(file->data[which] + 9, bytes, size);
}
#define ASSERT_EVENT(file, which, bytes) assert_event(file, which, bytes, sizeof(bytes) - 1)

static void records_are_framed(void **state) {
    (void)state;
    cairn_events *events = NULL;
    assert_int_equal(cairn_events_open(&events, folder, 0), CAIRN_OK);
    assert_int_equal(cairn_events_scalar(events, "a/b", 300, 0.5), CAIRN_OK);
    assert_int_equal(cairn_events_sync(events), CAIRN_OK);
    cairn_events_close(events);
    assert_int_equal(find_files(), 1);
    records file = read_records(found.gl_pathv[0]);
    assert_int_equal(file.count, 2);
    ASSERT_EVENT(&file, 0,
                 "\x1a\x0d"
                 "brain.Event:2");
    /* step 300; a summary of one value: its tag, and 0.5 as a float */
    ASSERT_EVENT(&file, 1,
                 "\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03"
                 "a/b\x15\x00\x00\x00\x3f");
    free(file.bytes);
}

/* A second file sorts behind the first, though it is of the same second, and begins by making void
 * what comes after the step where it goes on. */
static void a_second_file_goes_on(void **state) {
    (void)state;
    for (int64_t step = 0; step < 13; step += 6) {
        cairn_events *events = NULL;
        assert_int_equal(cairn_events_open(&events, folder, step), CAIRN_OK);
        cairn_events_close(events);
        assert_int_equal(find_files(), step / 6 + 1);
        records file = read_records(found.gl_pathv[step / 6]);
        assert_int_equal(file.count, step ? 2 : 1);
        if (step == 6)
            ASSERT_EVENT(&file, 1, "\x10\x07\x3a\x02\x08\x01");
        if (step == 12)
            ASSERT_EVENT(&file, 1, "\x10\x0d\x3a\x02\x08\x01");
        free(file.bytes);
    }
}

static void histograms_leave_out_what_is_no_number(void **state) {
    (void)state;
    const float values[] = {NAN, INFINITY, -INFINITY}, one = 3;
    cairn_events *events = NULL;
    assert_int_equal(cairn_events_open(&events, folder, 0), CAIRN_OK);
    assert_int_equal(cairn_events_histogram(events, "none", 1, values, 3), CAIRN_OK);
    assert_int_equal(cairn_events_histogram(events, "one", 1, &one, 1), CAIRN_OK);
    cairn_events_close(events);
    assert_int_equal(find_files(), 1);
    records file = read_records(found.gl_pathv[0]);
    assert_int_equal(file.count, 2);
    free(file.bytes);
}

/* Pictures ------------------------------------------------------------------------------------- */

static const uint8_t *pixel(const cairn_drawing *drawing, int x, int y) {
    assert_true(x >= 0 && x < drawing->width && y >= 0 && y < drawing->height);
    return drawing->rgb + 3 * ((size_t)y * (size_t)drawing->width + (size_t)x);
}

enum { CLASSES = 3, SAMPLES = 4 };
static const cairn_class_name names[CLASSES] = {"cat", "d\xc3\xb6g", "a horse with a long name"};
/* Predicted 0 1 1 2, the third wrong. */
static const float logits[SAMPLES][CLASSES] = {{9, 1, 0}, {0, 5, 1}, {0, 6, 5}, {0, 0, 1}};

static void confusion_is_darkest_where_a_row_is(void **state) {
    (void)state;
    const uint8_t labels[SAMPLES] = {0, 1, 2, 2};
    cairn_drawing drawing;
    assert_int_equal(cairn_draw_confusion(&drawing, logits[0], labels, SAMPLES, CLASSES, names),
                     CAIRN_OK);
    int width = drawing.width / (CLASSES + 1), height = drawing.height / (CLASSES + 1);
    uint8_t red[CLASSES][CLASSES];
    for (int actual = 0; actual < CLASSES; actual++)
        for (int predicted = 0; predicted < CLASSES; predicted++)
            red[actual][predicted] =
                *pixel(&drawing, (predicted + 1) * width + 2, (actual + 1) * height + 2);
    const uint8_t all = red[0][0], half = red[2][1], none = red[0][1];
    assert_true(all < half && half < none && none == 255);
    const uint8_t wanted[CLASSES][CLASSES] = {
        {all, none, none}, {none, all, none}, {none, half, half}};
    assert_memory_equal(red, wanted, sizeof red);
    cairn_drawing_free(&drawing);
    /* So many classes that their names have no room. */
    float *many = calloc((size_t)100, sizeof *many);
    cairn_class_name *long_names = calloc((size_t)100, sizeof *long_names);
    assert_int_equal(
        cairn_draw_confusion(&drawing, many, labels, 1, 100, (const cairn_class_name *)long_names),
        CAIRN_OK);
    assert_int_equal(drawing.width, drawing.height);
    assert_true(*pixel(&drawing, 1, 1) < *pixel(&drawing, drawing.width - 1, 1));
    cairn_drawing_free(&drawing);
    /* A name that is too long has its end cut off. */
    memset(long_names[1], 'w', sizeof *long_names - 1);
    assert_int_equal(
        cairn_draw_confusion(&drawing, many, labels, 1, 2, (const cairn_class_name *)long_names),
        CAIRN_OK);
    assert_in_range(drawing.width, 300, 400);
    cairn_drawing_free(&drawing);
    free(long_names);
    free(many);
}

static void mistakes_are_drawn_the_surest_first(void **state) {
    (void)state;
    uint8_t images[SAMPLES] = {10, 20, 30, 40}, labels[SAMPLES] = {0, 1, 2, 0};
    const cairn_split split = {SAMPLES, 1, 1, 1, images, labels};
    cairn_drawing drawing;
    assert_int_equal(cairn_draw_mistakes(&drawing, logits[0], &split, CLASSES, names), CAIRN_OK);
    /* Sample 2 with 0.73, then sample 3 with 0.58. */
    assert_int_equal(*pixel(&drawing, 10, 10), 30);
    assert_int_equal(*pixel(&drawing, drawing.width / 2 + 10, 10), 40);
    cairn_drawing_free(&drawing);
    labels[2] = 1;
    labels[3] = 2;
    assert_int_equal(cairn_draw_mistakes(&drawing, logits[0], &split, CLASSES, names), CAIRN_OK);
    assert_null(drawing.rgb);
}

/* Runs ----------------------------------------------------------------------------------------- */

static void train(const char *extra, bool resume) {
    static const char params[] =
        "device: reference\n"
        "data: {name: synthetic, dir: none, train_limit: 3, test_limit: 2}\n"
        "train: {epochs: 1, batch_size: 2, lr: 0.001, threads: 1}\n"
        "tensorboard: {every_steps: 1}\n"
        "run: {name: r, out_dir: none}\n";
    cairn_config config;
    assert_int_equal(cairn_config_parse(&config, params, strlen(params), "here", &extra, 1),
                     CAIRN_OK);
    const cairn_experiment_options options = {
        .run_dir = folder, .resume = resume, .overwrite = !resume, .quiet = true};
    assert_int_equal(cairn_experiment_run(&config, &options), CAIRN_OK);
}

static void a_run_s_files_are_its_own(void **state) {
    (void)state;
    char foreign[sizeof folder + 64];
    snprintf(foreign, sizeof foreign, "%s/events.out.tfevents.1.another.writer", folder);
    assert_int_equal(cairn_file_write(foreign, "", 0), CAIRN_OK);
    train("tensorboard.enabled=false", false);
    assert_int_equal(find_files(), 1);
    train("tensorboard.enabled=true", false);
    assert_int_equal(find_files(), 2);
    records file = read_records(found.gl_pathv[1]);
    /* The version, the parameters, two steps of 4 scalars, an epoch of 7, histograms of weights and
     * gradients of 10 parameters, two pictures (or one, where all is right), the end. */
    assert_in_range(file.count, 1 + 1 + 2 * 4 + 7 + 20 + 1 + 1, 1 + 1 + 2 * 4 + 7 + 20 + 2 + 1);
    free(file.bytes);
    train("tensorboard.enabled=true", true);
    assert_int_equal(find_files(), 3); /* it goes on */
    train("tensorboard.enabled=false", false);
    assert_int_equal(find_files(), 1); /* a fresh run leaves none of an earlier one */
    assert_true(cairn_file_exists(foreign));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_are_crc32c),
        TEST(records_are_framed),
        TEST(a_second_file_goes_on),
        TEST(histograms_leave_out_what_is_no_number),
        cmocka_unit_test(confusion_is_darkest_where_a_row_is),
        cmocka_unit_test(mistakes_are_drawn_the_surest_first),
        TEST(a_run_s_files_are_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* Without protobuf-c a run says that it cannot, before it touches its folder. */
static void a_run_says_so(void **state) {
    (void)state;
    static const char params[] =
        "device: reference\n"
        "data: {name: synthetic, dir: none, train_limit: 3, test_limit: 2}\n"
        "train: {epochs: 1, batch_size: 2, lr: 0.001, threads: 1}\n"
        "tensorboard: {enabled: true}\n"
        "run: {name: r, out_dir: /tmp/cairn-board-none}\n";
    cairn_config config;
    const cairn_experiment_options options = {.quiet = true, .overwrite = true};
    assert_int_equal(cairn_config_parse(&config, params, strlen(params), "here", NULL, 0),
                     CAIRN_OK);
    assert_int_equal(cairn_experiment_run(&config, &options), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "protobuf-c"));
    assert_false(cairn_folder_exists("/tmp/cairn-board-none"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_says_so)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
