/* safetensors: what is written comes back; every way in which a file can lie is refused by name. */
#include "cairn/file.h"
#include "cairn/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char path[64];

static int set_up(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/cairn-safetensors-%d", (int)getpid());
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

/* A file of that header, padded as written or not, and of those data bytes. */
static void write_raw(const char *header, uint64_t length, const void *data, size_t size) {
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    fwrite(&length, sizeof length, 1, out);
    fwrite(header, 1, strlen(header), out);
    fwrite(data, 1, size, out);
    assert_int_equal(fclose(out), 0);
}

static void write_file(const char *header, const void *data, size_t size) {
    write_raw(header, strlen(header), data, size);
}

/* Reading is refused with a message that holds the path and `expected`, and leaves nothing. */
static void refused(const char *expected) {
    cairn_safetensors file;
    assert_int_equal(cairn_safetensors_read(&file, path), CAIRN_BAD_INPUT);
    if (!strstr(cairn_error_message(), expected) || !strstr(cairn_error_message(), path))
        fail_msg("expected '%s' in: %s", expected, cairn_error_message());
    assert_int_equal(file.tensor_count, 0);
    assert_null(file.tensor);
}

static void round_trip_keeps_every_bit(void **state) {
    (void)state;
    cairn_safetensors file = {0}, back;
    float *matrix, *scalar, *empty;
    assert_int_equal(cairn_safetensors_add_metadata(&file, "note", "a: \"b\"\n\tc \xc3\xa9"), 0);
    assert_int_equal(cairn_safetensors_add(&file, "m.weight", 2, (int[]){2, 3}, &matrix), 0);
    assert_int_equal(cairn_safetensors_add(&file, "empty", 1, (int[]){0}, &empty), 0);
    assert_int_equal(cairn_safetensors_add(&file, "scalar", 0, NULL, &scalar), 0);
    const float values[6] = {0x1p-149f, -0.0f, INFINITY, 1e-7f, 3.4028235e38f, -2.5f};
    memcpy(matrix, values, sizeof values);
    *scalar = 7;
    assert_int_equal(cairn_safetensors_write(&file, path), 0);

    uint8_t *bytes;
    size_t size;
    assert_int_equal(cairn_file_read(path, &bytes, &size), 0);
    uint64_t length;
    memcpy(&length, bytes, 8);
    assert_int_equal(length % 8, 0); /* so that tensors lie aligned */
    assert_int_equal(size, 8 + length + 7 * sizeof(float));
    free(bytes);

    assert_int_equal(cairn_safetensors_read(&back, path), 0);
    assert_int_equal(back.tensor_count, 3);
    assert_string_equal(cairn_safetensors_metadata(&back, "note"), "a: \"b\"\n\tc \xc3\xa9");
    assert_null(cairn_safetensors_metadata(&back, "other"));
    const cairn_tensor *tensor = cairn_safetensors_find(&back, "m.weight");
    assert_non_null(tensor);
    assert_int_equal(tensor->rank, 2);
    assert_int_equal(tensor->dim[1], 3);
    assert_memory_equal(tensor->values, values, sizeof values);
    assert_int_equal(cairn_safetensors_find(&back, "empty")->count, 0);
    assert_true(cairn_safetensors_find(&back, "scalar")->values[0] == 7);
    assert_null(cairn_safetensors_find(&back, "m"));
    cairn_safetensors_free(&back);
    cairn_safetensors_free(&file);
}

static void many_tensors(void **state) {
    (void)state;
    cairn_safetensors file = {0}, back;
    for (int i = 0; i < 300; i++) {
        char name[16];
        float *values;
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(cairn_safetensors_add(&file, name, 1, (int[]){1}, &values), 0);
        values[0] = (float)i;
    }
    assert_int_equal(cairn_safetensors_write(&file, path), 0);
    assert_int_equal(cairn_safetensors_read(&back, path), 0);
    assert_int_equal(back.tensor_count, 300);
    assert_true(cairn_safetensors_find(&back, "t299")->values[0] == 299);
    cairn_safetensors_free(&back);
    cairn_safetensors_free(&file);
}

static void other_types_become_float(void **state) {
    (void)state;
    uint8_t data[8 + 16 + 8];
    const double doubles[1] = {0.1};
    const int64_t whole[1] = {-391};
    /* F16: 1, -2, the least subnormal, -infinity; BF16: 1, -3.140625, 0, infinity */
    const uint16_t halves[4] = {0x3C00, 0xC000, 0x0001, 0xFC00};
    const uint16_t brains[4] = {0x3F80, 0xC049, 0x0000, 0x7F80};
    memcpy(data, doubles, 8);
    memcpy(data + 8, halves, 8);
    memcpy(data + 16, brains, 8);
    memcpy(data + 24, whole, 8);
    write_file("{\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[16,24]},"
               "\"d\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
               "\"i\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[24,32]},"
               "\"h\":{\"shape\":[2,2],\"data_offsets\":[8,16],\"dtype\":\"F16\"}}   ",
               data, sizeof data);
    cairn_safetensors file;
    assert_int_equal(cairn_safetensors_read(&file, path), 0);
    assert_true(cairn_safetensors_find(&file, "d")->values[0] == 0.1f);
    assert_true(cairn_safetensors_find(&file, "i")->values[0] == -391);
    const float *h = cairn_safetensors_find(&file, "h")->values;
    assert_true(h[0] == 1 && h[1] == -2 && h[2] == 0x1p-24f && h[3] == -INFINITY);
    const float *b = cairn_safetensors_find(&file, "b")->values;
    assert_true(b[0] == 1 && b[1] == -3.140625f && b[2] == 0 && b[3] == INFINITY);
    cairn_safetensors_free(&file);
}

static void bad_headers_are_refused(void **state) {
    (void)state;
    cairn_safetensors file;
    unlink(path);
    assert_int_equal(cairn_safetensors_read(&file, path), CAIRN_BAD_INPUT);
    FILE *out = fopen(path, "wb");
    fputs("abc", out);
    fclose(out);
    refused("cut short");
    write_raw("{}", 3, "", 0);
    refused("a header of 3 bytes in a file of 10");
    write_raw("{}", UINT64_MAX, "", 0);
    refused("cut short");
    write_raw("{}", (16u << 20) + 1, "", 0);
    refused("16777217");
    write_file("[]", "", 0);
    refused("not a JSON object");
    write_file("{\"a\":", "", 0);
    refused("not a JSON object");
    write_file("{} x", "", 0);
    refused("not a JSON object");
    write_file(" {}", "", 0);
    refused("not a JSON object");
    char deep[8192] = "{\"a\":";
    memset(deep + 5, '[', sizeof deep - 6);
    deep[sizeof deep - 1] = 0;
    write_file(deep, "", 0);
    refused("not a JSON object");
    write_file("{\"__metadata__\":{\"k\":1}}", "", 0);
    refused("metadata 'k'");
    write_file("{\"__metadata__\":[]}", "", 0);
    refused("__metadata__");
    write_file("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", "", 0);
    refused("metadata 'k' is there twice");
}

/* As other writers pad it, and without metadata. */
static void sound_headers_of_others_are_read(void **state) {
    (void)state;
    static const char *const headers[] = {"{}\n\n", "{}\t\r\n ", "{\"__metadata__\":null}",
                                          "{\"__metadata__\":{}}"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        cairn_safetensors file;
        write_file(headers[i], "", 0);
        if (cairn_safetensors_read(&file, path))
            fail_msg("%s", cairn_error_message());
        cairn_safetensors_free(&file);
    }
}

static long peak(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_maxrss; /* KiB */
}

/* What a file's header says is compared with the file before memory is taken. */
static void hostile_headers_cost_no_memory(void **state) {
    (void)state;
    enum { SPARSE = 1 << 30, OTHERS = 2000, TEXT = 8 << 20 };
    char *header = malloc(TEXT + 1);
    assert_non_null(header);
    memset(header, ' ', TEXT);
    header[TEXT] = '\0';
    const long before = peak();
    write_file("{}", "", 0);
    assert_int_equal(truncate(path, SPARSE), 0);
    refused("bytes follow the last tensor");
    write_file("{}", "", 0);
    write_raw("{}", (20 << 20), "", 0);
    assert_int_equal(truncate(path, SPARSE), 0);
    refused("its header has 20971520 bytes; at most 16777216 are read");

    size_t used = 1; /* many tensors of the same bytes */
    header[0] = '{';
    for (int i = 0; i < OTHERS; i++)
        used += (size_t)snprintf(
            header + used, TEXT - used,
            "%s\"t%d\":{\"dtype\":\"F32\",\"shape\":[262144],\"data_offsets\":[0,1048576]}",
            i ? "," : "", i);
    header[used++] = '}';
    header[used] = '\0';
    write_file(header, "", 0);
    assert_int_equal(truncate(path, (off_t)(8 + used + (1 << 20))), 0);
    refused("has bytes of another one");

    memset(header, ',', TEXT); /* values that cJSON would take hundreds of megabytes for */
    memcpy(header, "{\"a\":[1", 7);
    for (size_t i = 7; i + 1 < TEXT - 2; i += 2)
        header[i + 1] = '1';
    memcpy(header + TEXT - 2, "]}", 3);
    write_file(header, "", 0);
    refused("its header has more than 262144 values");
    assert_in_range(peak() - before, 0, 3 * TEXT >> 10);
    free(header);
}

#define TENSOR(name, type, shape, offsets)                                                         \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void bad_tensors_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t size;
        const char *expected;
    } cases[] = {
        {"{" TENSOR("a", "F32", "[2]", "[0,12]") "}", 8, "'a' lies outside the file's 8"},
        {"{" TENSOR("a", "F32", "[2]", "[8,0]") "}", 8, "'a' lies outside"},
        {"{" TENSOR("a", "F32", "[2]", "[-8,0]") "}", 8, "'a' lies outside"},
        {"{" TENSOR("a", "F32", "[2]", "[0,7.5]") "}", 8, "'a' lies outside"},
        {"{" TENSOR("a", "F32", "[2]", "[0,1e300]") "}", 8, "'a' lies outside"},
        {"{" TENSOR("a", "F32", "[2]", "[\"0\",8]") "}", 8, "'a' lies outside"},
        {"{" TENSOR("a", "F32", "[2]", "[0]") "}", 8, "'a' is not {dtype"},
        {"{" TENSOR("a", "F32", "[3]", "[0,8]") "}", 8, "has 8 bytes; its shape needs 12"},
        {"{" TENSOR("a", "F64", "[2]", "[0,8]") "}", 8, "has 8 bytes; its shape needs 16"},
        {"{" TENSOR("a", "F32", "[2147483647,2147483647,2147483647]", "[0,8]") "}", 8, "its shape"},
        {"{" TENSOR("a", "F32", "[-2]", "[0,8]") "}", 8, "bad shape"},
        {"{" TENSOR("a", "F32", "[1.5]", "[0,8]") "}", 8, "bad shape"},
        {"{" TENSOR("a", "F32", "[4294967296]", "[0,8]") "}", 8, "bad shape"},
        {"{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") "}", 8, "bad shape"},
        {"{" TENSOR("a", "I32", "[1]", "[0,4]") "}", 4, "'a' is of type I32; F32, F64"},
        {"{" TENSOR("a", "f32", "[2]", "[0,8]") "}", 8, "type f32"},
        {"{\"a\":{\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "no text"},
        {"{\"a\":7}", 8, "'a' is not {dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "'a' is not {dtype"},
        {"{" TENSOR("a", "F32", "[1]", "[0,4]") "," TENSOR("b", "F32", "[1]", "[0,4]") "}", 4,
         "'b' has bytes of another one"},
        {"{" TENSOR("b", "F32", "[2]", "[4,12]") "," TENSOR("a", "F32", "[2]", "[0,8]") "}", 12,
         "'a' has bytes of another one"},
        {"{" TENSOR("a", "F32", "[1]", "[0,4]") "," TENSOR("b", "F32", "[1]", "[0,4]") "}", 8,
         "'b' begins at data byte 0; the bytes before it end at 4"},
        {"{" TENSOR("a", "F32", "[1]", "[4,8]") "}", 8, "'a' begins at data byte 4"},
        {"{" TENSOR("a", "F32", "[1]", "[0,4]") "}", 8, "4 bytes follow the last tensor"},
        {"{" TENSOR("a", "F32", "[1]", "[0,4]") "," TENSOR("a", "F32", "[1]", "[4,8]") "}", 8,
         "'a' is there twice"},
    };
    const uint8_t data[16] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(cases[i].header, data, cases[i].size);
        refused(cases[i].expected);
    }
    char header[512], name[200];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", name);
    write_file(header, data, 4);
    refused("is longer than 127 bytes");
}

