/* `cairn train`. */
#include "cli.h"

static cairn_status run(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return cairn_error_set(CAIRN_FAILED, "train is not built yet");
}

const cairn_command cairn_command_train = {"train", "", "", run};
