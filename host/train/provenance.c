/* Where a run's numbers come from: the data, the sources' git revision, the program and the plugin
 * that computed, DVC's experiment. The data take the longest, a tenth of a second for CIFAR-10, and
 * git as long as the repository is large: so a thread finds out while the training begins. */
#include "train.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Revision and changes in one call. params.yaml and dvc.lock do not count: the run folder has the
 * parameters, and DVC rewrites both for every experiment. */
static char *const git[] = {"git",
                            "-c", /* a command that a stranger's repository may name */
                            "core.fsmonitor=false",
                            "--no-optional-locks",
                            "status",
                            "--porcelain=v2",
                            "--branch",
                            "--untracked-files=no",
                            "--ignore-submodules",
                            "--",
                            ":/",
                            ":(top,exclude)params.yaml",
                            ":(top,exclude)dvc.lock",
                            NULL};

/* Starts git with its output on `*out`; false when that cannot be. */
static bool start_git(pid_t *child, int *out) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int failed = posix_spawnp(child, git[0], &actions, NULL, git, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (failed)
        close(ends[0]);
    *out = ends[0];
    return !failed;
}

/* "# branch.oid <hash>" before the first commit is "(initial)". Any line without # is a change. */
static void find_revision(cairn_provenance *found) {
    static const char head[] = "# branch.oid ";
    pid_t child;
    int out, result = -1;
    char line[512];
    char revision[sizeof found->revision] = "";
    bool dirty = false;
    if (!start_git(&child, &out))
        return;
    FILE *lines = fdopen(out, "r");
    while (lines && fgets(line, sizeof line, lines)) {
        if (strncmp(line, head, sizeof head - 1) == 0 && line[sizeof head - 1] != '(')
            snprintf(revision, sizeof revision, "%.*s", (int)strcspn(line + sizeof head - 1, "\n"),
                     line + sizeof head - 1);
        dirty = dirty || line[0] != '#';
    }
    if (lines)
        fclose(lines);
    else
        close(out);
    while (waitpid(child, &result, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(result) || WEXITSTATUS(result) != 0)
        return;
    memcpy(found->revision, revision, sizeof revision);
    found->dirty = dirty;
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

static void digest_file(const char *path, char hex[CAIRN_DIGEST_HEX]) {
    uint8_t *bytes;
    size_t size;
    if (cairn_file_read(path, &bytes, &size) != CAIRN_OK)
        return;
    if (cairn_sha256(bytes, size, hex) != CAIRN_OK)
        hex[0] = '\0';
    free(bytes);
}

/* A backend's plugin computes where the executor's functions lie in another file than this one. */
static void find_plugin(const cairn_executor *executor, char hex[CAIRN_DIGEST_HEX]) {
    Dl_info here, there;
    if (dladdr(git, &here) && dladdr(executor->ops, &there) && there.dli_fbase != here.dli_fbase)
        digest_file(there.dli_fname, hex);
}

static void *find(void *context) {
    cairn_provenance *found = context;
    find_revision(found);
    cairn_processor_name(found->processor, sizeof found->processor);
    const char *name = getenv("DVC_EXP_NAME");
    snprintf(found->experiment, sizeof found->experiment, "%s", name ? name : "");
    digest_file("/proc/self/exe", found->binary_digest);
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
        find_plugin(executor, found->plugin_digest);
    found->ended = true;
    return found->status && executor ? cairn_error_set(found->status, "%s", found->message)
                                     : CAIRN_OK;
}
