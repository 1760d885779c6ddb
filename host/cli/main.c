/* The program `cairn`: finds the command, runs it, prints its error, returns its exit code. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

static const cairn_command command_help, command_version;

static const cairn_command *const commands[] = {
    &cairn_command_train, &cairn_command_eval,  &cairn_command_predict, &cairn_command_export,
    &cairn_command_data,  &cairn_command_model, &cairn_command_params,  &cairn_command_gradcheck,
    &cairn_command_bench, &cairn_command_info,  &command_help,          &command_version,
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *out) {
    fputs("usage: cairn COMMAND [ARGUMENT]...\n\n"
          "Trains image-classification networks as a params.yaml says.\n\ncommands:\n",
          out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`cairn help COMMAND` explains one.\n"
          "Exit codes: 0 done; 1 failed; 2 wrong usage, configuration or data; 130 interrupted.\n",
          out);
}

static cairn_status find_command(const cairn_command **found, const char *name) {
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        names[i] = commands[i]->name;
        if (strcmp(names[i], name) == 0) {
            *found = commands[i];
            return CAIRN_OK;
        }
    }
    const char *meant = cairn_name_suggest(name, names, COMMANDS);
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "unknown command '%s'%s%s%s `cairn help` lists the "
                           "commands",
                           name, meant ? ": did you mean '" : ";", meant ? meant : "",
                           meant ? "'?" : "");
}

static cairn_status run_help(int argc, char **argv) {
    if (argc > 2)
        return cairn_error_set(CAIRN_BAD_INPUT, "unexpected '%s'; see `cairn help --help`",
                               argv[2]);
    const cairn_command *command = NULL;
    cairn_status status = argc == 2 ? find_command(&command, argv[1]) : CAIRN_OK;
    if (command)
        fputs(command->help, stdout);
    else if (!status)
        print_help(stdout);
    return status;
}

static const cairn_command command_help = {
    "help", "explain a command",
    "usage: cairn help [COMMAND]\n\n"
    "Prints what `cairn COMMAND --help` prints; without COMMAND, lists the commands.\n",
    run_help};

static cairn_status run_version(int argc, char **argv) {
    if (argc > 1)
        return cairn_error_set(CAIRN_BAD_INPUT, "unexpected '%s'; see `cairn version --help`",
                               argv[1]);
    puts("cairn " CAIRN_VERSION);
    return CAIRN_OK;
}

static const cairn_command command_version = {
    "version", "print the version",
    "usage: cairn version\n\n"
    "Prints the version, as `cairn --version` does. `cairn info` says more.\n",
    run_version};

/* A closed stdin, stdout or stderr must not become a file that a run opens: messages would go into
 * it. */
static void open_standard_streams(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* What whoever started the program ignored: of a child that ends (git) nothing could be learned,
 * and a file that grows too large would end the program; ignored, that is an error of writing. */
static void settle_signals(void) {
    signal(SIGCHLD, SIG_DFL);
    signal(SIGXFSZ, SIG_IGN);
}

/* How long a thread of gcc's OpenMP spins before it sleeps, in rounds of a loop. Its own setting
 * spins for milliseconds: a program that shares the cores with others then stands still while
 * threads wait for one that cannot run. docs/benchmarks.md has what was measured. OpenMP reads it
 * when the program is loaded, so the program starts itself anew: by the name that it was started
 * by, and only where the kernel started that file itself, not a loader, an emulator or valgrind. */
static void settle_threads(char **argv) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): what the kernel left
    const char *path = (const char *)getauxval(AT_EXECFN);
    struct stat named, running;
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || !path || !getauxval(AT_BASE) ||
        stat(path, &named) != 0 || stat("/proc/self/exe", &running) != 0 ||
        named.st_ino != running.st_ino || named.st_dev != running.st_dev)
        return;
    if (setenv("GOMP_SPINCOUNT", "1000", 1) == 0)
        execv(path, argv); /* where it cannot, threads spin */
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* What a command prints is its result, which a full disk may have swallowed. Not of a training:
 * that has its files. */
static cairn_status check_output(void) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CAIRN_OK;
    return cairn_error_set(CAIRN_FAILED, "cannot write the output: %s",
                           strerror(errno ? errno : EIO));
}

/* The exit code, once the error is told. */
static int end(cairn_status status) {
    if (status == CAIRN_FAILED || status == CAIRN_BAD_INPUT)
        fprintf(stderr, "cairn: %s\n", cairn_error_message());
    return (int)status;
}

int main(int argc, char **argv) {
    open_standard_streams();
    settle_signals();
    settle_threads(argv);
    if (argc < 2) {
        print_help(stderr);
        return CAIRN_BAD_INPUT;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0)
        name = "version";
    const cairn_command *command = NULL;
    cairn_status status = find_command(&command, name);
    if (status)
        return end(status);
    if (wants_help(argc - 1, argv + 1)) {
        fputs(command->help, stdout);
        return end(check_output());
    }
    status = command->run(argc - 1, argv + 1);
    if (!status && command != &cairn_command_train)
        status = check_output();
    return end(status);
}
