/* Behind cairn/memory.h: the machine's memory by /proc/meminfo, and what the control groups leave
 * of it that the process is in (cgroups(7)), as a container, a batch system or systemd sets them
 * up. A limit of any group above the process's own holds as well. */
#include "cairn/memory.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 3 * PATH_MAX };

/* What the two versions of control groups call things. */
typedef struct {
    const char *filesystem, *limit, *used, *swap_limit, *swap_used;
    const char *inactive, *active; /* in memory.stat: pages of files, which can be dropped */
    bool swap_includes_memory;
} version;

static const version versions[] = {
    {"cgroup2", "memory.max", "memory.current", "memory.swap.max", "memory.swap.current",
     "inactive_file", "active_file", false},
    {"cgroup", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.memsw.limit_in_bytes",
     "memory.memsw.usage_in_bytes", "total_inactive_file", "total_active_file", true},
};
enum { VERSIONS = sizeof versions / sizeof versions[0] };

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static FILE *open_in(const char *folder, const char *name) {
    char path[LINE];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof path ? fopen(path, "re") : NULL;
}

/* The number that a file holds; SIZE_MAX for "max", and where there is none. */
static size_t read_number(const char *folder, const char *name) {
    size_t value = SIZE_MAX;
    FILE *file = open_in(folder, name);
    if (file && fscanf(file, "%zu", &value) != 1)
        value = SIZE_MAX;
    if (file)
        fclose(file);
    return value;
}

/* The sum of two of a file's "<name><space><number>" lines, 0 for one that is missing. */
static size_t read_two(const char *folder, const char *file_name, const char *one,
                       const char *other) {
    char line[256], name[64];
    size_t value, sum = 0;
    FILE *file = open_in(folder, file_name);
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %zu", name, &value) == 2 &&
            (strcmp(name, one) == 0 || strcmp(name, other) == 0))
            sum += value;
    if (file)
        fclose(file);
    return sum;
}

/* What a group may still take, at most `swap` of it swapped out. */
static size_t room_in(const char *folder, const version *v, size_t swap) {
    const size_t unlimited = SIZE_MAX / 4; /* version 1 says so by a number just below 2^63 */
    size_t limit = read_number(folder, v->limit), used = read_number(folder, v->used);
    if (limit > unlimited || used > unlimited)
        return SIZE_MAX;
    size_t room = limit > used ? limit - used : 0;
    size_t swap_limit = read_number(folder, v->swap_limit);
    size_t swap_used = read_number(folder, v->swap_used);
    if (swap_limit <= unlimited && swap_used <= unlimited) {
        size_t swap_room = swap_limit > swap_used ? swap_limit - swap_used : 0;
        if (v->swap_includes_memory)
            swap_room = swap_room > room ? swap_room - room : 0;
        swap = least(swap, swap_room);
    }
    size_t files = read_two(folder, "memory.stat", v->inactive, v->active);
    return room + least(files, used) + swap;
}

static bool lists(const char *options, const char *wanted) {
    size_t length = strlen(wanted);
    for (const char *at = options; *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, wanted, length) == 0 && strchr(",\n", at[length]))
            return true;
    return false;
}

/* The process's group in the version's hierarchy: version 2 has "0::/group", version 1
 * "5:cpu,memory:/group". */
static bool find_group(const char *root, const version *v, char group[PATH_MAX]) {
    char line[LINE];
    bool found = false;
    FILE *file = open_in(root, "proc/self/cgroup");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        controllers++;
        found = v->swap_includes_memory ? lists(controllers, "memory") : *controllers == '\0';
        path[strcspn(path, "\n")] = '\0';
        snprintf(group, PATH_MAX, "%.*s", PATH_MAX - 1, path);
    }
    if (file)
        fclose(file);
    return found;
}

/* Where that hierarchy is mounted, and which of its groups is the mount's root. A line of mountinfo
 * is "31 23 0:28 <root> <place> <options> ... - <filesystem> <source> <its options>". */
static bool find_mount(const char *root, const version *v, char top[PATH_MAX],
                       char place[PATH_MAX]) {
    _Static_assert(PATH_MAX == 4096, "the widths below");
    char line[LINE], filesystem[64], options[1024];
    bool found = false;
    FILE *file = open_in(root, "proc/self/mountinfo");
    while (file && !found && fgets(line, sizeof line, file)) {
        const char *tail = strstr(line, " - ");
        found = tail && sscanf(tail, " - %63s %*s %1023s", filesystem, options) == 2 &&
                strcmp(filesystem, v->filesystem) == 0 &&
                (!v->swap_includes_memory || lists(options, "memory")) &&
                sscanf(line, "%*s %*s %*s %4095s %4095s", top, place) == 2;
    }
    if (file)
        fclose(file);
    return found;
}

/* The least that the process's group and those above it leave. */
static size_t room_in_groups(const char *root, const version *v, size_t swap) {
    char group[PATH_MAX], top[PATH_MAX], place[PATH_MAX], folder[LINE];
    size_t room = SIZE_MAX;
    if (!find_group(root, v, group) || !find_mount(root, v, top, place))
        return SIZE_MAX;
    /* A container may see its own group as the root, and its path as the host names it. */
    size_t above = strcmp(top, "/") == 0 ? 0 : strlen(top);
    const char *below = strncmp(group, top, above) == 0 ? group + above : "";
    int base = snprintf(folder, sizeof folder, "%s%s", root, place);
    int length = snprintf(folder + base, sizeof folder - (size_t)base, "%s", below);
    for (char *end = folder + base + length;; end--) {
        if (end > folder + base && *end && *end != '/')
            continue;
        *end = '\0';
        room = least(room, room_in(folder, v, swap));
        if (end <= folder + base)
            return room;
    }
}

size_t cairn_memory_available_below(const char *root) {
    char line[256];
    size_t kibibytes, available = 0, swap = 0;
    FILE *file = open_in(root, "proc/meminfo");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %zu", &kibibytes) == 1)
            available = kibibytes << 10;
        if (sscanf(line, "SwapFree: %zu", &kibibytes) == 1)
            swap = kibibytes << 10;
    }
    if (file)
        fclose(file);
    size_t room = available ? available + swap : SIZE_MAX;
    for (int i = 0; i < VERSIONS; i++)
        room = least(room, room_in_groups(root, &versions[i], swap));
    return room;
}

size_t cairn_memory_available(void) {
    return cairn_memory_available_below("");
}
