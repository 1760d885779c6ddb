/* Reading a configuration: a walk over libyaml's events, two mappings deep, that hands each scalar
 * to its key. The walk stops at the first thing that does not belong, so neither deep nesting nor
 * chains of aliases cost anything: an alias can only stand for one scalar seen before. Merge keys
 * (<<) are refused: they are no part of YAML 1.2, and no two sections share a key.
 *
 * An override "key=value" takes the same way: its value is read as a YAML document of one scalar.
 */
#include "keys.h"

#include "cairn/file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

enum { PATH_BYTES = 2 * CAIRN_SHOWN_MAX, FILE_BYTES_MAX = 1 << 20 };

/* A scalar that an alias may repeat. */
typedef struct anchor {
    struct anchor *next;
    char *name;
    cairn_scalar scalar;
} anchor;

typedef struct {
    yaml_parser_t parser;
    const char *file;     /* what messages begin with: the file's name ... */
    const char *override; /* ... or this "key=value" */
    const char *text;
    size_t size;
    anchor *anchors;
    cairn_config *config;
    size_t key_line[CAIRN_KEYS_MAX];     /* where a key was given; 0: not yet */
    size_t section_line[CAIRN_KEYS_MAX]; /* the same for a section, by its first key */
} config_walk;

/* One thing of the walk. A SECTION or LIST is only its beginning. */
typedef enum { VALUE, SECTION, LIST, END } node_kind;

typedef struct {
    node_kind kind;
    cairn_scalar scalar; /* of a VALUE; of others only the place */
} walk_node;

