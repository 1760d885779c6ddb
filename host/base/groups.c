/* Finding the process's control groups, behind groups.h. */
#include "groups.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

enum { LINE = 3 * PATH_MAX };

/* Version 1 has one for each controller, or for some together, and lists which. */
typedef struct {
    const char *filesystem, *controller;
    bool listed;
} hierarchy;

FILE *cairn_groups_open(const char *folder, const char *name) {
    char path[LINE];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof path ? fopen(path, "re") : NULL;
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
static bool find_group(const char *root, const hierarchy *h, char group[PATH_MAX]) {
    char line[LINE];
    bool found = false;
    FILE *file = cairn_groups_open(root, "proc/self/cgroup");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        controllers++;
        found = h->listed ? lists(controllers, h->controller) : *controllers == '\0';
        path[strcspn(path, "\n")] = '\0';
        snprintf(group, PATH_MAX, "%.*s", PATH_MAX - 1, path);
    }
    if (file)
        fclose(file);
    return found;
}

/* Where that hierarchy is mounted, and which of its groups is the mount's root. A line of mountinfo
 * is "31 23 0:28 <root> <place> <options> ... - <filesystem> <source> <its options>". */
static bool find_mount(const char *root, const hierarchy *h, char top[PATH_MAX],
                       char place[PATH_MAX]) {
    _Static_assert(PATH_MAX == 4096, "the widths below");
    char line[LINE], filesystem[64], options[1024];
    bool found = false;
    FILE *file = cairn_groups_open(root, "proc/self/mountinfo");
    while (file && !found && fgets(line, sizeof line, file)) {
        const char *tail = strstr(line, " - ");
        found = tail && sscanf(tail, " - %63s %*s %1023s", filesystem, options) == 2 &&
                strcmp(filesystem, h->filesystem) == 0 &&
                (!h->listed || lists(options, h->controller)) &&
                sscanf(line, "%*s %*s %*s %4095s %4095s", top, place) == 2;
    }
    if (file)
        fclose(file);
    return found;
}

void cairn_groups_walk(const char *root, cairn_groups_version version, const char *controller,
                       void (*visit)(const char *folder, void *context), void *context) {
    const hierarchy h = {version == GROUPS_1 ? "cgroup" : "cgroup2", controller,
                         version == GROUPS_1};
    char group[PATH_MAX], top[PATH_MAX], place[PATH_MAX], folder[LINE];
    if (!find_group(root, &h, group) || !find_mount(root, &h, top, place))
        return;
    /* A container may see its own group as the root, and its path as the host names it. */
    size_t above = strcmp(top, "/") == 0 ? 0 : strlen(top);
    const char *below = strncmp(group, top, above) == 0 ? group + above : "";
    int base = snprintf(folder, sizeof folder, "%s%s", root, place);
    int length = snprintf(folder + base, sizeof folder - (size_t)base, "%s", below);
    for (char *end = folder + base + length;; end--) {
        if (end > folder + base && *end && *end != '/')
            continue;
        *end = '\0';
        visit(folder, context);
        if (end <= folder + base)
            return;
    }
}
