/* What the tests of the configuration share: a short one, overrides of it, values and messages. */
#ifndef CAIRN_TESTS_UNIT_CONFIGURATIONS_H
#define CAIRN_TESTS_UNIT_CONFIGURATIONS_H

#include "cairn/config.h"

#include <stdlib.h>
#include <string.h>

/* Everything required, on three lines; cases begin on line 4. */
#define REQUIRED                                                                                   \
    "data: {dir: d}\n"                                                                             \
    "run: {name: r}\n"                                                                             \
    "train: {epochs: 3, batch_size: 128, lr: 0.5}\n"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline cairn_status parse(cairn_config *config, const char *text) {
    return cairn_config_parse(config, text, strlen(text), "p.yaml", NULL, 0);
}

static inline cairn_status override(cairn_config *config, const char *assignment) {
    return cairn_config_parse(config, REQUIRED, strlen(REQUIRED), "p.yaml", &assignment, 1);
}

static inline const cairn_key *find_key(const char *name) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    fail_msg("no key %s", name);
    return NULL;
}

static inline void assert_value(const cairn_config *config, const char *name,
                                const char *expected) {
    char value[CAIRN_TEXT_MAX];
    assert_string_equal(cairn_config_value(config, find_key(name), value, sizeof value), expected);
}

static inline void assert_refused(cairn_status status, const char *message) {
    assert_int_equal(status, CAIRN_BAD_INPUT);
    assert_string_equal(cairn_error_message(), message);
    assert_null(strchr(cairn_error_message(), '\n'));
}

/* What the configuration is written as reads back as it was. */
static inline void assert_round_trip(const cairn_config *config) {
    cairn_config again;
    char *text;
    assert_int_equal(cairn_config_format(config, &text), CAIRN_OK);
    if (parse(&again, text))
        fail_msg("%s in\n%s", cairn_error_message(), text);
    assert_memory_equal(config, &again, sizeof again);
    free(text);
}

#endif