/* CAIRN_BAD_INPUT with "file:line:column: ", or "-S key=value: " before the message. */
__attribute__((format(printf, 4, 5))) static cairn_status
refuse(const config_walk *walk, size_t line, size_t column, const char *format, ...) {
    char text[1024], shown[CAIRN_SHOWN_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (walk->override)
        return cairn_error_set(CAIRN_BAD_INPUT, "-S %s: %s", cairn_show(walk->override, shown),
                               text);
    return cairn_error_set(CAIRN_BAD_INPUT, "%s:%zu:%zu: %s", walk->file, line, column, text);
}

/* The line and column of a byte, for errors that libyaml gives by offset alone. Columns count
 * characters, and a byte order mark is none, as in libyaml's own marks. */
static void locate(const config_walk *walk, size_t offset, size_t *line, size_t *column) {
    bool mark = walk->size >= 3 && memcmp(walk->text, "\xef\xbb\xbf", 3) == 0;
    *line = *column = 1;
    for (size_t i = mark ? 3 : 0; i < offset && i < walk->size; i++) {
        *column += ((unsigned char)walk->text[i] & 0xc0) != 0x80;
        if (walk->text[i] == '\n') {
            ++*line;
            *column = 1;
        }
    }
}

static cairn_status refuse_syntax(const config_walk *walk) {
    const yaml_parser_t *parser = &walk->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return cairn_error_set(CAIRN_FAILED, "out of memory reading the configuration");
    if (parser->error == YAML_READER_ERROR) {
        size_t line, column;
        locate(walk, parser->problem_offset, &line, &column);
        return refuse(walk, line, column, "not readable as UTF-8 text: %s (0x%02x)",
                      parser->problem, (unsigned)parser->problem_value);
    }
    size_t line = parser->problem_mark.line + 1, column = parser->problem_mark.column + 1;
    size_t offset = parser->problem_mark.index;
    if (offset < walk->size && walk->text[offset] == '\t')
        return refuse(walk, line, column, "not YAML: found a tab; indent with spaces");
    return refuse(walk, line, column, "not YAML: %s%s%s", parser->problem,
                  parser->context ? " " : "", parser->context ? parser->context : "");
}

static cairn_status next_event(config_walk *walk, yaml_event_t *event) {
    if (!yaml_parser_parse(&walk->parser, event))
        return refuse_syntax(walk);
    return CAIRN_OK;
}

/* Keeps a scalar for aliases. A later anchor of the same name hides the earlier. */
static cairn_status keep_anchor(config_walk *walk, const char *name, const cairn_scalar *scalar) {
    anchor *kept = malloc(sizeof *kept);
    char *copy = strdup(name);
    if (!kept || !copy) {
        free(kept);
        free(copy);
        return cairn_error_set(CAIRN_FAILED, "out of memory reading the configuration");
    }
    *kept = (anchor){walk->anchors, copy, *scalar};
    walk->anchors = kept;
    /* cppcheck-suppress memleak ; the list holds the copy: the initialiser is not followed */
    return CAIRN_OK;
}

static cairn_status follow_alias(config_walk *walk, const char *name, cairn_scalar *scalar) {
    char shown[CAIRN_SHOWN_MAX];
    size_t line = scalar->line, column = scalar->column;
    for (const anchor *kept = walk->anchors; kept; kept = kept->next) {
        if (strcmp(kept->name, name) != 0)
            continue;
        *scalar = kept->scalar;
        scalar->line = line;
        scalar->column = column;
        return CAIRN_OK;
    }
    return refuse(walk, line, column, "found the alias *%s; no value before it has the anchor &%s",
                  cairn_show(name, shown), shown);
}

static cairn_status take_scalar(config_walk *walk, const yaml_event_t *event,
                                cairn_scalar *scalar) {
    const char *text = (const char *)event->data.scalar.value;
    const char *tag = (const char *)event->data.scalar.tag;
    const char *name = (const char *)event->data.scalar.anchor;
    char shown[CAIRN_SHOWN_MAX];
    scalar->size = event->data.scalar.length;
    scalar->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (memchr(text, '\0', scalar->size))
        return refuse(walk, scalar->line, scalar->column,
                      "found a zero byte in a text; it must be printable text");
    size_t fits = scalar->size < sizeof scalar->text ? scalar->size : sizeof scalar->text - 1;
    memcpy(scalar->text, text, fits);
    if (tag && strcmp(tag, YAML_STR_TAG) == 0)
        scalar->plain = false;
    else if (tag)
        return refuse(walk, scalar->line, scalar->column,
                      "found the tag %s; write the value without a tag", cairn_show(tag, shown));
    return name ? keep_anchor(walk, name, scalar) : CAIRN_OK;
}

static cairn_status next_node(config_walk *walk, walk_node *node) {
    yaml_event_t event;
    cairn_status status = next_event(walk, &event);
    if (status)
        return status;
    memset(node, 0, sizeof *node);
    node->scalar.line = event.start_mark.line + 1;
    node->scalar.column = event.start_mark.column + 1;
    if (event.type == YAML_SCALAR_EVENT)
        status = take_scalar(walk, &event, &node->scalar);
    else if (event.type == YAML_ALIAS_EVENT)
        status = follow_alias(walk, (const char *)event.data.alias.anchor, &node->scalar);
    else if (event.type == YAML_MAPPING_START_EVENT)
        node->kind = SECTION;
    else if (event.type == YAML_SEQUENCE_START_EVENT)
        node->kind = LIST;
    else
        node->kind = END;
    yaml_event_delete(&event);
    return status;
}

/* ------------------------------------------------------------------------------------------- */

static size_t key_index(const cairn_key *key) {
    size_t count;
    return (size_t)(key - cairn_config_keys(&count));
}

/* Notes the first line that gives something; the second is refused. */
static cairn_status note_line(const config_walk *walk, size_t *noted, const cairn_scalar *name,
                              const char *path) {
    if (*noted)
        return refuse(walk, name->line, name->column,
                      "%s: found a second time, first on line %zu; keep one", path, *noted);
    *noted = name->line;
    return CAIRN_OK;
}

static cairn_status refuse_unknown(const config_walk *walk, const cairn_scalar *name,
                                   const char *section, const char *path) {
    char near[CAIRN_SHOWN_MAX], known[512];
    const cairn_key *key = cairn_key_find(name->text);
    if (strcmp(name->text, "<<") == 0 && name->plain)
        return refuse(walk, name->line, name->column,
                      "%s: found a merge key; write the section's keys out", path);
    if (!*section && key)
        return refuse(
            walk, name->line, name->column, "%s: found a dotted name; write %s: under %.*s:", path,
            key->name + cairn_key_section(key) + 1, (int)cairn_key_section(key), key->name);
    if (cairn_key_suggest(path, near, sizeof near))
        return refuse(walk, name->line, name->column, "%s: unknown key; did you mean %s?", path,
                      near);
    return refuse(walk, name->line, name->column, "%s: unknown key; %s%shas %s", path, section,
                  *section ? " " : "the top level ",
                  cairn_section_keys(section, known, sizeof known));
}

static cairn_status set_value(config_walk *walk, const cairn_key *key, const walk_node *value) {
    char where[1024], shown[CAIRN_SHOWN_MAX], expected[256];
    if (walk->override)
        snprintf(where, sizeof where, "-S %s", cairn_show(walk->override, shown));
    else
        snprintf(where, sizeof where, "%s:%zu:%zu: %s", walk->file, value->scalar.line,
                 value->scalar.column, key->name);
    if (value->kind != VALUE)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: found a %s; it must be %s", where,
                               value->kind == SECTION ? "section" : "list",
                               cairn_config_expected(key, expected, sizeof expected));
    return cairn_value_set(walk->config, key, &value->scalar, where);
}

static cairn_status read_mapping(config_walk *walk, const char *section);

/* One `name: value` of a section; "" is the top level. */
static cairn_status read_entry(config_walk *walk, const char *section, const cairn_scalar *name) {
    char path[PATH_BYTES], shown[CAIRN_SHOWN_MAX], known[512];
    walk_node value;
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
        status = next_node(walk, &value);
    if (status)
        return status;
    if (!first)
        return set_value(walk, key, &value);
    if (value.kind == SECTION)
        return read_mapping(walk, path);
    if (value.kind == VALUE && cairn_scalar_is_null(&value.scalar))
        return CAIRN_OK; /* a section whose keys are all commented out */
    return refuse(walk, value.scalar.line, value.scalar.column,
                  "%s: found %s; it must be a section with %s", path,
                  value.kind == LIST ? "a list" : cairn_show(value.scalar.text, shown),
                  cairn_section_keys(path, known, sizeof known));
}

