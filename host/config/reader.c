/* Reading a configuration: a walk over a YAML document, two mappings deep, that hands each value to
 * its key. It stops at the first thing that does not belong, so deep nesting costs nothing. Merge
 * keys (<<) are refused: they are no part of YAML 1.2, and no two sections share a key.
 *
 * An override "key=value" takes the same way: its value is read as a YAML document of one value.
 */
#include "nodes.h"

#include "cairn/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_BYTES = 2 * CAIRN_SHOWN_MAX, FILE_BYTES_MAX = 1 << 20 };

typedef struct {
    cairn_nodes nodes;
    cairn_config *config;
    bool lists;                          /* a value was a list */
    size_t key_line[CAIRN_KEYS_MAX];     /* where a key was given; 0: not yet */
    size_t section_line[CAIRN_KEYS_MAX]; /* the same for a section, by its first key */
} config_walk;

static size_t key_index(const cairn_key *key) {
    size_t count;
    return (size_t)(key - cairn_config_keys(&count));
}

/* Notes the first line that gives something; the second is refused. */
static cairn_status note_line(const config_walk *walk, size_t *noted, const cairn_scalar *name,
                              const char *path) {
    if (*noted)
        return cairn_nodes_refuse(&walk->nodes, name->line, name->column,
                                  "%s: found a second time, first on line %zu; keep one", path,
                                  *noted);
    *noted = name->line;
    return CAIRN_OK;
}

static cairn_status refuse_unknown(const config_walk *walk, const cairn_scalar *name,
                                   const char *section, const char *path) {
    char near[CAIRN_SHOWN_MAX], known[512];
    const cairn_key *key = cairn_key_find(name->text);
    if (strcmp(name->text, "<<") == 0 && name->plain)
        return cairn_nodes_refuse(&walk->nodes, name->line, name->column,
                                  "%s: found a merge key; write the section's keys out", path);
    if (!*section && key)
        return cairn_nodes_refuse(&walk->nodes, name->line, name->column,
                                  "%s: found a dotted name; write %s: under %.*s:", path,
                                  key->name + cairn_key_section(key) + 1,
                                  (int)cairn_key_section(key), key->name);
    if (cairn_key_suggest(path, near, sizeof near))
        return cairn_nodes_refuse(&walk->nodes, name->line, name->column,
                                  "%s: unknown key; did you mean %s?", path, near);
    return cairn_nodes_refuse(&walk->nodes, name->line, name->column, "%s: unknown key; %s%shas %s",
                              path, section, *section ? " " : "the top level ",
                              cairn_section_keys(section, known, sizeof known));
}

/* The rest of a list, as one scalar: its words with a blank between. `*flat` is false, and the walk
 * stops, where it holds anything but words. */
static cairn_status read_list(config_walk *walk, cairn_scalar *list, bool *flat) {
    cairn_node item;
    list->plain = true;
    for (*flat = true; *flat;) {
        cairn_status status = cairn_nodes_next(&walk->nodes, &item);
        if (status || item.kind == END)
            return status;
        const char *word = item.scalar.text;
        size_t start = list->size + (list->size > 0);
        *flat = item.kind == VALUE && *word && !strchr(word, ' ');
        list->size = start + item.scalar.size;
        if (list->size < sizeof list->text) {
            if (start)
                list->text[start - 1] = ' ';
            memcpy(list->text + start, word, item.scalar.size);
        }
    }
    return CAIRN_OK;
}

static cairn_status set_value(config_walk *walk, const cairn_key *key, cairn_node *value) {
    char where[1024], shown[CAIRN_SHOWN_MAX], expected[256];
    bool flat = false;
    cairn_status status = CAIRN_OK;
    if (walk->nodes.override)
        snprintf(where, sizeof where, "-S %s", cairn_show(walk->nodes.override, shown));
    else
        snprintf(where, sizeof where, "%s:%zu:%zu: %s", walk->nodes.file, value->scalar.line,
                 value->scalar.column, key->name);
    if (value->kind == LIST && key->type == CAIRN_KEY_LIST)
        status = read_list(walk, &value->scalar, &flat);
    if (status)
        return status;
    walk->lists |= flat;
    if (value->kind != VALUE && !flat)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: found a %s; it must be %s", where,
                               value->kind == SECTION ? "section" : "list",
                               cairn_config_expected(key, expected, sizeof expected));
    return cairn_value_set(walk->config, key, &value->scalar, where);
}

