/* Finding keys and sections by name, and guessing what an unknown name means. */
#include "keys.h"

#include "cairn/text.h"

#include <stdio.h>
#include <string.h>

const cairn_key *cairn_key_find(const char *name) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

size_t cairn_key_section(const cairn_key *key) {
    const char *dot = strchr(key->name, '.');
    return dot ? (size_t)(dot - key->name) : 0;
}

static bool in_section(const cairn_key *key, const char *section) {
    size_t length = cairn_key_section(key);
    return strlen(section) == length && memcmp(key->name, section, length) == 0;
}

const cairn_key *cairn_section_find(const char *section) {
    size_t count;
    const cairn_key *keys = cairn_config_keys(&count);
    for (size_t i = 0; i < count; i++)
        if (*section && in_section(&keys[i], section))
            return &keys[i];
    return NULL;
}

const char *cairn_section_keys(const char *section, char *out, size_t size) {
    size_t count, used = 0, last = 0;
    const cairn_key *keys = cairn_config_keys(&count);
    out[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++) {
        size_t prefix = cairn_key_section(&keys[i]);
        const char *shown = keys[i].name;
        size_t length = strlen(shown);
        if (in_section(&keys[i], section) && prefix > 0) {
            shown += prefix + 1;
            length -= prefix + 1;
        } else if (*section) {
            continue;
        } else if (prefix > 0) { /* the top level lists each section once */
            if (cairn_key_section(&keys[last]) == prefix &&
                memcmp(keys[last].name, keys[i].name, prefix) == 0)
                continue;
            length = prefix;
        }
        last = i;
        used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ", " : "", (int)length,
                                 shown);
    }
    return out;
}

enum { NAME_MAX_BYTES = 48 };

/* Levenshtein's edit distance, one row of the table at a time; any number above `limit` for one
 * that the lengths alone put there. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length,
                            size_t limit) {
    size_t row[NAME_MAX_BYTES + 1];
    if (a_length > b_length + limit || b_length > a_length + limit)
        return limit + 1;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t changed = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = changed < shorter ? changed : shorter;
        }
    }
    return row[b_length];
}

/* How far an unknown name is from a known one: as whole dotted names, or as their last parts alone,
 * with a step more for the wrong section ("lr" at the top level for train.lr). */
static size_t name_distance(const char *name, const char *known, size_t known_length,
                            size_t limit) {
    size_t whole = edit_distance(name, strlen(name), known, known_length, limit);
    const char *known_leaf = memchr(known, '.', known_length);
    if (!known_leaf)
        return whole;
    known_leaf++;
    const char *dot = strrchr(name, '.'), *leaf = dot ? dot + 1 : name;
    bool elsewhere = strncmp(name, known, (size_t)(known_leaf - known)) != 0;
    size_t parts = elsewhere + edit_distance(leaf, strlen(leaf), known_leaf,
                                             known_length - (size_t)(known_leaf - known), limit);
    return whole < parts ? whole : parts;
}

const char *cairn_key_suggest(const char *name, char *out, size_t size) {
    const char *dot = strrchr(name, '.');
    size_t count, best = strlen(dot ? dot + 1 : name) / 4 + 1;
    const cairn_key *keys = cairn_config_keys(&count);
    bool found = false;
    if (strlen(name) > NAME_MAX_BYTES)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        /* the section's own name, then the key's */
        size_t lengths[] = {cairn_key_section(&keys[i]), strlen(keys[i].name)};
        for (int part = 0; part < 2; part++) {
            size_t distance = name_distance(name, keys[i].name, lengths[part], best);
            if (lengths[part] == 0 || distance > best || (found && distance == best))
                continue;
            found = true;
            best = distance;
            snprintf(out, size, "%.*s", (int)lengths[part], keys[i].name);
        }
    }
    return found ? out : NULL;
}

const char *cairn_name_suggest(const char *name, const char *const *known, size_t count) {
    size_t best = strlen(name) / 4 + 1;
    const char *nearest = NULL;
    for (size_t i = 0; i < count && strlen(name) <= NAME_MAX_BYTES; i++) {
        size_t distance = edit_distance(name, strlen(name), known[i], strlen(known[i]), best);
        if (distance > best || (nearest && distance == best))
            continue;
        nearest = known[i];
        best = distance;
    }
    return nearest;
}

const char *cairn_show(const char *text, char out[CAIRN_SHOWN_MAX]) {
    size_t used = 0;
    out[0] = '\0';
    while (*text) {
        char piece[CAIRN_TEXT_PIECE];
        text += cairn_text_next(text, piece);
        if (used + 12 > CAIRN_SHOWN_MAX || used + strlen(piece) + 4 > CAIRN_SHOWN_MAX) {
            strcpy(out + used, "...");
            break;
        }
        strcpy(out + used, piece);
        used += strlen(piece);
    }
    return out;
}
