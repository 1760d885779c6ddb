/* What was meant by arguments that are refused. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* Whether an option's name, `length` characters, is a key's: "train.lr", "lr", "batch-size", or
 * "model" for model.name. */
static bool names_key(const char *option, size_t length, const char *key) {
    const char *dot = strchr(key, '.'), *leaf = dot ? dot + 1 : key;
    if (dot && strcmp(leaf, "name") == 0)
        return (size_t)(dot - key) == length && strncmp(option, key, length) == 0;
    for (int whole = 0; whole < 2; whole++) {
        const char *name = whole ? key : leaf;
        bool same = strlen(name) == length;
        for (size_t i = 0; same && i < length; i++)
            same = name[i] == (option[i] == '-' ? '_' : option[i]);
        if (same)
            return true;
    }
    return false;
}

cairn_status cairn_option_refuse(const char *command, const char *option, const char *next,
                                 bool takes_keys) {
    size_t count, length = strcspn(option, "=");
    const cairn_key *keys = cairn_config_keys(&count);
    const char *value = option[length]         ? option + length + 1
                        : next && *next != '-' ? next
                                               : "VALUE";
    for (size_t i = 0; takes_keys && length > 2 && i < count; i++)
        if (names_key(option + 2, length - 2, keys[i].name))
            return cairn_error_set(
                CAIRN_BAD_INPUT,
                "unknown option '%.*s'; keys of the configuration go with -S: -S %s=%s",
                (int)length, option, keys[i].name, value);
    return cairn_error_set(CAIRN_BAD_INPUT, "unknown option '%s'; see `cairn %s --help`", option,
                           command);
}

static const cairn_key *find_list(const char *override) {
    size_t count, length = strcspn(override, "=");
    const cairn_key *keys = cairn_config_keys(&count);
    for (size_t i = 0; override[length] && i < count; i++)
        if (keys[i].type == CAIRN_KEY_LIST && strncmp(override, keys[i].name, length) == 0 &&
            keys[i].name[length] == '\0')
            return &keys[i];
    return NULL;
}

cairn_status cairn_override_check_split(const char *override, char *const *next) {
    char whole[CAIRN_TEXT_MAX];
    if (!find_list(override) || !*next || (*next)[strspn(*next, "0123456789,]")])
        return CAIRN_OK;
    int used = snprintf(whole, sizeof whole, "%s", override);
    for (; *next && !(*next)[strspn(*next, "0123456789,]")] && used < (int)sizeof whole; next++)
        used += snprintf(whole + used, sizeof whole - (size_t)used, " %s", *next);
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "-S %s: the shell took the blank for an argument's end; quote it: "
                           "-S '%s'",
                           override, whole);
}
