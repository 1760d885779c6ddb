/* From a configuration back to text: single values, the whole as YAML, digest and comparison. */
#include "keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

/* The fewest digits that read back as the same double; 100 rather than 1e+02. As with Python's YAML
 * writer an exponent gets a fraction before it (1.0e-05), without which YAML 1.1 readers take the
 * number for a text. */
static void format_number(double value, char *out, size_t size) {
    char digits[32];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    if (strstr(digits, "e+") && value < 1e15)
        snprintf(digits, sizeof digits, "%.0f", value);
    char *exponent = strchr(digits, 'e');
    bool bare = exponent && !memchr(digits, '.', (size_t)(exponent - digits));
    int mantissa = exponent ? (int)(exponent - digits) : (int)strlen(digits);
    snprintf(out, size, "%.*s%s%s", mantissa, digits, bare ? ".0" : "", exponent ? exponent : "");
}

const char *cairn_config_value(const cairn_config *config, const cairn_key *key, char *out,
                               size_t size) {
    const char *field = (const char *)config + key->offset;
    uint64_t whole;
    double number;
    bool truth;
    int choice;
    switch (key->type) {
    case CAIRN_KEY_INTEGER:
        memcpy(&whole, field, sizeof whole);
        snprintf(out, size, "%llu", (unsigned long long)whole);
        break;
    case CAIRN_KEY_NUMBER:
        memcpy(&number, field, sizeof number);
        format_number(number, out, size);
        break;
    case CAIRN_KEY_BOOLEAN:
        memcpy(&truth, field, sizeof truth);
        snprintf(out, size, "%s", truth ? "true" : "false");
        break;
    case CAIRN_KEY_CHOICE:
        memcpy(&choice, field, sizeof choice);
        snprintf(out, size, "%s", cairn_choice_text(key->choices, choice));
        break;
    case CAIRN_KEY_TEXT:
    case CAIRN_KEY_LIST:
        snprintf(out, size, "%s", field);
        break;
    }
    return out;
}

/* ------------------------------------------------------------------------------------------- */

typedef struct {
    char *bytes;
    size_t size, capacity;
} text_buffer;

/* libyaml's write handler. Keeps a zero after the last byte. */
static int append(void *data, unsigned char *bytes, size_t size) {
    text_buffer *buffer = data;
    if (buffer->size + size + 1 > buffer->capacity) {
        size_t capacity = 2 * (buffer->size + size + 1);
        char *grown = realloc(buffer->bytes, capacity);
        if (!grown)
            return 0;
        buffer->bytes = grown;
        buffer->capacity = capacity;
    }
    memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
    buffer->bytes[buffer->size] = '\0';
    return 1;
}

/* Whether every YAML reader takes the text, unquoted, for a text: a word that starts with a letter
 * or a slash and is no boolean or null of YAML 1.1 or 1.2. */
static bool plain_is_text(const char *text) {
    static const char *const words[] = {"true", "false", "yes", "no", "on",
                                        "off",  "null",  "y",   "n"};
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_/";
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return false;
    size_t start = strspn(text, letters);
    return start > 0 && text[start + strspn(text + start, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                          "abcdefghijklmnopqrstuvwxyz"
                                                          "0123456789_/.-")] == '\0';
}

static int emit_scalar(yaml_emitter_t *emitter, const char *text, size_t size, bool plain) {
    yaml_event_t event;
    return yaml_scalar_event_initialize(
               &event, NULL, NULL, (const yaml_char_t *)text, (int)size, 1, 1,
               plain ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE) &&
           yaml_emitter_emit(emitter, &event);
}

/* A list of numbers, [32, 64]. */
static int emit_list(yaml_emitter_t *emitter, const char *text) {
    yaml_event_t event;
    int done =
        yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE) &&
        yaml_emitter_emit(emitter, &event);
    for (size_t word; *text && done; text += word + (text[word] == ' ')) {
        word = strcspn(text, " ");
        done = emit_scalar(emitter, text, word, true);
    }
    return done && yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

/* Texts are quoted where any reader might take them for something else; a list may have a name
 * instead, its default's. */
static int emit_value(yaml_emitter_t *emitter, const cairn_key *key, const char *value) {
    bool numbers = *value >= '0' && *value <= '9';
    if (key->type == CAIRN_KEY_LIST && numbers)
        return emit_list(emitter, value);
    return emit_scalar(emitter, value, strlen(value),
                       key->type != CAIRN_KEY_TEXT || plain_is_text(value));
}

