/* A YAML document as nodes, one after the other. */
#ifndef CAIRN_CONFIG_NODES_H
#define CAIRN_CONFIG_NODES_H

#include "keys.h"

#include <yaml.h>

typedef struct {
    const char *file;     /* what messages begin with: the file's name ... */
    const char *override; /* ... or this "key=value" */
    const char *text;
    size_t size;
    yaml_parser_t parser;
    struct cairn_anchor *anchors;
} cairn_nodes;

/* A SECTION or LIST is only its beginning. */
typedef enum { VALUE, SECTION, LIST, END } cairn_node_kind;

typedef struct {
    cairn_node_kind kind;
    cairn_scalar scalar; /* of a VALUE; of others only the place */
} cairn_node;

/* Begins to read nodes->text, which like the names stays the caller's. */
cairn_status cairn_nodes_open(cairn_nodes *nodes);
void cairn_nodes_close(cairn_nodes *nodes);

/* Up to the document's first node; `*empty` when the stream ends before one. */
cairn_status cairn_nodes_begin_document(cairn_nodes *nodes, bool *empty);

cairn_status cairn_nodes_next(cairn_nodes *nodes, cairn_node *node);

/* After the document's last node: nothing more may come. */
cairn_status cairn_nodes_end_document(cairn_nodes *nodes);

/* CAIRN_BAD_INPUT with "file:line:column: ", or "-S key=value: " before the message. */
__attribute__((format(printf, 4, 5))) cairn_status
cairn_nodes_refuse(const cairn_nodes *nodes, size_t line, size_t column, const char *format, ...);

#endif
