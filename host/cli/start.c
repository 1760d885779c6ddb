/* Before main and all else that was compiled for one kind of processor: is it there? This file
 * alone is compiled for any of the architecture. */
#include "start.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef __x86_64__
#include <cpuid.h>

static bool processor_has(const char *feature) {
    __builtin_cpu_init();
    const struct {
        const char *name;
        bool here;
    } features[] = {
        {"sse3", __builtin_cpu_supports("sse3")},
        {"ssse3", __builtin_cpu_supports("ssse3")},
        {"sse4.1", __builtin_cpu_supports("sse4.1")},
        {"sse4.2", __builtin_cpu_supports("sse4.2")},
        {"popcnt", __builtin_cpu_supports("popcnt")},
        {"avx", __builtin_cpu_supports("avx")},
        {"avx2", __builtin_cpu_supports("avx2")},
        {"fma", __builtin_cpu_supports("fma")},
        {"bmi", __builtin_cpu_supports("bmi")},
        {"bmi2", __builtin_cpu_supports("bmi2")},
        {"avx512f", __builtin_cpu_supports("avx512f")},
        {"avx512cd", __builtin_cpu_supports("avx512cd")},
        {"avx512bw", __builtin_cpu_supports("avx512bw")},
        {"avx512dq", __builtin_cpu_supports("avx512dq")},
        {"avx512vl", __builtin_cpu_supports("avx512vl")},
        {"avx512ifma", __builtin_cpu_supports("avx512ifma")},
        {"avx512vbmi", __builtin_cpu_supports("avx512vbmi")},
        {"avx512vbmi2", __builtin_cpu_supports("avx512vbmi2")},
        {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
        {"avx512bitalg", __builtin_cpu_supports("avx512bitalg")},
        {"avx512vpopcntdq", __builtin_cpu_supports("avx512vpopcntdq")},
    };
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
        if (strcmp(feature, features[i].name) == 0)
            return features[i].here;
    return true;
}

/* As it calls itself. */
static void name_processor(char name[49]) {
    unsigned words[12] = {0};
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002U + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                    &words[4 * i + 3]);
    memcpy(name, words, sizeof words);
    name[48] = '\0';
}

__attribute__((constructor(101))) static void check_processor(void) {
    char missing[512] = "", name[49];
    size_t used = 0;
    for (const char *const *feature = cairn_built_for; *feature; feature++)
        if (!processor_has(*feature) && used + 32 < sizeof missing)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s",
                                     used ? ", " : "", *feature);
    if (used == 0)
        return;
    name_processor(name);
    dprintf(STDERR_FILENO,
            "cairn: this program was built for processors with %s, which this one (%s) lacks; "
            "build it here, or with -DCAIRN_NATIVE=OFF for all\n",
            missing, *name ? name + strspn(name, " ") : "unnamed");
    _exit(2);
}
#endif