static int emit_mapping(yaml_emitter_t *emitter, bool begin) {
    yaml_event_t event;
    return (begin ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                                        YAML_BLOCK_MAPPING_STYLE)
                  : yaml_mapping_end_event_initialize(&event)) &&
           yaml_emitter_emit(emitter, &event);
}

static int emit_stream(yaml_emitter_t *emitter, bool begin) {
    yaml_event_t stream, document;
    if (begin)
        return yaml_stream_start_event_initialize(&stream, YAML_UTF8_ENCODING) &&
               yaml_emitter_emit(emitter, &stream) &&
               yaml_document_start_event_initialize(&document, NULL, NULL, NULL, 1) &&
               yaml_emitter_emit(emitter, &document);
    return yaml_document_end_event_initialize(&document, 1) &&
           yaml_emitter_emit(emitter, &document) && yaml_stream_end_event_initialize(&stream) &&
           yaml_emitter_emit(emitter, &stream);
}

/* The schema's order keeps the keys of a section together. */
static int emit_keys(yaml_emitter_t *emitter, const cairn_config *config) {
    size_t count, section = 0;
    const cairn_key *keys = cairn_config_keys(&count);
    int done = emit_mapping(emitter, true);
    for (size_t i = 0; i < count && done; i++) {
        const char *name = keys[i].name;
        char value[CAIRN_TEXT_MAX];
        size_t own = cairn_key_section(&keys[i]);
        bool opens = own > 0 && (own != section || memcmp(name, keys[i - 1].name, own) != 0);
        if (section > 0 && (opens || own == 0))
            done = emit_mapping(emitter, false);
        if (opens)
            done = done && emit_scalar(emitter, name, own, true) && emit_mapping(emitter, true);
        section = own;
        name += own > 0 ? own + 1 : 0;
        cairn_config_value(config, &keys[i], value, sizeof value);
        done = done && emit_scalar(emitter, name, strlen(name), true) &&
               emit_value(emitter, &keys[i], value);
    }
    if (section > 0)
        done = done && emit_mapping(emitter, false);
    return done && emit_mapping(emitter, false);
}

cairn_status cairn_config_format(const cairn_config *config, char **text) {
    yaml_emitter_t emitter;
    text_buffer buffer = {0};
    if (!yaml_emitter_initialize(&emitter))
        return cairn_error_set(CAIRN_FAILED, "out of memory writing the configuration");
    yaml_emitter_set_output(&emitter, append, &buffer);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1); /* no folding */
    int done =
        emit_stream(&emitter, true) && emit_keys(&emitter, config) && emit_stream(&emitter, false);
    yaml_emitter_delete(&emitter);
    if (!done) {
        free(buffer.bytes);
        return cairn_error_set(CAIRN_FAILED, "libyaml could not write the configuration");
    }
    *text = buffer.bytes;
    return CAIRN_OK;
}

/* ------------------------------------------------------------------------------------------- */

/* The digest is over one line "name=value\n" for each key that shapes the result, less those newer
 * ones that are at their defaults. */
cairn_status cairn_config_digest(const cairn_config *config, char hex[CAIRN_DIGEST_HEX]) {
    cairn_digest *digest = NULL;
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    cairn_status status = cairn_digest_begin(&digest, "sha256");
    if (status)
        return status;
    for (size_t i = 0; i < count && !status; i++) {
        char value[CAIRN_TEXT_MAX], line[CAIRN_TEXT_MAX + 64];
        cairn_config_value(config, &keys[i], value, sizeof value);
        if (keys[i].idle || (!keys[i].always_digested && strcmp(value, keys[i].fallback) == 0))
            continue;
        int length = snprintf(line, sizeof line, "%s=%s\n", keys[i].name, value);
        status = cairn_digest_add(digest, line, (size_t)length);
    }
    cairn_status ended = cairn_digest_end(digest, status ? NULL : hex);
    return status ? status : ended;
}

const cairn_key *cairn_config_difference(const cairn_config *a, const cairn_config *b) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    for (size_t i = 0; i < count; i++) {
        char left[CAIRN_TEXT_MAX], right[CAIRN_TEXT_MAX];
        if (!keys[i].idle && strcmp(cairn_config_value(a, &keys[i], left, sizeof left),
                                    cairn_config_value(b, &keys[i], right, sizeof right)) != 0)
            return &keys[i];
    }
    return NULL;
}
