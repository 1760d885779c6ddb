/* Where a run's numbers come from: the data, the sources' git revision, the program and the plugin
 * that computed, DVC's experiment. The data take the longest, a tenth of a second for CIFAR-10, and
 * git as long as the repository is large: so a thread finds out while the training begins. */
#include "cairn/provenance.h"

#include "cairn/file.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

/* Why one of them is not known, behind what is said of others. */
static void note(cairn_provenance *found, const char *key) {
    size_t used = strlen(found->note);
    snprintf(found->note + used, sizeof found->note - used, "%s%s: %s", used ? "; " : "", key,
             cairn_error_message());
}

/* Outside of a repository, or without git, there is nothing that the user should be told. */
static void find_revision(cairn_provenance *found) {
    cairn_status status = cairn_git_look(found->revision, &found->dirty);
    if (status)
        note(found, "git_revision");
    if (status == CAIRN_FAILED)
        snprintf(found->warning, sizeof found->warning, "%s", cairn_error_message());
}

/* The "model name" line of /proc/cpuinfo, where there is one. */
void cairn_processor_name(char *out, size_t size) {
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(out, size, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file)
        fclose(file);
}

static void digest_file(cairn_provenance *found, const char *key, const char *path,
                        char hex[CAIRN_DIGEST_HEX]) {
    uint8_t *bytes = NULL;
    size_t size;
    cairn_status status = cairn_file_read(path, &bytes, &size);
    if (!status)
        status = cairn_sha256(bytes, size, hex);
    if (status) {
        hex[0] = '\0';
        note(found, key);
    }
    free(bytes);
}

/* An address within the program, which its file is found by. */
static const char in_program[] = "";

/* A loader that is called by its name (ld.so cairn) is what /proc/self/exe is; it has no base. */
static void find_program(cairn_provenance *found) {
    Dl_info here;
    const char *path =
        getauxval(AT_BASE) || !dladdr(in_program, &here) ? "/proc/self/exe" : here.dli_fname;
    digest_file(found, "binary_digest", path, found->binary_digest);
}

/* A backend's plugin computes where the executor's functions lie in another file than this one. */
static void find_plugin(cairn_provenance *found, const cairn_executor *executor) {
    Dl_info here, there;
    if (dladdr(in_program, &here) && dladdr(executor->ops, &there) &&
        there.dli_fbase != here.dli_fbase)
        digest_file(found, "plugin_digest", there.dli_fname, found->plugin_digest);
}

static void *find(void *context) {
    cairn_provenance *found = context;
    find_revision(found);
    cairn_processor_name(found->processor, sizeof found->processor);
    const char *name = getenv("DVC_EXP_NAME");
    snprintf(found->experiment, sizeof found->experiment, "%s", name ? name : "");
    find_program(found);
    found->status = cairn_dataset_digest(found->data, found->data_digest);
    if (found->status) /* which the thread's end takes along */
        snprintf(found->message, sizeof found->message, "%s", cairn_error_message());
    return NULL;
}

void cairn_provenance_begin(cairn_provenance *found, const cairn_dataset *data) {
    *found = (cairn_provenance){.data = data};
    found->threaded = pthread_create(&found->thread, NULL, find, found) == 0;
    if (!found->threaded)
        find(found);
}

cairn_status cairn_provenance_end(cairn_provenance *found, const cairn_executor *executor) {
    if (found->threaded)
        pthread_join(found->thread, NULL);
    found->threaded = false;
    if (executor && !found->ended)
        find_plugin(found, executor);
    found->ended = true;
    return found->status && executor ? cairn_error_set(found->status, "%s", found->message)
                                     : CAIRN_OK;
}
