/* Data sets and the sampler, through cairn/dataset.h. The CIFAR-10 files are made here, at full
 * size but mostly holes: images are zero except for a few bytes that name their place. */
#include "folder.h"

#include "cairn/dataset.h"
#include "cairn/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { RECORDS = 10000, PIXELS = 3072, RECORD = 1 + PIXELS };

static cairn_config configure(const char *name, int64_t train_limit, int64_t test_limit) {
    cairn_config config = {.seed = 42};
    strcpy(config.data.name, name);
    strcpy(config.data.dir, folder);
    config.data.train_limit = train_limit;
    config.data.test_limit = test_limit;
    return config;
}

static cairn_dataset *open_dataset(const cairn_config *config) {
    cairn_dataset *dataset = NULL;
    if (cairn_dataset_open(&dataset, config))
        fail_msg("%s", cairn_error_message());
    return dataset;
}

/* Holds until the call after the next. */
static const char *digest_of(const cairn_dataset *dataset) {
    static char hex[2][CAIRN_DIGEST_HEX];
    static int turn;
    turn = !turn;
    assert_int_equal(cairn_dataset_digest(dataset, hex[turn]), CAIRN_OK);
    return hex[turn];
}

/* Opening 20 training and 10 test images of the folder fails, and the message has both parts. */
static void expect_refusal(const char *file, const char *reason) {
    cairn_config config = configure("cifar10", 20, 10);
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_null(dataset);
    if (!strstr(cairn_error_message(), file) || !strstr(cairn_error_message(), reason))
        fail_msg("message '%s' lacks '%s' or '%s'", cairn_error_message(), file, reason);
}

/* What record `i` of file `number` holds. */
static uint8_t label_of(int number, int i) {
    return (uint8_t)((i + number) % 10);
}

static uint8_t first_pixel_of(int number, int i) {
    return (uint8_t)(i * 7 + number);
}

static uint8_t last_pixel_of(int i) {
    return (uint8_t)(i >> 8 | 0x80);
}

static FILE *create(const char *subfolder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, subfolder);
    assert_int_equal(cairn_folder_make(path), CAIRN_OK);
    snprintf(path, sizeof path, "%s/%s/%s", folder, subfolder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    return file;
}

static void put(FILE *file, long at, uint8_t byte) {
    fseek(file, at, SEEK_SET);
    fputc(byte, file);
}

/* The bytes that are not zero of the first `records` records. */
static void write_bin(const char *subfolder, const char *name, int number, int records) {
    FILE *file = create(subfolder, name);
    for (int i = 0; i < records; i++) {
        put(file, (long)i * RECORD, label_of(number, i));
        put(file, (long)i * RECORD + 1, first_pixel_of(number, i));
        put(file, (long)i * RECORD + PIXELS, last_pixel_of(i));
    }
    put(file, (long)RECORDS * RECORD - 1, 0x80);
    fclose(file);
}

static const char bin_folder[] = "cifar-10-batches-bin", py_folder[] = "cifar-10-batches-py";

/* The two files that expect_refusal reads. */
static void write_two_bins(void) {
    write_bin(bin_folder, "data_batch_1.bin", 1, 20);
    write_bin(bin_folder, "test_batch.bin", 0, 10);
}

static void resize(const char *name, long change) {
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size + change), 0);
}

/* cifar-10-batches-bin ------------------------------------------------------------------------ */

