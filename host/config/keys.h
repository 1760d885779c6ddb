/* What the files of host/config/ share: a YAML scalar, the keys of the schema, and how one is
 * stored under the other. */
#ifndef CAIRN_CONFIG_KEYS_H
#define CAIRN_CONFIG_KEYS_H

#include "cairn/config.h"

enum { CAIRN_KEYS_MAX = 128 }; /* rows of the schema, at most */

/* A scalar as the file has it, with quotes and escapes undone. */
typedef struct {
    char text[CAIRN_TEXT_MAX]; /* cut when `size` does not fit */
    size_t size;
    bool plain;          /* written without quotes or block style, so it may be a number or null */
    size_t line, column; /* from 1 */
} cairn_scalar;

/* The names of models, for model.name. */
extern const cairn_choice cairn_model_choices[];

/* What stands for a model's own widths; and it takes the place of those, however they were given,
 * or of `former` ones, which once stood for them. */
#define CAIRN_WIDTHS_DEFAULT "default"
void cairn_widths_settle(cairn_config *config, const char *former);

/* Whether a text is of the form that a key of the schema wants. */
bool cairn_accepts_device(const char *text);
bool cairn_accepts_folder_name(const char *text);
bool cairn_accepts_path(const char *text);
bool cairn_accepts_milestones(const char *text);
bool cairn_accepts_widths(const char *text);

/* "; write cuda" for gpu, and the like; false: no device is meant. */
bool cairn_hint_device(const char *text, char *out, size_t size);

/* Plain and empty, ~ or null. */
bool cairn_scalar_is_null(const cairn_scalar *scalar);

/* Checks the scalar and stores it under `key`. Messages begin with `where` ("params.yaml:3:8:
 * train.lr"). */
cairn_status cairn_value_set(cairn_config *config, const cairn_key *key, const cairn_scalar *scalar,
                             const char *where);

/* The row of a dotted name, or NULL. */
const cairn_key *cairn_key_find(const char *name);

/* The part of a key's name before its dot: how long it is; 0 for a key at the top level. */
size_t cairn_key_section(const cairn_key *key);

/* The first key of a section, or NULL when there is no such section. */
const cairn_key *cairn_section_find(const char *section);

/* "epochs, batch_size, lr": the section's keys ("" for the top level, sections included). */
const char *cairn_section_keys(const char *section, char *out, size_t size);

/* The known key or section that an unknown name most probably means; NULL when none is near. */
const char *cairn_key_suggest(const char *name, char *out, size_t size);

enum { CAIRN_SHOWN_MAX = 100 };

/* Text of a user's for a message: as cairn/text.h shows it, cut when long. Returns `out`. */
const char *cairn_show(const char *text, char out[CAIRN_SHOWN_MAX]);

#endif
