/* TensorBoard in a build without protobuf-c: nothing, and a word to those who ask for it. */
#include "train.h"

#ifndef CAIRN_WITH_PROTOBUF

cairn_status cairn_board_check(const cairn_config *config) {
    return config->tensorboard.enabled
               ? cairn_error_set(CAIRN_BAD_INPUT,
                                 "tensorboard.enabled: is true, but this program was built without "
                                 "protobuf-c; build it with libprotobuf-c and protoc-c, or leave "
                                 "it false")
               : CAIRN_OK;
}
cairn_status cairn_board_open(cairn_board **board, const cairn_run_folder *folder,
                              const cairn_checkpoint *at, const cairn_dataset *data,
                              cairn_executor *executor) {
    (void)folder, (void)at, (void)data, (void)executor;
    *board = NULL;
    return CAIRN_OK;
}
cairn_status cairn_board_begin_step(cairn_board *board, const cairn_step *step) {
    (void)board, (void)step;
    return CAIRN_OK;
}
cairn_status cairn_board_end_step(cairn_board *board, const cairn_step *step) {
    (void)board, (void)step;
    return CAIRN_OK;
}
cairn_status cairn_board_epoch(cairn_board *board, const cairn_checkpoint *at, double rate) {
    (void)board, (void)at, (void)rate;
    return CAIRN_OK;
}
cairn_status cairn_board_sync(cairn_board *board) {
    (void)board;
    return CAIRN_OK;
}
cairn_status cairn_board_finish(cairn_board *board, const cairn_checkpoint *at) {
    (void)board, (void)at;
    return CAIRN_OK;
}
void cairn_board_close(cairn_board *board) {
    (void)board;
}

#endif
