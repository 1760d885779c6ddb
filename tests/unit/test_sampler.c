/* The order of an epoch's samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cairn/dataset.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampler_order_is_a_permutation),
        cmocka_unit_test(sampler_order_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
