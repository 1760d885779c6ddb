/* Behind cairn/memory.h: the machine's memory by /proc/meminfo, and what the control groups leave
 * of it that the process is in. */
#include "cairn/memory.h"

#include "groups.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What the two versions of control groups call things. */
typedef struct {
    const char *limit, *used, *swap_limit, *swap_used;
    const char *inactive, *active; /* in memory.stat: pages of files, which can be dropped */
    bool swap_includes_memory;
} version;

static const version versions[] = {
    [GROUPS_2] = {"memory.max", "memory.current", "memory.swap.max", "memory.swap.current",
                  "inactive_file", "active_file", false},
    [GROUPS_1] = {"memory.limit_in_bytes", "memory.usage_in_bytes", "memory.memsw.limit_in_bytes",
                  "memory.memsw.usage_in_bytes", "total_inactive_file", "total_active_file", true},
};

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* The number that a file holds; SIZE_MAX for "max", and where there is none. */
static size_t read_number(const char *folder, const char *name) {
    size_t value = SIZE_MAX;
    FILE *file = cairn_groups_open(folder, name);
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
    FILE *file = cairn_groups_open(folder, file_name);
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

typedef struct {
    const version *version;
    size_t swap, room; /* the least that was found */
} look;

static void take_least(const char *folder, void *context) {
    look *at = context;
    at->room = least(at->room, room_in(folder, at->version, at->swap));
}

size_t cairn_memory_available_below(const char *root) {
    char line[256];
    size_t kibibytes, available = 0, swap = 0;
    FILE *file = cairn_groups_open(root, "proc/meminfo");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %zu", &kibibytes) == 1)
            available = kibibytes << 10;
        if (sscanf(line, "SwapFree: %zu", &kibibytes) == 1)
            swap = kibibytes << 10;
    }
    if (file)
        fclose(file);
    size_t room = available ? available + swap : SIZE_MAX;
    for (int v = GROUPS_2; v <= GROUPS_1; v++) {
        look at = {&versions[v], swap, room};
        cairn_groups_walk(root, (cairn_groups_version)v, "memory", take_least, &at);
        room = at.room;
    }
    return room;
}

size_t cairn_memory_available(void) {
    return cairn_memory_available_below("");
}
