/* What git says of the repository that the process works in: the revision, and whether files differ
 * from it. The repository may be a stranger's, whose configuration names programs for git to run
 * (filters, a file monitor, hooks, remotes for missing objects): all of them are switched off
 * first. Nothing that git does, or waits for, holds the run. */
#include "cairn/provenance.h"

#include "cairn/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SECONDS = 10, OPTIONS = 64, ANSWER = 64 << 10 };

/* Before any of git's commands. A bare repository inside of a clone is not taken for the
 * repository, whoever put it there. */
#define SAFELY                                                                                     \
    "git", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c",     \
        "protocol.allow=never", "-c", "safe.bareRepository=explicit"

/* Its environment besides: an empty list of protocols is stronger than any configuration. */
static char *const settings[] = {"GIT_ALLOW_PROTOCOL=", "GIT_NO_LAZY_FETCH=1",
                                 "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C"};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* The names of all filters that are configured, the user's own too: which files they are for is
 * the repository's to say. */
static char *const list_filters[] = {
    SAFELY, "config", "--null", "--name-only", "--get-regexp", "^filter\\..*\\.[a-z]*$", NULL};

/* Revision and changes in one call. params.yaml and dvc.lock do not count: the run folder has the
 * parameters, and DVC rewrites both for every experiment. */
static char *const ask_status[] = {"status",
                                   "--porcelain=v2",
                                   "--branch",
                                   "--no-ahead-behind",
                                   "--untracked-files=no",
                                   "--ignore-submodules=all",
                                   "--",
                                   ":/",
                                   ":(top,exclude)params.yaml",
                                   ":(top,exclude)dvc.lock",
                                   NULL};

typedef struct {
    char out[ANSWER], error[1024]; /* each with a zero behind it; what does not fit is left out */
    size_t size, error_size;
    int code; /* git's exit code */
} answer;

/* Starting and reading --------------------------------------------------------------------------*/

/* The environment with the settings in place of what it has under their names; NULL: no memory. */
static char **make_environment(void) {
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    char **made = malloc((count + SETTINGS + 1) * sizeof *made);
    for (size_t i = 0; made && i < count; i++) {
        bool replaced = false;
        for (size_t s = 0; s < SETTINGS; s++)
            replaced =
                replaced || strncmp(environ[i], settings[s], strcspn(settings[s], "=") + 1) == 0;
        if (!replaced)
            made[kept++] = environ[i];
    }
    for (size_t s = 0; made && s < SETTINGS; s++)
        made[kept++] = settings[s];
    if (made)
        made[kept] = NULL;
    return made;
}

/* With the signals as a program expects them, and in a group of its own, to be ended as one.
 * An errno, 0: it runs. */
static int spawn(pid_t *child, char *const *arguments, int out, int error) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char **environment = make_environment();
    if (!environment)
        return ENOMEM;
    sigemptyset(&none);
    sigemptyset(&all);
    const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGCHLD, SIGUSR1, SIGXCPU, SIGXFSZ};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaddset(&all, signals[i]);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, error, STDERR_FILENO);
    int failure = posix_spawnp(child, arguments[0], &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free(environment);
    return failure;
}

/* What has come, behind what is there. False at its end. */
static bool take(int fd, char *text, size_t room, size_t *size) {
    char dropped[4096];
    bool full = *size + 1 >= room;
    ssize_t got = read(fd, full ? dropped : text + *size, full ? sizeof dropped : room - 1 - *size);
    if (got > 0 && !full)
        *size += (size_t)got;
    return got > 0 || (got < 0 && errno == EINTR);
}

/* Reads both to their ends; false when that takes too long. */
static bool read_both(answer *got, int out, int error, double deadline) {
    struct pollfd ends[] = {{.fd = out, .events = POLLIN}, {.fd = error, .events = POLLIN}};
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
        double left = deadline - cairn_clock_now();
        if (left <= 0)
            return false;
        if (poll(ends, 2, (int)(left * 1000) + 1) < 0 && errno != EINTR)
            return false;
        if (ends[0].fd >= 0 && ends[0].revents && !take(out, got->out, sizeof got->out, &got->size))
            ends[0].fd = -1;
        if (ends[1].fd >= 0 && ends[1].revents &&
            !take(error, got->error, sizeof got->error, &got->error_size))
            ends[1].fd = -1;
    }
    return true;
}

/* Whether it has ended by then; else it is ended, and not waited for long: what hangs in the kernel
 * cannot be. */
static bool reap(pid_t child, double deadline, int *code) {
    const struct timespec pause = {.tv_nsec = 1000 * 1000};
    int result = 0;
    pid_t ended;
    bool in_time = true;
    while ((ended = waitpid(child, &result, WNOHANG)) != child) {
        if (ended < 0 && errno != EINTR)
            return false;
        double over = cairn_clock_now() - deadline;
        if (over > 0 && in_time) {
            kill(-child, SIGKILL);
            in_time = false;
        }
        if (over > 1)
            return false;
        nanosleep(&pause, NULL);
    }
    *code = WIFEXITED(result) ? WEXITSTATUS(result) : -1;
    return in_time;
}

