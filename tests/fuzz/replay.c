/* The main of a harness without libFuzzer: feeds it the files and folders of files that are named,
 * each in memory of exactly its size, so that a sanitizer sees a read beyond its end. Says for
 * every file how the parser judged it.
 *
 *     fuzz_<parser> FILE|FOLDER... */
#include "cairn/file.h"
#include "fuzz.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int replayed;

static cairn_status replay_file(const char *path) {
    uint8_t *data = NULL;
    size_t size = 0;
    cairn_status status = cairn_file_read(path, &data, &size);
    if (status)
        return status;
    uint8_t *exact = malloc(size ? size : 1);
    if (exact) {
        memcpy(exact, data, size);
        fprintf(stderr, "%s: ", path); /* the last one named is the one that failed */
        (void)cairn_error_set(CAIRN_OK, "accepted");
        (void)LLVMFuzzerTestOneInput(exact, size);
        fprintf(stderr, "%s\n", cairn_error_message());
        replayed++;
    } else {
        status = cairn_error_set(CAIRN_FAILED, "%s: out of memory", path);
    }
    free(exact);
    free(data);
    return status;
}

static cairn_status replay_folder(const char *path) {
    char file[PATH_MAX];
    cairn_status status = CAIRN_OK;
    DIR *folder = opendir(path);
    for (struct dirent *entry; !status && folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        status = cairn_path_format(file, sizeof file, "%s/%s", path, entry->d_name);
        if (!status)
            status = replay_file(file);
    }
    if (folder)
        closedir(folder);
    return status;
}

int main(int count, char **paths) {
    for (int i = 1; i < count; i++) {
        cairn_status status =
            cairn_folder_exists(paths[i]) ? replay_folder(paths[i]) : replay_file(paths[i]);
        if (status) {
            fprintf(stderr, "replay: %s\n", cairn_error_message());
            return 1;
        }
    }
    printf("%d inputs\n", replayed);
    return replayed ? 0 : 1;
}