static void reads_all_of_bin(void **state) {
    (void)state;
    for (int number = 1; number <= 5; number++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", number);
        write_bin(bin_folder, name, number, RECORDS);
    }
    write_bin(bin_folder, "test_batch.bin", 0, RECORDS);
    cairn_config config = configure("cifar10", 0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    assert_string_equal(dataset->name, "cifar10");
    assert_int_equal(dataset->train.count, 50000);
    assert_int_equal(dataset->test.count, 10000);
    assert_int_equal(dataset->train.channels, 3);
    assert_int_equal(dataset->train.height, 32);
    assert_int_equal(dataset->train.width, 32);
    assert_int_equal(dataset->classes, 10);
    assert_string_equal(dataset->class_names[0], "airplane");
    assert_string_equal(dataset->class_names[9], "truck");
    for (int i = 0; i < 60000; i++) {
        const cairn_split *split = i < 50000 ? &dataset->train : &dataset->test;
        int number = i < 50000 ? 1 + i / RECORDS : 0, record = i % RECORDS;
        const uint8_t *image = split->images + (size_t)(i % 50000) * PIXELS;
        assert_int_equal(split->labels[i % 50000], label_of(number, record));
        assert_int_equal(image[0], first_pixel_of(number, record));
        assert_int_equal(image[1] | image[PIXELS / 2] | image[PIXELS - 2], 0);
        if (record < RECORDS - 1)
            assert_int_equal(image[PIXELS - 1], last_pixel_of(record));
    }
    /* The digest is over exactly what is there, in the documented order. */
    cairn_digest *digest = NULL;
    char hex[CAIRN_DIGEST_HEX];
    cairn_digest_begin(&digest, "sha256");
    cairn_digest_add(digest, dataset->train.images, (size_t)50000 * PIXELS);
    cairn_digest_add(digest, dataset->train.labels, 50000);
    cairn_digest_add(digest, dataset->test.images, (size_t)10000 * PIXELS);
    cairn_digest_add(digest, dataset->test.labels, 10000);
    cairn_digest_end(digest, hex);
    assert_string_equal(digest_of(dataset), hex);
    cairn_dataset_destroy(dataset);
}

static void limits_take_the_first_samples(void **state) {
    (void)state;
    write_two_bins();
    write_bin(bin_folder, "data_batch_2.bin", 2, 20);
    cairn_config config = configure("cifar10", RECORDS + 3, 7);
    cairn_dataset *dataset = open_dataset(&config);
    assert_int_equal(dataset->train.count, RECORDS + 3);
    assert_int_equal(dataset->test.count, 7);
    assert_int_equal(dataset->train.labels[RECORDS + 2], label_of(2, 2));
    cairn_dataset_destroy(dataset);
}

static void dir_may_be_the_folder_itself(void **state) {
    (void)state;
    write_bin(".", "data_batch_1.bin", 1, 20);
    write_bin(".", "test_batch.bin", 0, 10);
    cairn_config config = configure("cifar10", 20, 10);
    cairn_dataset *dataset = open_dataset(&config);
    assert_int_equal(dataset->train.labels[19], label_of(1, 19));
    cairn_dataset_destroy(dataset);
}

static void class_names_come_from_the_folder(void **state) {
    (void)state;
    write_two_bins();
    FILE *file = create(bin_folder, "batches.meta.txt");
    fputs("a0\r\na1\r\na2\r\na3\r\na4\r\na5\r\na6\r\na7\r\na8\r\nlast one\r\n\r\n", file);
    fclose(file);
    cairn_config config = configure("cifar10", 20, 10);
    cairn_dataset *dataset = open_dataset(&config);
    assert_string_equal(dataset->class_names[0], "a0");
    assert_string_equal(dataset->class_names[9], "last one");
    cairn_dataset_destroy(dataset);
    file = create(bin_folder, "batches.meta.txt");
    fputs("only\nthree\nnames\n", file);
    fclose(file);
    expect_refusal("batches.meta.txt", "3 class names");
    file = create(bin_folder, "batches.meta.txt");
    assert_int_equal(ftruncate(fileno(file), (off_t)900 << 20), 0);
    fclose(file);
    expect_refusal("batches.meta.txt", "is 943718400 bytes long; at most");
}

static void missing_data_says_how_to_get_it(void **state) {
    (void)state;
    expect_refusal(folder, "cairn data get");
    expect_refusal(folder, "data.name=synthetic");
}

static void missing_file_is_named(void **state) {
    (void)state;
    write_bin(bin_folder, "data_batch_1.bin", 1, 20);
    expect_refusal("cifar-10-batches-bin/test_batch.bin", "missing");
}

static void wrong_sizes_are_refused(void **state) {
    (void)state;
    write_two_bins();
    resize("cifar-10-batches-bin/data_batch_1.bin", -1);
    expect_refusal("data_batch_1.bin", "truncated: 30729999 bytes");
    resize("cifar-10-batches-bin/data_batch_1.bin", 2);
    expect_refusal("data_batch_1.bin", "too large: 30730001 bytes");
    resize("cifar-10-batches-bin/data_batch_1.bin", -1);
    resize("cifar-10-batches-bin/test_batch.bin", -RECORDS * RECORD);
    expect_refusal("test_batch.bin", "truncated: 0 bytes");
}

static void label_above_nine_is_refused(void **state) {
    (void)state;
    write_two_bins();
    FILE *file = create(bin_folder, "test_batch.bin");
    put(file, 3L * RECORD, 10);
    put(file, (long)RECORDS * RECORD - 1, 0);
    fclose(file);
    expect_refusal("test_batch.bin", "record 3: the label is 10");
}

/* cifar-10-batches-py ------------------------------------------------------------------------- */

/* Pickle text: a literal that may hold zero bytes. */
#define PUT(file, literal) fwrite("" literal, 1, sizeof(literal) - 1, file)

/* What can be wrong with a pickle. */
typedef enum {
    NOTHING,
    FEWER_LABELS,
    LABEL_300,
    WRONG_SHAPE,
    WRONG_TYPE,
    COLUMN_MAJOR,
    SHORT_DATA,
    NO_LABELS,
    NAMES_A_CALLABLE,
    TRAILING_BYTE,
} fault;

/* As Python 2's cPickle wrote the official files: protocol 2, 8-bit strings, everything memoised.
 */
static void write_py(const char *name, int number, fault wrong) {
    FILE *file = create(py_folder, name);
    PUT(file, "\x80\x02}q\x01(U\x0b"
              "batch_labelq\x02U\x07"
              "a batchq\x03");
    PUT(file, "U\x06labelsq\x04");
    if (wrong == NO_LABELS)
        PUT(file, "0");
    PUT(file, "]q\x05");
    for (int i = 0; i < RECORDS; i++) {
        if (i % 1000 == 0)
            PUT(file, "(");
        if (wrong == LABEL_300 && i == 2)
            PUT(file, "M\x2c\x01");
        else
            fprintf(file, "K%c", label_of(number, i));
        if (i % 1000 == 999)
            PUT(file, "e");
    }
    if (wrong == FEWER_LABELS)
        PUT(file, "K\x01"
                  "a"); /* one more, in truth */
    PUT(file, "U\x04"
              "dataq\x06"
              "cnumpy.core.multiarray\n");
    if (wrong == NAMES_A_CALLABLE)
        PUT(file, "scalar\n");
    else
        PUT(file, "_reconstruct\n");
    PUT(file, "q\x07"
              "cnumpy\nndarray\nq\x08K\x00\x85q\x09U\x01"
              "bq\x0a\x87q\x0bRq\x0c(K\x01");
    if (wrong == WRONG_SHAPE)
        PUT(file, "M\x00\x0cM\x10'\x86q\x0d");
    else
        PUT(file, "M\x10'M\x00\x0c\x86q\x0d");
    PUT(file, "cnumpy\ndtype\nq\x0eU\x02");
    if (wrong == WRONG_TYPE)
        PUT(file, "i1");
    else
        PUT(file, "u1");
    PUT(file, "q\x0fK\x00K\x01\x87q\x10Rq\x11(K\x03U\x01|q\x12NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
              "K\x00tq\x13"
              "b");
    if (wrong == COLUMN_MAJOR)
        PUT(file, "\x88");
    else
        PUT(file, "\x89");
    if (wrong == SHORT_DATA) {
        PUT(file, "T\x04\x00\x00\x00"
                  "abcd");
    } else {
        PUT(file, "T\x00\xc0\xd4\x01");
        long data = ftell(file);
        for (int i = 0; i < RECORDS; i += 1) {
            put(file, data + (long)i * PIXELS, first_pixel_of(number, i));
            put(file, data + (long)i * PIXELS + PIXELS - 1, last_pixel_of(i));
        }
    }
    PUT(file, "q\x14tq\x15"
              "bU\x09"
              "filenamesq\x16]q\x17(");
    for (unsigned i = 0; i < RECORDS; i++) {
        uint8_t memo[] = {'r', (uint8_t)(i + 256), (uint8_t)((i + 256) >> 8), 0, 0};
        PUT(file, "U\x05x.png");
        fwrite(memo, 1, sizeof memo, file);
        if (i % 1000 == 999)
            PUT(file, "e(");
    }
    PUT(file, "eu.");
    if (wrong == TRAILING_BYTE)
        fputc('.', file);
    fclose(file);
}

static void py_equals_bin(void **state) {
    (void)state;
    write_py("data_batch_1", 1, NOTHING);
    write_py("test_batch", 0, NOTHING);
    cairn_config config = configure("cifar10", 9000, 100);
    cairn_dataset *py = open_dataset(&config);
    assert_int_equal(py->train.labels[8999], label_of(1, 8999));
    assert_int_equal(py->train.images[(size_t)8999 * PIXELS], first_pixel_of(1, 8999));
    assert_int_equal(py->train.images[(size_t)9000 * PIXELS - 1], last_pixel_of(8999));
    assert_string_equal(py->class_names[3], "cat");

    /* Now there are both, and bin is taken. */
    write_bin(bin_folder, "data_batch_1.bin", 1, RECORDS - 1);
    write_bin(bin_folder, "test_batch.bin", 0, RECORDS - 1);
    cairn_dataset *bin = open_dataset(&config);
    assert_string_equal(digest_of(py), digest_of(bin));
    cairn_dataset_destroy(bin);
    resize("cifar-10-batches-bin/test_batch.bin", -1);
    expect_refusal("cifar-10-batches-bin/test_batch.bin", "truncated");
    cairn_dataset_destroy(py);
}

/* The last training images in the test split's place, in either layout; they are not trained on,
 * and the test split's file is not opened. */
static void validation_holds_training_images_out(void **state) {
    (void)state;
    write_py("data_batch_1", 1, NOTHING);
    write_py("data_batch_5", 5, NOTHING);
    cairn_config config = configure("cifar10", 20, 3);
    config.data.validation = 4;
    cairn_dataset *py = open_dataset(&config);
    assert_true(py->held_out);
    assert_int_equal(py->test.count, 3);
    assert_int_equal(py->test.labels[0], label_of(5, RECORDS - 4));
    write_bin(bin_folder, "data_batch_1.bin", 1, 20);
    write_bin(bin_folder, "data_batch_4.bin", 4, RECORDS);
    write_bin(bin_folder, "data_batch_5.bin", 5, RECORDS - 1);
    cairn_dataset *bin = open_dataset(&config);
    assert_string_equal(digest_of(py), digest_of(bin));
    cairn_dataset_destroy(py);
    cairn_dataset_destroy(bin);

    config.data.test_limit = 0;
    config.data.validation = RECORDS + 3; /* over two files */
    bin = open_dataset(&config);
    assert_int_equal(bin->train.count, 20);
    assert_int_equal(bin->test.count, RECORDS + 3);
    assert_int_equal(bin->test.labels[2], label_of(4, RECORDS - 1));
    assert_int_equal(bin->test.labels[3], label_of(5, 0));
    assert_int_equal(bin->test.images[(size_t)(RECORDS + 1) * PIXELS],
                     first_pixel_of(5, RECORDS - 2));
    cairn_dataset_destroy(bin);
    config.data.train_limit = 0;
    config.data.validation = 49990;
    int count = 0;
    assert_int_equal(cairn_dataset_train_count(&config, &count), CAIRN_OK);
    assert_int_equal(count, 10);
}

static void faulty_pickles_are_refused(void **state) {
    (void)state;
    static const struct {
        fault wrong;
        const char *reason;
    } cases[] = {
        {FEWER_LABELS, "\"labels\" is not a list of 10000"},
        {LABEL_300, "\"labels\" holds something other"},
        {WRONG_SHAPE, "not of shape [10000, 3072]"},
        {WRONG_TYPE, "not of type uint8"},
        {COLUMN_MAJOR, "row-major"},
        {SHORT_DATA, "does not have 10000 * 3072 bytes"},
        {NO_LABELS, "opcode"},
        {NAMES_A_CALLABLE, "names a Python object"},
        {TRAILING_BYTE, "too large"},
    };
    write_py("data_batch_1", 1, NOTHING);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_py("test_batch", 0, cases[i].wrong);
        expect_refusal("cifar-10-batches-py/test_batch", cases[i].reason);
    }
    write_py("test_batch", 0, NOTHING);
    resize("cifar-10-batches-py/test_batch", -1);
    expect_refusal("cifar-10-batches-py/test_batch", "truncated");
}

