/* `cairn eval`. */
#include "cli.h"

static cairn_status run(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return cairn_error_set(CAIRN_FAILED, "eval is not built yet");
}

const cairn_command cairn_command_eval = {"eval", "", "", run};
