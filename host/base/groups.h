/* Inside host/base: the control groups (cgroups(7)) that the process is in, as a container, a batch
 * system or systemd sets them up. A limit of any group above the process's own holds as well. */
#ifndef CAIRN_HOST_BASE_GROUPS_H
#define CAIRN_HOST_BASE_GROUPS_H

#include <stdio.h>

typedef enum { GROUPS_2, GROUPS_1 } cairn_groups_version;

/* Calls `visit` for the folder of the process's group, and of each above it, that the controller
 * ("memory", "cpu") of a version has in the system whose files lie below `root`. */
void cairn_groups_walk(const char *root, cairn_groups_version version, const char *controller,
                       void (*visit)(const char *folder, void *context), void *context);

/* A file of a group, or of the system; NULL where there is none. */
FILE *cairn_groups_open(const char *folder, const char *name);

#endif