static cairn_status ask(answer *got, char *const *arguments, double deadline) {
    int out[2], error[2];
    pid_t child;
    *got = (answer){.code = -1};
    if (pipe2(out, O_CLOEXEC) != 0)
        return cairn_error_set(CAIRN_FAILED, "cannot start git: %s", strerror(errno));
    if (pipe2(error, O_CLOEXEC) != 0) {
        close(out[0]);
        close(out[1]);
        return cairn_error_set(CAIRN_FAILED, "cannot start git: %s", strerror(errno));
    }
    int failure = spawn(&child, arguments, out[1], error[1]);
    close(out[1]);
    close(error[1]);
    bool in_time = failure || read_both(got, out[0], error[0], deadline);
    close(out[0]);
    close(error[0]);
    if (failure)
        return cairn_error_set(failure == ENOENT ? CAIRN_BAD_INPUT : CAIRN_FAILED,
                               failure == ENOENT ? "git is not installed" : "cannot start git: %s",
                               strerror(failure));
    if (!reap(child, in_time ? deadline : 0, &got->code))
        return cairn_error_set(CAIRN_FAILED, "git did not answer within %d seconds", SECONDS);
    return CAIRN_OK;
}

/* Answers ---------------------------------------------------------------------------------------*/

/* git's own reason: the line that says what is fatal, else its first. A folder that is in no
 * repository is nothing to wonder at: CAIRN_BAD_INPUT. */
static cairn_status explain(const answer *got) {
    static const char mark[] = "fatal: ";
    const char *fatal = strstr(got->error, mark);
    const char *line = fatal ? fatal + sizeof mark - 1 : got->error;
    int length = (int)strcspn(line, "\n");
    bool none = strncmp(line, "not a git repository", 20) == 0;
    if (length == 0)
        return cairn_error_set(CAIRN_FAILED, "git ended with code %d", got->code);
    return cairn_error_set(none ? CAIRN_BAD_INPUT : CAIRN_FAILED, "git: %.*s", length, line);
}

/* Every variable of every filter, set to nothing: "-c", "filter.<name>.<variable>=", ... of which
 * `kept` holds the text. A name with "=" cannot be said so. */
static cairn_status empty_filters(const answer *filters, char **arguments, size_t *count,
                                  char kept[2 * ANSWER]) {
    size_t used = 0;
    for (size_t at = 0; at < filters->size; at += strlen(filters->out + at) + 1) {
        const char *name = filters->out + at;
        const char *variable = strrchr(name, '.');
        bool required = variable && strcmp(variable, ".required") == 0;
        if (strchr(name, '=') || *count + 2 > OPTIONS || filters->size + 1 >= ANSWER)
            return cairn_error_set(CAIRN_FAILED,
                                   "git is not asked: it has filters that cannot be switched off");
        arguments[(*count)++] = "-c";
        arguments[(*count)++] = kept + used;
        used += 1 + (size_t)snprintf(kept + used, 2 * ANSWER - used, "%s=%s", name,
                                     required ? "false" : "");
    }
    return CAIRN_OK;
}

/* "# branch.oid <hash>" before the first commit is "(initial)". Any line without # is a change. */
static cairn_status read_status(const answer *got, char revision[CAIRN_DIGEST_HEX], bool *dirty) {
    static const char head[] = "# branch.oid ";
    *dirty = false;
    for (const char *line = got->out; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, head, sizeof head - 1) == 0 && line[sizeof head - 1] != '(')
            snprintf(revision, CAIRN_DIGEST_HEX, "%.*s", (int)strcspn(line + sizeof head - 1, "\n"),
                     line + sizeof head - 1);
        *dirty = *dirty || *line != '#';
    }
    return *revision ? CAIRN_OK
                     : cairn_error_set(CAIRN_FAILED, "the git repository has no commit yet");
}

static cairn_status look(answer *got, char kept[2 * ANSWER], char revision[CAIRN_DIGEST_HEX],
                         bool *dirty) {
    char *arguments[OPTIONS + sizeof ask_status / sizeof ask_status[0]] = {SAFELY};
    size_t count = 0;
    double deadline = cairn_clock_now() + SECONDS;
    while (arguments[count])
        count++;
    cairn_status status = ask(got, list_filters, deadline);
    if (!status && got->code != 0 && got->code != 1) /* 1: there are none */
        status = explain(got);
    if (!status)
        status = empty_filters(got, arguments, &count, kept);
    memcpy(arguments + count, ask_status, sizeof ask_status);
    if (!status)
        status = ask(got, arguments, deadline);
    if (!status && got->code != 0)
        status = explain(got);
    return status ? status : read_status(got, revision, dirty);
}

cairn_status cairn_git_look(char revision[CAIRN_DIGEST_HEX], bool *dirty) {
    answer *got = malloc(sizeof *got);
    char *kept = malloc(2 * ANSWER); /* "=false" is shorter than ".required" */
    *revision = '\0';
    cairn_status status = got && kept ? look(got, kept, revision, dirty)
                                      : cairn_error_set(CAIRN_FAILED, "out of memory to ask git");
    free(kept);
    free(got);
    return status;
}
