/* The filter for text of others: what it lets through, and how the rest is shown. */
#include "cairn/text.h"

#include "cairn/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t encode(uint32_t c, char out[5]) {
    const size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = length; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(first[length] | c);
    out[length] = '\0';
    return length;
}

static void expect_shown(const char *text, const char *expected) {
    char shown[200];
    assert_string_equal(cairn_text_show(shown, sizeof shown, text), expected);
    assert_true(cairn_text_is_plain(text) == (strcmp(text, expected) == 0));
}

static void what_is_seen_is_let_through(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "plain text ~!",
        "caf\u00e9",
        "\u732b \u72ac",
        "\u05d0",
        "\u0645\u200c\u06cc",
        "\U0001F408\u200d\U0001F4BB",
        "a\\x9b",
        "n\u0303",
        "\u00a0",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        expect_shown(texts[i], texts[i]);
}

static void the_rest_is_shown_by_its_number(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"\033[31m", "\\x1b[31m"},
        {"a\nb\tc\r", "a\\x0ab\\x09c\\x0d"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\u009b31m"},
        {"f\x9b"
         "31m",
         "f\\x9b31m"},
        {"caf\xe9", "caf\\xe9"},
        {"\u202egnp.tac\u202c", "\\u202egnp.tac\\u202c"},
        {"\u2028\u2029\u2066", "\\u2028\\u2029\\u2066"},
        {"\u200b\ufeff\u00ad", "\\u200b\\ufeff\\u00ad"},
        {"\xc0\xaf", "\\xc0\\xaf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
        {"\U000E0041", "\\U000e0041"},
        {"\xe2\x80", "\\xe2\\x80"},
        {"\xf0\x9f\x90", "\\xf0\\x9f\\x90"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_shown(cases[i][0], cases[i][1]);
}

/* Every character that there is, and every pair of bytes: what is shown is let through itself. */
static void what_is_shown_is_plain(void **state) {
    (void)state;
    char text[5], shown[64];
    for (uint32_t c = 1; c <= 0x10FFFF; c++) {
        encode(c, text);
        assert_true(cairn_text_is_plain(cairn_text_show(shown, sizeof shown, text)));
        const bool hidden = c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) ||
                            (c >= 0x2066 && c <= 0x2069) || c == 0x2028 || c == 0x2029 ||
                            c == 0x200E || c == 0x200F || c == 0x61C || (c & 0xFFFE) == 0xFFFE ||
                            (c >= 0xD800 && c < 0xE000);
        if (hidden && cairn_text_is_plain(text))
            fail_msg("U+%04X is let through", c);
    }
    for (int pair = 0x101; pair < 0x10000; pair++) {
        text[0] = (char)(pair >> 8);
        text[1] = (char)pair;
        text[2] = '\0';
        if (text[0])
            assert_true(cairn_text_is_plain(cairn_text_show(shown, sizeof shown, text)));
    }
}

/* Whole pieces, as many as there is room for. */
static void what_is_too_long_is_cut(void **state) {
    (void)state;
    char shown[8];
    memset(shown, 'x', sizeof shown);
    assert_string_equal(cairn_text_show(shown, 7, "ab\u202ecd"), "ab");
    assert_int_equal(shown[7], 'x');
    assert_string_equal(cairn_text_show(shown, 8, "\u732b\u72ac\u732b"), "\u732b\u72ac");
    assert_string_equal(cairn_text_show(shown, 1, "a"), "");
}

static void messages_are_filtered(void **state) {
    (void)state;
    cairn_error_set(CAIRN_FAILED, "%s: bad", "a\033[2J\xc2\x9b\u2028\xff");
    assert_string_equal(cairn_error_message(), "a\\x1b[2J\\u009b\\u2028\\xff: bad");
    cairn_error_set(CAIRN_FAILED, "again: %s", cairn_error_message());
    assert_string_equal(cairn_error_message(), "again: a\\x1b[2J\\u009b\\u2028\\xff: bad");
}

/* What a spreadsheet runs as a formula becomes a text to it. */
static void fields_are_no_formulas(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"cat", "cat"},
        {"a,b", "\"a,b\""},
        {"say \"a\"", "\"say \"\"a\"\"\""},
        {"=cmd|calc!A1", "'=cmd|calc!A1"},
        {"+1", "'+1"},
        {"-1", "'-1"},
        {"@SUM(1)", "'@SUM(1)"},
        {"=A(1,\"x\")", "\"'=A(1,\"\"x\"\")\""},
        {"\t=1", "\\x09=1"},
        {"\r=1", "\\x0d=1"},
        {"a=b", "a=b"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        cairn_text_put_field(out, cases[i][0]);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, cases[i][1]);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_seen_is_let_through),
        cmocka_unit_test(the_rest_is_shown_by_its_number),
        cmocka_unit_test(what_is_shown_is_plain),
        cmocka_unit_test(what_is_too_long_is_cut),
        cmocka_unit_test(messages_are_filtered),
        cmocka_unit_test(fields_are_no_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
