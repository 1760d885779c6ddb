/* What the tests of data sets share: opening one, and its digest. */
#ifndef CAIRN_TESTS_UNIT_DATASETS_H
#define CAIRN_TESTS_UNIT_DATASETS_H

#include "cairn/dataset.h"

static inline cairn_dataset *open_dataset(const cairn_config *config) {
    cairn_dataset *dataset = NULL;
    if (cairn_dataset_open(&dataset, config))
        fail_msg("%s", cairn_error_message());
    return dataset;
}

/* Holds until the call after the next. */
static inline const char *digest_of(const cairn_dataset *dataset) {
    static char hex[2][CAIRN_DIGEST_HEX];
    static int turn;
    turn = !turn;
    assert_int_equal(cairn_dataset_digest(dataset, hex[turn]), CAIRN_OK);
    return hex[turn];
}

#endif
