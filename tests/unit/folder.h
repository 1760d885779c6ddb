/* A fresh folder for every test of a program, by cmocka's set-up and tear-down. */
#ifndef CAIRN_TESTS_UNIT_FOLDER_H
#define CAIRN_TESTS_UNIT_FOLDER_H

#include <stdio.h>
#include <stdlib.h>

static char folder[256];

static int make_folder(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/cairn-test-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

#endif
