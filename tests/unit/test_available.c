/* What the machine cannot give is refused in words, before the kernel ends the process for it. */
#include "cairn/arena.h"
#include "cairn/memory.h"
#include "cairn/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static void more_than_there_is_is_refused(void **state) {
    (void)state;
    size_t available = cairn_memory_available();
    assert_true(available > 1 << 20 && available < SIZE_MAX / 4);
    cairn_arena *arena = cairn_arena_create();
    assert_non_null(arena);
    assert_non_null(cairn_arena_alloc(arena, 3 << 20));
    assert_null(cairn_arena_alloc(arena, 2 * available + ((size_t)1 << 30)));
    assert_non_null(strstr(cairn_error_message(), "out of memory: a buffer of "));
    assert_non_null(strstr(cairn_error_message(), "4.0 MiB are held"));
    assert_null(cairn_arena_alloc(arena, SIZE_MAX)); /* rounding it up would overflow */
    char *bytes = cairn_arena_alloc(arena, 100);     /* the arena can still be used */
    assert_non_null(bytes);
    for (int i = 0; i < 100; i++)
        assert_int_equal(bytes[i], 0);
    cairn_arena_destroy(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(more_than_there_is_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
