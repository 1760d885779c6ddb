/* JSON for readers: numbers as they are written elsewhere, laid out as Python's json does. */
#include "cairn/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void numbers_are_the_shortest(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *digits;
    } cases[] = {
        {0, "0"},
        {1, "1"},
        {10, "10"},
        {-20, "-20"},
        {150000, "150000"},
        {123456789012, "123456789012"},
        {1e15, "1000000000000000"},
        {1e16, "1e+16"},
        {0.1, "0.1"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {1.0 / 3, "0.3333333333333333"},
        {NAN, "nan"},
        {-NAN, "nan"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char digits[CAIRN_JSON_DIGITS];
        cairn_json_digits(digits, cases[i].value);
        assert_string_equal(digits, cases[i].digits);
    }
}

/* What Python 3's json.dumps(json.loads(text), indent=2, ensure_ascii=False) prints. */
static void laid_out_as_by_python(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "{}\n"},
        {"[]", "[]\n"},
        {"[1,[],{}]", "[\n  1,\n  [],\n  {}\n]\n"},
        {"{\"a\":{\"b\":[true,null]},\"c\":\"\"}",
         "{\n  \"a\": {\n    \"b\": [\n      true,\n      null\n    ]\n  },\n  \"c\": \"\"\n}\n"},
        {"{\"{\\\"[:,\":\"}\\\\\",\"\\u00e9\":\"[]{}\\n\"}",
         "{\n  \"{\\\"[:,\": \"}\\\\\",\n  \"\xc3\xa9\": \"[]{}\\n\"\n}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *json = cJSON_Parse(cases[i][0]);
        char *text = cairn_json_format(json);
        assert_string_equal(text, cases[i][1]);
        free(text);
        cJSON_Delete(json);
    }
    assert_null(cairn_json_format(NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_the_shortest),
        cmocka_unit_test(laid_out_as_by_python),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