/* Small programs that a careless machine would stumble over: each must be refused for its own
 * reason, and the sanitizers must stay silent. */
static void hostile_pickles_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *reason, *bytes;
        size_t size;
    } cases[] = {
#define CASE(reason, text) {reason, text, sizeof(text) - 1}
        CASE("truncated", ""),
        CASE("stack is empty", "."),
        CASE("protocol", "\x80\x06."),
        CASE("not a dictionary", "N."),
        CASE("lacks", "}."),
        CASE("no mark", "e."),
        CASE("stack is empty", "(u."),
        CASE("cannot take them", "}(Nu."),
        CASE("opcode", "}(}0."),
        CASE("stack is empty", "K\x01(\x85."), /* a value, but below the mark */
        CASE("stack is empty", "\x87."),
        CASE("never made", "h\x00."),
        CASE("never made", "Nq\x00j\xff\xff\xff\xff."),
        CASE("memo is too large", "Nr\xff\xff\xff\xff."),
        CASE("stack is empty", "q\x00."),
        CASE("truncated", "T\xff\xff\xff\xff"
                          "abc"),
        CASE("truncated", "\x8e\xff\xff\xff\xff\xff\xff\xff\xff"
                          "abc"),
        CASE("truncated", "U\x05"
                          "abcd"),
        CASE("64 bits", "\x8a\x09"
                        "123456789."),
        CASE("truncated", "cnumpy\nndarray"),
        CASE("names a Python object", "cos\nsystem\n(U\x04"
                                      "truetR."),
        CASE("names a Python object", "U\x02osU\x06system\x93."),
        CASE("not callable", "NNR."),
        CASE("arguments", "cnumpy\ndtype\n)R."),
        CASE("cannot take it", "}Nb."),
        CASE("not a dictionary", "]q\x00h\x00"
                                 "a."), /* a list that holds itself */
        CASE("\"data\" is not an array", "}q\x00U\x04"
                                         "datah\x00sU\x06labelsh\x00s."),
#undef CASE
    };
    write_py("data_batch_1", 1, NOTHING);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        FILE *file = create(py_folder, "test_batch");
        fwrite(cases[i].bytes, 1, cases[i].size, file);
        fclose(file);
        expect_refusal("test_batch", cases[i].reason);
    }
    static const uint8_t floods[] = {'(', 'N', ']'}; /* marks, values, containers without end */
    for (size_t i = 0; i < sizeof floods; i++) {
        FILE *file = create(py_folder, "test_batch");
        for (int n = 0; n < 100000; n++)
            fputc(floods[i], file);
        fclose(file);
        expect_refusal("test_batch", "too");
    }
}