static cairn_status read_mapping(config_walk *walk, const char *section);

/* One `name: value` of a section; "" is the top level. */
static cairn_status read_entry(config_walk *walk, const char *section, const cairn_scalar *name) {
    char path[PATH_BYTES], shown[CAIRN_SHOWN_MAX], known[512];
    cairn_node value;
    snprintf(path, sizeof path, "%s%s%s", section, *section ? "." : "",
             cairn_show(name->text, shown));
    const cairn_key *key = cairn_key_find(path);
    const cairn_key *first = *section ? NULL : cairn_section_find(path);
    if (!first && (!key || cairn_key_section(key) != strlen(section)))
        return refuse_unknown(walk, name, section, path);
    cairn_status status = note_line(
        walk, first ? &walk->section_line[key_index(first)] : &walk->key_line[key_index(key)], name,
        path);
    if (!status)
        status = cairn_nodes_next(&walk->nodes, &value);
    if (status)
        return status;
    if (!first)
        return set_value(walk, key, &value);
    if (value.kind == SECTION)
        return read_mapping(walk, path);
    if (value.kind == VALUE && cairn_scalar_is_null(&value.scalar))
        return CAIRN_OK; /* a section whose keys are all commented out */
    return cairn_nodes_refuse(&walk->nodes, value.scalar.line, value.scalar.column,
                              "%s: found %s; it must be a section with %s", path,
                              value.kind == LIST ? "a list" : cairn_show(value.scalar.text, shown),
                              cairn_section_keys(path, known, sizeof known));
}

static cairn_status read_mapping(config_walk *walk, const char *section) {
    for (;;) {
        cairn_node name;
        cairn_status status = cairn_nodes_next(&walk->nodes, &name);
        if (status || name.kind == END)
            return status;
        if (name.kind != VALUE)
            return cairn_nodes_refuse(&walk->nodes, name.scalar.line, name.scalar.column,
                                      "found a %s as a key; a key must be a name",
                                      name.kind == LIST ? "list" : "section");
        status = read_entry(walk, section, &name.scalar);
        if (status)
            return status;
    }
}

static cairn_status read_document(config_walk *walk) {
    cairn_node top;
    char shown[CAIRN_SHOWN_MAX];
    bool empty;
    cairn_status status = cairn_nodes_begin_document(&walk->nodes, &empty);
    if (status)
        return status;
    if (empty)
        return cairn_nodes_refuse(&walk->nodes, 1, 1,
                                  "found no keys; `cairn params` lists those that a "
                                  "configuration has");
    status = cairn_nodes_next(&walk->nodes, &top);
    if (status)
        return status;
    if (top.kind != SECTION)
        return cairn_nodes_refuse(
            &walk->nodes, top.scalar.line, top.scalar.column,
            "found %s; the top level must be keys and sections, such as seed: 42",
            top.kind == LIST                    ? "a list"
            : cairn_scalar_is_null(&top.scalar) ? "nothing"
                                                : cairn_show(top.scalar.text, shown));
    status = read_mapping(walk, "");
    return status ? status : cairn_nodes_end_document(&walk->nodes);
}

/* The value of an override; nothing at all is null. */
static cairn_status read_override(config_walk *walk, const cairn_key *key) {
    cairn_node value = {.scalar.plain = true};
    bool empty;
    cairn_status status = cairn_nodes_begin_document(&walk->nodes, &empty);
    if (!status && !empty)
        status = cairn_nodes_next(&walk->nodes, &value);
    if (!status)
        status = set_value(walk, key, &value);
    return status || empty ? status : cairn_nodes_end_document(&walk->nodes);
}

/* ------------------------------------------------------------------------------------------- */

