/* What the machine cannot give is refused in words, before the kernel ends the process for it. */
#include "cairn/arena.h"
#include "cairn/memory.h"
#include "cairn/status.h"
#include "cairn/threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#define MIB(count) ((size_t)(count) << 20)

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

static size_t resident(void) {
    size_t all, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu", &all, &pages), 2);
    assert_int_equal(fclose(file), 0);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Each part would fit alone: together they are refused, and nothing was filled by then. */
static void a_plan_is_held_against_memory_as_a_whole(void **state) {
    (void)state;
    for (size_t parts = 2; parts <= 8; parts *= 2) {
        size_t part = cairn_memory_available() / parts + MIB(1), before = resident(), made = 0;
        cairn_arena *arena = cairn_arena_create();
        assert_non_null(arena);
        while (made < 2 * parts && cairn_arena_alloc(arena, part))
            made++;
        assert_true(made >= parts / 2 && made < parts + 1);
        assert_true(resident() < before + MIB(64));
        cairn_arena_destroy(arena);
    }
}

/* A large one is as a small one: zeroed and aligned. */
static void large_blocks_are_zeroed_and_aligned(void **state) {
    (void)state;
    for (int round = 0; round < 2; round++) {
        cairn_arena *arena = cairn_arena_create();
        assert_non_null(arena);
        uint8_t *bytes = cairn_arena_alloc(arena, MIB(65) + 1);
        assert_non_null(bytes);
        assert_int_equal((uintptr_t)bytes % MIB(2), 0);
        for (size_t i = 0; i < MIB(66); i += 4099)
            assert_int_equal(bytes[i], 0);
        memset(bytes, 1, MIB(66));
        cairn_arena_destroy(arena);
    }
}

/* Files of a pretended system in `folder`, 4096 MiB of memory and 1024 of swap free: path, text,
 * path, text, ..., NULL. */
static void pretend(const char *const *files) {
    char command[640], path[512];
    for (; *files; files += 2) {
        snprintf(path, sizeof path, "%s/%s", folder, files[0]);
        snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s')\"", path);
        assert_int_equal(system(command), 0);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(files[1], file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
}

#define MACHINE "proc/meminfo", "MemTotal: 9 kB\nMemAvailable: 4194304 kB\nSwapFree: 1048576 kB\n"
#define MOUNTED "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"

static void without_limits_it_is_the_machines(void **state) {
    (void)state;
    assert_true(cairn_memory_available_below(folder) == SIZE_MAX); /* nothing to be read */
    pretend((const char *[]){MACHINE, NULL});
    assert_true(cairn_memory_available_below(folder) == MIB(4096 + 1024));
    pretend((const char *[]){
        "proc/self/cgroup", "0::/a\n", "proc/self/mountinfo",
        MOUNTED "32 31 0:29 / /sys/fs/cgroup/u rw shared:4 - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/u/a/memory.max", "max\n", "sys/fs/cgroup/u/a/memory.current", "9\n", NULL});
    assert_true(cairn_memory_available_below(folder) == MIB(4096 + 1024));
}

/* Version 2: the limit is a group's above; what is there of files can be dropped. */
static void a_limit_above_counts(void **state) {
    (void)state;
    pretend((const char *[]){
        MACHINE, "proc/self/cgroup", "0::/slice/run\n", "proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/slice/run/memory.max", "max\n", "sys/fs/cgroup/slice/memory.max",
        "104857600\n", "sys/fs/cgroup/slice/memory.current", "31457280\n",
        "sys/fs/cgroup/slice/memory.swap.max", "0\n", "sys/fs/cgroup/slice/memory.swap.current",
        "0\n", "sys/fs/cgroup/slice/memory.stat",
        "anon 7\ninactive_file 5242880\nactive_file 3145728\nunevictable 1\n", NULL});
    assert_true(cairn_memory_available_below(folder) == MIB(100 - 30 + 5 + 3));
    pretend((const char *[]){"sys/fs/cgroup/slice/memory.swap.max", "max\n", NULL});
    assert_true(cairn_memory_available_below(folder) == MIB(78 + 1024));
    pretend((const char *[]){"sys/fs/cgroup/slice/memory.swap.max", "10485760\n", NULL});
    assert_true(cairn_memory_available_below(folder) == MIB(78 + 10));
    pretend((const char *[]){"sys/fs/cgroup/slice/run/memory.max", "20971520\n",
                             "sys/fs/cgroup/slice/run/memory.current", "20975616\n",
                             "sys/fs/cgroup/slice/run/memory.swap.max", "0\n",
                             "sys/fs/cgroup/slice/run/memory.swap.current", "0\n", NULL});
    assert_true(cairn_memory_available_below(folder) == 0); /* more is used than is allowed */
}

/* Version 1 in a container: the mount shows its group as the root, the path is the host's; the
 * limit with swap counts memory too. */
static void a_containers_limit_counts(void **state) {
    (void)state;
    pretend((const char *[]){
        MACHINE, "proc/self/cgroup", "9:name=systemd:/docker/1f\n5:cpu,memory:/docker/1f\n0::/\n",
        "proc/self/mountinfo",
        MOUNTED "34 31 0:31 /docker/1f /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                "35 31 0:32 /docker/1f /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes", "209715200\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n",
        "sys/fs/cgroup/memory/memory.stat",
        "inactive_file 1\ntotal_inactive_file 1048576\ntotal_active_file 0\n", NULL});
    assert_true(cairn_memory_available_below(folder) == MIB(100 + 1 + 1024));
    pretend((const char *[]){"sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "241172480\n",
                             "sys/fs/cgroup/memory/memory.memsw.usage_in_bytes", "115343360\n",
                             NULL});
    assert_true(cairn_memory_available_below(folder) == MIB(100 + 1 + (230 - 110 - 100)));
    pretend((const char *[]){"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n",
                             NULL});
    assert_true(cairn_memory_available_below(folder) == MIB(4096 + 1024));
}

/* Quotas of processor time, of both versions, as fractions and at any height. */
static void threads_are_what_the_quota_is_worth(void **state) {
    (void)state;
    pretend((const char *[]){"proc/self/cgroup", "0::/slice/run\n", "proc/self/mountinfo",
                             "32 31 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", NULL});
    assert_int_equal(cairn_threads_quota_below(folder), INT_MAX);
    const struct {
        const char *text;
        int threads;
    } quotas[] = {{"max 100000\n", INT_MAX}, {"100000 100000\n", 1},
                  {"100001 100000\n", 2},    {"50000 100000\n", 1},
                  {"1000 100000\n", 1},      {"800000 100000\n", 8},
                  {"max\n", INT_MAX},        {"0 0\n", INT_MAX},
                  {"-1 100000\n", INT_MAX},  {"9223372036854775807 1\n", INT_MAX}};
    for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++) {
        pretend((const char *[]){"sys/fs/cgroup/slice/run/cpu.max", quotas[i].text, NULL});
        assert_int_equal(cairn_threads_quota_below(folder), quotas[i].threads);
    }
    pretend((const char *[]){"sys/fs/cgroup/slice/cpu.max", "300000 100000\n", NULL});
    assert_int_equal(cairn_threads_quota_below(folder), 3); /* of a group above */
    pretend((const char *[]){
        "proc/self/cgroup", "4:cpu,cpuacct:/a/b\n3:memory:/m\n0::/\n", "proc/self/mountinfo",
        "40 31 0:30 /a /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
        "sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "-1\n", "sys/fs/cgroup/cpu/b/cpu.cfs_period_us",
        "100000\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n", NULL});
    assert_int_equal(cairn_threads_quota_below(folder), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_there_is_is_refused),
        cmocka_unit_test(a_plan_is_held_against_memory_as_a_whole),
        cmocka_unit_test(large_blocks_are_zeroed_and_aligned),
        cmocka_unit_test_setup_teardown(without_limits_it_is_the_machines, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_limit_above_counts, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_containers_limit_counts, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(threads_are_what_the_quota_is_worth, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