/* Synthetic ----------------------------------------------------------------------------------- */

static void synthetic_is_the_same_everywhere(void **state) {
    (void)state;
    cairn_config config = configure("synthetic", 501, 203);
    cairn_dataset *one, *three;
    config.train.threads = 1;
    one = open_dataset(&config);
    config.train.threads = 3;
    three = open_dataset(&config);
    assert_string_equal(digest_of(one), digest_of(three));
    assert_string_equal(digest_of(one),
                        "f79d60059ad32306a0003748fffa5d71353fe843a9804445539ec612cf6a9728");
    assert_string_equal(one->name, "synthetic");
    cairn_dataset_destroy(three);

    /* Held out are the last training images. */
    config.data.validation = 49600;
    cairn_dataset *held = open_dataset(&config);
    assert_int_equal(held->train.count, 400);
    assert_memory_equal(held->test.images, one->train.images + (size_t)400 * PIXELS,
                        (size_t)101 * PIXELS);
    cairn_dataset_destroy(held);
    config.data.validation = 0;

    /* A smaller cut is a prefix; another seed is another data set; the splits differ. */
    config.data.train_limit = 100;
    cairn_dataset *cut = open_dataset(&config);
    assert_memory_equal(cut->train.images, one->train.images, (size_t)100 * PIXELS);
    assert_memory_not_equal(cut->test.images, one->train.images, (size_t)100 * PIXELS);
    config.seed = 43;
    cairn_dataset *other = open_dataset(&config);
    assert_memory_not_equal(cut->train.images, other->train.images, (size_t)100 * PIXELS);
    cairn_dataset_destroy(other);
    cairn_dataset_destroy(cut);
    cairn_dataset_destroy(one);
}