static cairn_status read_mapping(config_walk *walk, const char *section) {
    for (;;) {
        walk_node name;
        cairn_status status = next_node(walk, &name);
        if (status || name.kind == END)
            return status;
        if (name.kind != VALUE)
            return refuse(walk, name.scalar.line, name.scalar.column,
                          "found a %s as a key; a key must be a name",
                          name.kind == LIST ? "list" : "section");
        status = read_entry(walk, section, &name.scalar);
        if (status)
            return status;
    }
}

/* Up to the document's first node; `*empty` when the stream ends before one. */
static cairn_status begin_document(config_walk *walk, bool *empty) {
    yaml_event_t event;
    for (yaml_event_type_t last = YAML_NO_EVENT; last != YAML_DOCUMENT_START_EVENT;) {
        cairn_status status = next_event(walk, &event);
        if (status)
            return status;
        last = event.type;
        yaml_event_delete(&event);
        *empty = last == YAML_STREAM_END_EVENT;
        if (*empty)
            break;
    }
    return CAIRN_OK;
}

/* After the document's last node: nothing more may come. */
static cairn_status end_document(config_walk *walk) {
    yaml_event_t event;
    for (;;) {
        cairn_status status = next_event(walk, &event);
        if (status)
            return status;
        yaml_event_type_t type = event.type;
        size_t line = event.start_mark.line + 1, column = event.start_mark.column + 1;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return CAIRN_OK;
        if (type == YAML_DOCUMENT_START_EVENT)
            return refuse(walk, line, column,
                          "found a second document; a configuration is one document");
    }
}

static cairn_status read_document(config_walk *walk) {
    walk_node top;
    char shown[CAIRN_SHOWN_MAX];
    bool empty;
    cairn_status status = begin_document(walk, &empty);
    if (status)
        return status;
    if (empty)
        return refuse(walk, 1, 1,
                      "found no keys; `cairn params` lists those that a "
                      "configuration has");
    status = next_node(walk, &top);
    if (status)
        return status;
    if (top.kind != SECTION)
        return refuse(walk, top.scalar.line, top.scalar.column,
                      "found %s; the top level must be keys and sections, such as seed: 42",
                      top.kind == LIST                    ? "a list"
                      : cairn_scalar_is_null(&top.scalar) ? "nothing"
                                                          : cairn_show(top.scalar.text, shown));
    status = read_mapping(walk, "");
    return status ? status : end_document(walk);
}

/* The value of an override; nothing at all is null. */
static cairn_status read_override(config_walk *walk, const cairn_key *key) {
    walk_node value = {.scalar.plain = true};
    bool empty;
    cairn_status status = begin_document(walk, &empty);
    if (!status && !empty) {
        status = next_node(walk, &value);
        if (!status && value.kind == VALUE)
            status = end_document(walk);
    }
    return status ? status : set_value(walk, key, &value);
}

/* ------------------------------------------------------------------------------------------- */

static cairn_status open_walk(config_walk *walk) {
    if (!yaml_parser_initialize(&walk->parser))
        return cairn_error_set(CAIRN_FAILED, "out of memory reading the configuration");
    yaml_parser_set_input_string(&walk->parser, (const unsigned char *)walk->text, walk->size);
    return CAIRN_OK;
}

static void close_walk(config_walk *walk) {
    while (walk->anchors) {
        anchor *next = walk->anchors->next;
        free(walk->anchors->name);
        free(walk->anchors);
        walk->anchors = next;
    }
    yaml_parser_delete(&walk->parser);
}

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
        .override = override, .text = equals + 1, .size = strlen(equals + 1), .config = config};
    cairn_status status = open_walk(&walk);
    if (status)
        return status;
    status = read_override(&walk, key);
    close_walk(&walk);
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

cairn_status cairn_config_parse(cairn_config *config, const char *text, size_t size,
                                const char *name, const char *const *overrides,
                                size_t override_count) {
    cairn_config read;
    bool given[CAIRN_KEYS_MAX] = {false};
    config_walk walk = {.file = name, .text = text, .size = size, .config = &read};
    if (size > FILE_BYTES_MAX)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: found %zu bytes; a configuration has at most "
                               "%d",
                               name, size, FILE_BYTES_MAX);
    if (size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return refuse(&walk, 1, 1, "found UTF-16 text; save the file as UTF-8");
    cairn_status status = set_defaults(&read);
    if (!status)
        status = open_walk(&walk);
    if (status)
        return status;
    status = read_document(&walk);
    close_walk(&walk);
    for (size_t i = 0; i < CAIRN_KEYS_MAX; i++)
        given[i] = walk.key_line[i] > 0;
    for (size_t i = 0; i < override_count && !status; i++)
        status = apply_override(&read, overrides[i], given);
    if (!status)
        status = check_required(name, given);
    if (!status)
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