/* A good file cut at any byte, or with any one byte changed, never crashes the reader; a changed
 * value is seen. */
static void damage_never_crashes(void **state) {
    (void)state;
    cairn_safetensors file = {0}, back;
    float *values;
    assert_int_equal(cairn_safetensors_add(&file, "w", 1, (int[]){4}, &values), 0);
    assert_int_equal(cairn_safetensors_add_metadata(&file, "k", "v"), 0);
    assert_int_equal(cairn_safetensors_write(&file, path), 0);
    cairn_safetensors_free(&file);
    uint8_t *bytes;
    size_t size;
    assert_int_equal(cairn_file_read(path, &bytes, &size), 0);
    for (size_t cut = 0; cut < size; cut++) {
        FILE *out = fopen(path, "wb");
        fwrite(bytes, 1, cut, out);
        fclose(out);
        assert_int_equal(cairn_safetensors_read(&back, path), CAIRN_BAD_INPUT);
    }
    for (size_t i = 0; i < size; i++) {
        for (int flip = 1; flip < 256; flip *= 4) {
            bytes[i] ^= (uint8_t)flip;
            FILE *out = fopen(path, "wb");
            fwrite(bytes, 1, size, out);
            fclose(out);
            if (i >= size - 16)
                refused("is damaged");
            else if (cairn_safetensors_read(&back, path) == CAIRN_OK)
                cairn_safetensors_free(&back);
            bytes[i] ^= (uint8_t)flip;
        }
    }
    free(bytes);
}

static void misuse_of_add_is_refused(void **state) {
    (void)state;
    cairn_safetensors file = {0};
    float *values;
    assert_int_equal(cairn_safetensors_add(&file, "a", 1, (int[]){1}, &values), 0);
    assert_int_equal(cairn_safetensors_add(&file, "a", 1, (int[]){1}, &values), CAIRN_BAD_INPUT);
    assert_int_equal(cairn_safetensors_add(&file, "b", 1, (int[]){-1}, &values), CAIRN_BAD_INPUT);
    assert_int_equal(cairn_safetensors_add(&file, "b", 9, (int[9]){0}, &values), CAIRN_BAD_INPUT);
    assert_int_equal(cairn_safetensors_add(&file, "__metadata__", 0, NULL, &values),
                     CAIRN_BAD_INPUT);
    assert_int_equal(cairn_safetensors_write(&file, "/nonexistent/x"), CAIRN_FAILED);
    cairn_safetensors_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_keeps_every_bit),
        cmocka_unit_test(many_tensors),
        cmocka_unit_test(other_types_become_float),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(sound_headers_of_others_are_read),
        cmocka_unit_test(hostile_headers_cost_no_memory),
        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(damage_never_crashes),
        cmocka_unit_test(misuse_of_add_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