/* `given` counts for the check for required keys. */
static cairn_status apply_override(cairn_config *config, const char *override, bool *given) {
    char name[PATH_BYTES], shown[CAIRN_SHOWN_MAX], near[CAIRN_SHOWN_MAX], known[512];
    const char *equals = strchr(override, '=');
    cairn_show(override, shown);
    if (!equals)
        return cairn_error_set(CAIRN_BAD_INPUT, "-S %s: found no '='; write -S key=value", shown);
    snprintf(name, sizeof name, "%.*s", (int)(equals - override), override);
    const cairn_key *key = cairn_key_find(name);
    if (!key && cairn_section_find(name))
        return cairn_error_set(CAIRN_BAD_INPUT, "-S %s: %s is a section; set one of its keys: %s",
                               shown, name, cairn_section_keys(name, known, sizeof known));
    if (!key && cairn_key_suggest(name, near, sizeof near))
        return cairn_error_set(CAIRN_BAD_INPUT, "-S %s: unknown key; did you mean %s?", shown,
                               near);
    if (!key)
        return cairn_error_set(CAIRN_BAD_INPUT, "-S %s: unknown key; `cairn params` lists them",
                               shown);
    config_walk walk = {
        .nodes = {.override = override, .text = equals + 1, .size = strlen(equals + 1)},
        .config = config};
    cairn_status status = cairn_nodes_open(&walk.nodes);
    if (status)
        return status;
    status = read_override(&walk, key);
    cairn_nodes_close(&walk.nodes);
    given[key_index(key)] |= status == CAIRN_OK;
    return status;
}

/* Defaults come from the table's own texts, by the way of every other value. */
static cairn_status set_defaults(cairn_config *config) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < count; i++) {
        cairn_scalar scalar = {.plain = true};
        if (!keys[i].fallback)
            continue;
        scalar.size = strlen(keys[i].fallback);
        memcpy(scalar.text, keys[i].fallback, scalar.size);
        cairn_status status = cairn_value_set(config, &keys[i], &scalar, keys[i].name);
        if (status)
            return status;
    }
    return CAIRN_OK;
}

static cairn_status check_required(const char *name, const bool *given) {
    char missing[512] = "";
    size_t count, used = 0;
    const cairn_key *keys = cairn_config_keys(&count);
    for (size_t i = 0; i < count; i++)
        if (!keys[i].fallback && !given[i] && used < sizeof missing)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s",
                                     used ? ", " : "", keys[i].name);
    if (used)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: missing %s; add to the file or give -S "
                               "key=value",
                               name, missing);
    return CAIRN_OK;
}

/* A file that an earlier version recorded has every key of the model, and no lists: they were
 * texts, of which "32 64 128" stood for any model's own widths. */
static bool was_recorded_without_lists(const config_walk *walk) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    bool whole = !walk->lists;
    for (size_t i = 0; i < count; i++)
        whole = whole && (walk->key_line[i] || strncmp(keys[i].name, "model.", 6) != 0);
    return whole;
}

cairn_status cairn_config_parse(cairn_config *config, const char *text, size_t size,
                                const char *name, const char *const *overrides,
                                size_t override_count) {
    cairn_config read;
    bool given[CAIRN_KEYS_MAX] = {false};
    config_walk walk = {.nodes = {.file = name, .text = text, .size = size}, .config = &read};
    if (size > FILE_BYTES_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: found %zu bytes; a configuration has at most "
                               "%d",
                               name, size, FILE_BYTES_MAX);
    if (size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return cairn_nodes_refuse(&walk.nodes, 1, 1, "found UTF-16 text; save the file as UTF-8");
    cairn_status status = set_defaults(&read);
    if (!status)
        status = cairn_nodes_open(&walk.nodes);
    if (status)
        return status;
    status = read_document(&walk);
    cairn_nodes_close(&walk.nodes);
    for (size_t i = 0; i < CAIRN_KEYS_MAX; i++)
        given[i] = walk.key_line[i] > 0;
    if (!status && was_recorded_without_lists(&walk))
        cairn_widths_settle(&read, "32 64 128");
    for (size_t i = 0; i < override_count && !status; i++)
        status = apply_override(&read, overrides[i], given);
    if (!status)
        status = check_required(name, given);
    if (status)
        return status;
    cairn_widths_settle(&read, NULL);
    *config = read;
    return status;
}

cairn_status cairn_config_read(cairn_config *config, const char *path, const char *const *overrides,
                               size_t override_count) {
    uint8_t *text;
    size_t size;
    struct stat info;
    if (stat(path, &info) != 0 && errno == ENOENT)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: no such file; name a configuration with "
                               "--params FILE, or write one (`cairn params` lists the keys)",
                               path);
    cairn_status status = cairn_file_read_at_most(path, FILE_BYTES_MAX, &text, &size);
    if (status)
        return status;
    status = cairn_config_parse(config, (const char *)text, size, path, overrides, override_count);
    free(text);
    return status;
}
