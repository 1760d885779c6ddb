/* CIFAR-10 as Python pickled it (cifar-10-batches-py): read like cifar-10-batches-bin, and nothing
 * that a pickle may ask for besides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cifar10_files.h"

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

/* The files are as Python 2's cPickle wrote the official ones: protocol 2, 8-bit strings,
 * everything memoised. First the labels. */
static void write_labels(FILE *file, int number, fault wrong) {
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
}

/* numpy's array, up to its bytes. */
static void write_array(FILE *file, fault wrong) {
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
}

static void write_data(FILE *file, int number, fault wrong) {
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
}

static void write_file_names(FILE *file) {
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
}

static void write_py(const char *name, int number, fault wrong) {
    FILE *file = create(py_folder, name);
    PUT(file, "\x80\x02}q\x01(U\x0b"
              "batch_labelq\x02U\x07"
              "a batchq\x03");
    write_labels(file, number, wrong);
    write_array(file, wrong);
    write_data(file, number, wrong);
    write_file_names(file);
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

/* All five, in one of the layouts. */
static void write_training_files(bool bin) {
    for (int number = 1; number <= 5; number++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d%s", number, bin ? ".bin" : "");
        if (bin)
            write_bin(bin_folder, name, number, RECORDS);
        else
            write_py(name, number, NOTHING);
    }
}

/* Training images in the test split's place, as many of each class, in either layout; they are not
 * trained on, what is left keeps its order, and the test split's file is not opened. */
static void validation_holds_training_images_out(void **state) {
    (void)state;
    write_training_files(false);
    cairn_config config = configure("cifar10", 20, 30);
    cairn_dataset *all = NULL, *py, *bin, *cut;
    config.data.validation = 1003;
    py = open_dataset(&config);
    write_training_files(true);
    cut = open_dataset(&config);
    assert_string_equal(digest_of(py), digest_of(cut));
    cairn_dataset_destroy(py);
    config.data.train_limit = config.data.test_limit = 0;
    bin = open_dataset(&config);
    assert_true(bin->held_out);
    assert_int_equal(bin->train.count, 48997);
    assert_int_equal(bin->test.count, 1003);
    int members[10] = {0};
    for (int i = 0; i < 1003; i++)
        members[bin->test.labels[i]]++;
    for (int label = 0; label < 10; label++)
        assert_int_equal(members[label], label < 3 ? 101 : 100);

    write_bin(bin_folder, "test_batch.bin", 0, 10);
    config.data.validation = 0;
    all = open_dataset(&config);
    int trained = 0, held = 0; /* every image is in one of both, in order */
    for (int i = 0; i < 50000; i++) {
        const uint8_t *image = all->train.images + (size_t)i * PIXELS;
        if (trained < 48997 &&
            memcmp(image, bin->train.images + (size_t)trained * PIXELS, PIXELS) == 0)
            trained++;
        else if (memcmp(image, bin->test.images + (size_t)held * PIXELS, PIXELS) == 0)
            held++;
        else
            fail_msg("image %d is in neither split", i);
    }
    assert_int_equal(held, 1003);

    /* Limits cut what there is; another seed draws others. */
    assert_int_equal(cut->train.count, 20);
    assert_memory_equal(cut->train.images, bin->train.images, 20 * PIXELS);
    assert_int_equal(cut->test.count, 30);
    assert_memory_equal(cut->test.images, bin->test.images, 30 * PIXELS);
    config.data.validation = 1003;
    config.data.test_limit = 30;
    config.seed++;
    cairn_dataset *other = open_dataset(&config);
    assert_memory_not_equal(cut->test.images, other->test.images, 30 * PIXELS);
    cairn_dataset_destroy(all);
    cairn_dataset_destroy(bin);
    cairn_dataset_destroy(cut);
    cairn_dataset_destroy(other);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_IN_FOLDER(py_equals_bin),
        TEST_IN_FOLDER(validation_holds_training_images_out),
        TEST_IN_FOLDER(faulty_pickles_are_refused),
        TEST_IN_FOLDER(hostile_pickles_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
