/* A YAML document as nodes, one after the other: libyaml's events, with aliases followed, and what
 * is no YAML refused by its place. An alias can only stand for one scalar seen before, so chains of
 * them cost nothing. */
#include "nodes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A scalar that an alias may repeat. */
struct cairn_anchor {
    struct cairn_anchor *next;
    char *name;
    cairn_scalar scalar;
};

cairn_status cairn_nodes_open(cairn_nodes *nodes) {
    if (!yaml_parser_initialize(&nodes->parser))
        return cairn_error_set(CAIRN_FAILED, "out of memory reading the configuration");
    yaml_parser_set_input_string(&nodes->parser, (const unsigned char *)nodes->text, nodes->size);
    return CAIRN_OK;
}

void cairn_nodes_close(cairn_nodes *nodes) {
    while (nodes->anchors) {
        struct cairn_anchor *next = nodes->anchors->next;
        free(nodes->anchors->name);
        free(nodes->anchors);
        nodes->anchors = next;
    }
    yaml_parser_delete(&nodes->parser);
}

cairn_status cairn_nodes_refuse(const cairn_nodes *nodes, size_t line, size_t column,
                                const char *format, ...) {
    char text[1024], shown[CAIRN_SHOWN_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (nodes->override)
        return cairn_error_set(CAIRN_BAD_INPUT, "-S %s: %s", cairn_show(nodes->override, shown),
                               text);
    return cairn_error_set(CAIRN_BAD_INPUT, "%s:%zu:%zu: %s", nodes->file, line, column, text);
}

/* The line and column of a byte, for errors that libyaml gives by offset alone. Columns count
 * characters, and a byte order mark is none, as in libyaml's own marks. */
static void locate(const cairn_nodes *nodes, size_t offset, size_t *line, size_t *column) {
    bool mark = nodes->size >= 3 && memcmp(nodes->text, "\xef\xbb\xbf", 3) == 0;
    *line = *column = 1;
    for (size_t i = mark ? 3 : 0; i < offset && i < nodes->size; i++) {
        *column += ((unsigned char)nodes->text[i] & 0xc0) != 0x80;
        if (nodes->text[i] == '\n') {
            ++*line;
            *column = 1;
        }
    }
}

static cairn_status refuse_syntax(const cairn_nodes *nodes) {
    const yaml_parser_t *parser = &nodes->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return cairn_error_set(CAIRN_FAILED, "out of memory reading the configuration");
    if (parser->error == YAML_READER_ERROR) {
        size_t line, column;
        locate(nodes, parser->problem_offset, &line, &column);
        char byte[16] = "";
        if (parser->problem_value >= 0) /* a text that ends too early has none */
            snprintf(byte, sizeof byte, " (0x%02x)", (unsigned)parser->problem_value);
        return cairn_nodes_refuse(nodes, line, column, "not readable as UTF-8 text: %s%s",
                                  parser->problem, byte);
    }
    size_t line = parser->problem_mark.line + 1, column = parser->problem_mark.column + 1;
    size_t offset = parser->problem_mark.index;
    if (offset < nodes->size && nodes->text[offset] == '\t')
        return cairn_nodes_refuse(nodes, line, column, "not YAML: found a tab; indent with spaces");
    return cairn_nodes_refuse(nodes, line, column, "not YAML: %s%s%s", parser->problem,
                              parser->context ? " " : "", parser->context ? parser->context : "");
}

static cairn_status next_event(cairn_nodes *nodes, yaml_event_t *event) {
    if (!yaml_parser_parse(&nodes->parser, event))
        return refuse_syntax(nodes);
    return CAIRN_OK;
}

/* Keeps a scalar for aliases. A later anchor of the same name hides the earlier. */
static cairn_status keep_anchor(cairn_nodes *nodes, const char *name, const cairn_scalar *scalar) {
    struct cairn_anchor *kept = malloc(sizeof *kept);
    char *copy = strdup(name);
    if (!kept || !copy) {
        free(kept);
        free(copy);
        return cairn_error_set(CAIRN_FAILED, "out of memory reading the configuration");
    }
    *kept = (struct cairn_anchor){nodes->anchors, copy, *scalar};
    nodes->anchors = kept;
    /* cppcheck-suppress memleak ; the list holds the copy: the initialiser is not followed */
    return CAIRN_OK;
}

static cairn_status follow_alias(cairn_nodes *nodes, const char *name, cairn_scalar *scalar) {
    char shown[CAIRN_SHOWN_MAX];
    size_t line = scalar->line, column = scalar->column;
    for (const struct cairn_anchor *kept = nodes->anchors; kept; kept = kept->next) {
        if (strcmp(kept->name, name) != 0)
            continue;
        *scalar = kept->scalar;
        scalar->line = line;
        scalar->column = column;
        return CAIRN_OK;
    }
    return cairn_nodes_refuse(nodes, line, column,
                              "found the alias *%s; no value before it has the anchor &%s",
                              cairn_show(name, shown), shown);
}

static cairn_status take_scalar(cairn_nodes *nodes, const yaml_event_t *event,
                                cairn_scalar *scalar) {
    const char *text = (const char *)event->data.scalar.value;
    const char *tag = (const char *)event->data.scalar.tag;
    const char *name = (const char *)event->data.scalar.anchor;
    char shown[CAIRN_SHOWN_MAX];
    scalar->size = event->data.scalar.length;
    scalar->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (memchr(text, '\0', scalar->size))
        return cairn_nodes_refuse(nodes, scalar->line, scalar->column,
                                  "found a zero byte in a text; it must be printable text");
    size_t fits = scalar->size < sizeof scalar->text ? scalar->size : sizeof scalar->text - 1;
    memcpy(scalar->text, text, fits);
    if (tag && strcmp(tag, YAML_STR_TAG) == 0)
        scalar->plain = false;
    else if (tag)
        return cairn_nodes_refuse(nodes, scalar->line, scalar->column,
                                  "found the tag %s; write the value without a tag",
                                  cairn_show(tag, shown));
    return name ? keep_anchor(nodes, name, scalar) : CAIRN_OK;
}

cairn_status cairn_nodes_next(cairn_nodes *nodes, cairn_node *node) {
    yaml_event_t event;
    cairn_status status = next_event(nodes, &event);
    if (status)
        return status;
    memset(node, 0, sizeof *node);
    node->scalar.line = event.start_mark.line + 1;
    node->scalar.column = event.start_mark.column + 1;
    if (event.type == YAML_SCALAR_EVENT)
        status = take_scalar(nodes, &event, &node->scalar);
    else if (event.type == YAML_ALIAS_EVENT)
        status = follow_alias(nodes, (const char *)event.data.alias.anchor, &node->scalar);
    else if (event.type == YAML_MAPPING_START_EVENT)
        node->kind = SECTION;
    else if (event.type == YAML_SEQUENCE_START_EVENT)
        node->kind = LIST;
    else
        node->kind = END;
    yaml_event_delete(&event);
    return status;
}

cairn_status cairn_nodes_begin_document(cairn_nodes *nodes, bool *empty) {
    yaml_event_t event;
    for (yaml_event_type_t last = YAML_NO_EVENT; last != YAML_DOCUMENT_START_EVENT;) {
        cairn_status status = next_event(nodes, &event);
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

cairn_status cairn_nodes_end_document(cairn_nodes *nodes) {
    yaml_event_t event;
    for (;;) {
        cairn_status status = next_event(nodes, &event);
        if (status)
            return status;
        yaml_event_type_t type = event.type;
        size_t line = event.start_mark.line + 1, column = event.start_mark.column + 1;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return CAIRN_OK;
        if (type == YAML_DOCUMENT_START_EVENT)
            return cairn_nodes_refuse(nodes, line, column,
                                      "found a second document; a configuration is one document");
    }
}