static void synthetic_is_balanced_and_normalised(void **state) {
    (void)state;
    cairn_config config = configure("synthetic", 0, 0);
    cairn_dataset *dataset = open_dataset(&config);
    int seen[2][10] = {{0}};
    for (int i = 0; i < dataset->train.count; i++)
        seen[0][dataset->train.labels[i]]++;
    for (int i = 0; i < dataset->test.count; i++)
        seen[1][dataset->test.labels[i]]++;
    for (int label = 0; label < 10; label++) {
        assert_int_equal(seen[0][label], 5000);
        assert_int_equal(seen[1][label], 1000);
    }
    for (int c = 0; c < 3; c++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < 5000; i++)
            for (int p = 0; p < 1024; p++) {
                double pixel = dataset->train.images[(i * 3 + c) * 1024 + p] / 255.0;
                double x = (pixel - (double)dataset->mean[c]) / (double)dataset->std[c];
                sum += x;
                squares += x * x;
            }
        assert_true(sum / 5000 / 1024 > -0.02 && sum / 5000 / 1024 < 0.02);
        assert_true(squares / 5000 / 1024 > 0.9 && squares / 5000 / 1024 < 1.1);
    }
    cairn_dataset_destroy(dataset);
}

static void unknown_data_set_is_refused(void **state) {
    (void)state;
    cairn_config config = configure("imagenet", 0, 0);
    cairn_dataset *dataset = NULL;
    assert_int_equal(cairn_dataset_open(&dataset, &config), CAIRN_BAD_INPUT);
    assert_non_null(strstr(cairn_error_message(), "imagenet"));
}

