/* The program `cairn`: finds the command, runs it, prints its error, returns its exit code. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cairn_command *const commands[] = {
    &cairn_command_train,     &cairn_command_eval,  &cairn_command_predict, &cairn_command_export,
    &cairn_command_gradcheck, &cairn_command_bench, &cairn_command_data,    &cairn_command_params,
    &cairn_command_info,      &cairn_command_model,
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *out) {
    fputs("usage: cairn COMMAND [ARGUMENT]...\n\n"
          "Trains image-classification CNNs from a params.yaml.\n\ncommands:\n",
          out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`cairn COMMAND --help` explains one. `cairn --version` prints the version.\n"
          "Exit codes: 0 done; 1 failed; 2 wrong usage, configuration or data; 130 interrupted.\n",
          out);
}

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
 * threads wait for one that cannot run. README.md has what was measured. OpenMP reads it when the
 * program is loaded, so the program starts itself anew. */
static void settle_threads(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("GOMP_SPINCOUNT", "1000", 1) == 0)
        execv("/proc/self/exe", argv); /* where it cannot, threads spin */
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static const cairn_command *find_command(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
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
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return end(check_output());
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("cairn " CAIRN_VERSION);
        return end(check_output());
    }
    const cairn_command *command = find_command(argv[1]);
    if (!command) {
        fprintf(stderr, "cairn: no command '%s'; `cairn --help` lists them\n", argv[1]);
        return CAIRN_BAD_INPUT;
    }
    if (wants_help(argc - 1, argv + 1)) {
        fputs(command->help, stdout);
        return end(check_output());
    }
    cairn_status status = command->run(argc - 1, argv + 1);
    if (!status && command != &cairn_command_train)
        status = check_output();
    return end(status);
}