/* Sampler ------------------------------------------------------------------------------------- */

static void sampler_order_is_a_permutation(void **state) {
    (void)state;
    enum { COUNT = 50000 };
    int32_t *order = malloc(COUNT * sizeof *order);
    uint8_t *seen = calloc(COUNT, 1);
    assert_true(order && seen);
    cairn_sampler_order(42, 3, COUNT, order);
    int fixed = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(order[i], 0, COUNT - 1);
        assert_false(seen[order[i]]++);
        fixed += order[i] == i;
    }
    assert_true(fixed < 10); /* one is expected of a random permutation */
    free(order);
    free(seen);
}

/* Part of what every recorded run means: the values may never change. */
static void sampler_order_is_pinned(void **state) {
    (void)state;
    static const int32_t expected[] = {7, 4, 9, 5, 2, 3, 8, 1, 6, 0};
    int32_t order[10], other[10], single = 7;
    cairn_sampler_order(42, 0, 10, order);
    assert_memory_equal(order, expected, sizeof expected);
    cairn_sampler_order(42, 1, 10, other);
    assert_memory_not_equal(order, other, sizeof order);
    cairn_sampler_order(43, 0, 10, other);
    assert_memory_not_equal(order, other, sizeof order);
    cairn_sampler_order(42, 0, 1, &single);
    assert_int_equal(single, 0);
}

#define TEST_IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_IN_FOLDER(reads_all_of_bin),
        TEST_IN_FOLDER(limits_take_the_first_samples),
        TEST_IN_FOLDER(dir_may_be_the_folder_itself),
        TEST_IN_FOLDER(class_names_come_from_the_folder),
        TEST_IN_FOLDER(missing_data_says_how_to_get_it),
        TEST_IN_FOLDER(missing_file_is_named),
        TEST_IN_FOLDER(wrong_sizes_are_refused),
        TEST_IN_FOLDER(label_above_nine_is_refused),
        TEST_IN_FOLDER(py_equals_bin),
        TEST_IN_FOLDER(validation_holds_training_images_out),
        TEST_IN_FOLDER(faulty_pickles_are_refused),
        TEST_IN_FOLDER(hostile_pickles_are_refused),
        cmocka_unit_test(synthetic_is_the_same_everywhere),
        cmocka_unit_test(synthetic_is_balanced_and_normalised),
        cmocka_unit_test(unknown_data_set_is_refused),
        cmocka_unit_test(sampler_order_is_a_permutation),
        cmocka_unit_test(sampler_order_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
