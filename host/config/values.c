/* From a YAML scalar to a checked value, and the words for what would have been right.
 *
 * Numbers and booleans follow the core schema of YAML 1.2 (section 10.3.2): integers 12, 0x1f and
 * 0o17, floats 1.5, .5, 5.0e-4 and 1e-3, true, True and TRUE. What YAML 1.1 readers take
 * differently is refused, so that no file means two things: underscores, and leading zeros. A text
 * key takes the scalar as it is written, whatever type it might have elsewhere. */
#include "keys.h"

#include "cairn/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef enum { INTEGER, FRACTION, NO_NUMBER } number_form;

typedef struct {
    number_form form;
    bool negative;
    bool overflow;      /* beyond uint64_t, or beyond double */
    uint64_t magnitude; /* INTEGER */
    double value;
} number;

static void read_digits(number *read, const char *digits, unsigned base) {
    for (; *digits; digits++) {
        unsigned digit =
            *digits <= '9' ? (unsigned)(*digits - '0') : (unsigned)((*digits | 0x20) - 'a') + 10;
        if (read->magnitude > (UINT64_MAX - digit) / base)
            read->overflow = true;
        read->magnitude = read->magnitude * base + digit;
    }
    read->value = read->negative ? -(double)read->magnitude : (double)read->magnitude;
}

static bool consists_of(const char *text, const char *set) {
    return *text && text[strspn(text, set)] == '\0';
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_float(const char *text) {
    const char *digits = "0123456789";
    text += *text == '-' || *text == '+';
    size_t whole = strspn(text, digits), fraction = 0;
    text += whole;
    if (*text == '.') {
        fraction = strspn(text + 1, digits);
        text += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '-' || *text == '+';
        return consists_of(text, digits);
    }
    return *text == '\0';
}

static number read_number(const char *text) {
    number read = {.form = INTEGER};
    const char *digits = text + (*text == '-' || *text == '+');
    read.negative = *text == '-';
    if (consists_of(digits, "0123456789") && (digits[0] != '0' || digits[1] == '\0')) {
        read_digits(&read, digits, 10);
    } else if (strncmp(text, "0x", 2) == 0 && consists_of(text + 2, "0123456789abcdefABCDEF")) {
        read_digits(&read, text + 2, 16);
    } else if (strncmp(text, "0o", 2) == 0 && consists_of(text + 2, "01234567")) {
        read_digits(&read, text + 2, 8);
    } else if (is_float(text) && !consists_of(digits, "0123456789")) {
        read.form = FRACTION;
        errno = 0;
        read.value = strtod(text, NULL) + 0.0; /* -0 becomes 0 */
        /* Too small for a double counts as overflow; too small for a normal one is still a value.
         */
        read.overflow = errno == ERANGE && (isinf(read.value) || read.value == 0.0);
    } else {
        read.form = NO_NUMBER;
    }
    return read;
}

static bool in_range(const cairn_key *key, const number *read) {
    if (read->overflow || read->form == NO_NUMBER)
        return false;
    if (key->type == CAIRN_KEY_INTEGER && read->form != INTEGER)
        return false;
    return read->value <= key->high &&
           (key->low_open ? read->value > key->low : read->value >= key->low);
}

/* "; write 1000" for a number in another dress: 1e3 or 5.0 for an integer, 1_000, 010. */
static void hint_number(const cairn_key *key, const char *text, char *out, size_t size) {
    char bare[64];
    size_t used = 0;
    for (const char *at = text; *at && used + 1 < sizeof bare; at++)
        if (*at != '_' && !(*at == '0' && used == 0 && at[1] >= '0' && at[1] <= '9'))
            bare[used++] = (char)tolower((unsigned char)*at); /* 0X1F */
    bare[used] = '\0';
    number read = read_number(bare);
    if (key->type == CAIRN_KEY_INTEGER && read.form == FRACTION && read.value >= 0 &&
        read.value < 0x1p53 && read.value == floor(read.value)) {
        snprintf(bare, sizeof bare, "%.0f", read.value);
        read = read_number(bare);
    }
    if (strlen(text) < sizeof bare && in_range(key, &read))
        snprintf(out, size, "; write %s", bare);
}

/* "; write true" for yes, on and 1, which YAML 1.1 or other programs take so. */
static void hint_boolean(const char *text, char *out, size_t size) {
    static const char *const words[][2] = {{"yes", "no"}, {"y", "n"}, {"on", "off"},
                                           {"1", "0"},    {"t", "f"}, {"true", "false"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (int k = 0; k < 2; k++)
            if (strcasecmp(text, words[i][k]) == 0)
                snprintf(out, size, "; write %s", k ? "false" : "true");
}

/* What was probably meant; empty where that is not plain. */
static const char *hint(const cairn_key *key, const char *text, char *out, size_t size) {
    out[0] = '\0';
    if (key->type == CAIRN_KEY_INTEGER || key->type == CAIRN_KEY_NUMBER)
        hint_number(key, text, out, size);
    else if (key->type == CAIRN_KEY_BOOLEAN)
        hint_boolean(text, out, size);
    else if (key->hint && !key->hint(text, out, size))
        out[0] = '\0';
    return out;
}

static const char *expected_choices(const cairn_choice *choices, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (const cairn_choice *at = choices; at->text && used < size; at++) {
        const char *joint = at == choices ? "" : at[1].text ? ", " : " or ";
        used += (size_t)snprintf(out + used, size - used, "%s%s", joint, at->text);
    }
    return out;
}

const char *cairn_config_expected(const cairn_key *key, char *out, size_t size) {
    if (key->choices)
        return expected_choices(key->choices, out, size);
    if (key->type == CAIRN_KEY_BOOLEAN)
        snprintf(out, size, "true or false");
    else if (key->type == CAIRN_KEY_TEXT || key->type == CAIRN_KEY_LIST)
        snprintf(out, size, "%s", key->form ? key->form : "a text");
    else if (key->type == CAIRN_KEY_INTEGER && key->high >= 0x1p64)
        snprintf(out, size, "a whole number from %.0f to %llu", key->low,
                 (unsigned long long)UINT64_MAX);
    else if (key->type == CAIRN_KEY_INTEGER)
        snprintf(out, size, "a whole number from %.0f to %.0f", key->low, key->high);
    else if (key->low_open)
        snprintf(out, size, "a number above %g, at most %g", key->low, key->high);
    else
        snprintf(out, size, "a number from %g to %g", key->low, key->high);
    return out;
}

/* What was found, in words: `nothing`, `the text "3"`, or the plain scalar itself. */
static const char *found(const cairn_scalar *scalar, char *out, size_t size) {
    char shown[CAIRN_SHOWN_MAX];
    if (cairn_scalar_is_null(scalar))
        snprintf(out, size, "nothing");
    else if (scalar->plain)
        snprintf(out, size, "%s", cairn_show(scalar->text, shown));
    else
        snprintf(out, size, "the text \"%s\"", cairn_show(scalar->text, shown));
    return out;
}

static cairn_status refuse(const cairn_key *key, const cairn_scalar *scalar, const char *where) {
    char what[CAIRN_SHOWN_MAX + 16], expected[256], write[80];
    found(scalar, what, sizeof what);
    if (*hint(key, scalar->text, write, sizeof write))
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: found %s%s", where, what, write);
    return cairn_error_set(CAIRN_BAD_INPUT, "%s: found %s; it must be %s", where, what,
                           cairn_config_expected(key, expected, sizeof expected));
}

static cairn_status set_number(cairn_config *config, const cairn_key *key,
                               const cairn_scalar *scalar, const char *where) {
    number read = read_number(scalar->text);
    if (!scalar->plain || !in_range(key, &read))
        return refuse(key, scalar, where);
    char *field = (char *)config + key->offset;
    if (key->type == CAIRN_KEY_NUMBER) {
        memcpy(field, &read.value, sizeof read.value);
    } else {
        /* No range goes below 0, so that the same bits serve uint64_t and int64_t. */
        memcpy(field, &read.magnitude, sizeof read.magnitude);
    }
    return CAIRN_OK;
}

static cairn_status set_text(cairn_config *config, const cairn_key *key, const cairn_scalar *scalar,
                             const char *where) {
    if (cairn_scalar_is_null(scalar) || (key->accepts && !key->accepts(scalar->text)))
        return refuse(key, scalar, where);
    char shown[CAIRN_SHOWN_MAX];
    if (!cairn_text_is_plain(scalar->text))
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: found '%s'; it must be one line of printable text", where,
                               cairn_show(scalar->text, shown));
    const cairn_choice *choice =
        key->choices ? cairn_choice_find(key->choices, scalar->text) : NULL;
    if (key->choices && !choice)
        return refuse(key, scalar, where);
    char *field = (char *)config + key->offset;
    if (choice && key->type == CAIRN_KEY_CHOICE)
        memcpy(field, &choice->value, sizeof choice->value);
    else
        memcpy(field, scalar->text, sizeof scalar->text);
    return CAIRN_OK;
}

static cairn_status set_boolean(cairn_config *config, const cairn_key *key,
                                const cairn_scalar *scalar, const char *where) {
    static const char *const forms[] = {"false", "False", "FALSE", "true", "True", "TRUE"};
    for (int i = 0; i < 6; i++)
        if (strcmp(scalar->text, forms[i]) == 0) {
            bool value = i >= 3;
            memcpy((char *)config + key->offset, &value, sizeof value);
            return CAIRN_OK;
        }
    return refuse(key, scalar, where);
}

/* A list's words, with one blank between. */
static cairn_status set_list(cairn_config *config, const cairn_key *key, const cairn_scalar *scalar,
                             const char *where) {
    cairn_scalar tidy = {.plain = scalar->plain};
    for (const char *at = scalar->text; *at;) {
        size_t blanks = strspn(at, " "), word = strcspn(at + blanks, " ");
        if (word && tidy.size)
            tidy.text[tidy.size++] = ' ';
        memcpy(tidy.text + tidy.size, at + blanks, word);
        tidy.size += word;
        at += blanks + word;
    }
    return set_text(config, key, &tidy, where);
}

bool cairn_scalar_is_null(const cairn_scalar *scalar) {
    const char *text = scalar->text;
    return scalar->plain && (*text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
                             strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0);
}

cairn_status cairn_value_set(cairn_config *config, const cairn_key *key, const cairn_scalar *scalar,
                             const char *where) {
    if (scalar->size >= sizeof scalar->text)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: found a text of %zu bytes; at most %d would be "
                               "right",
                               where, scalar->size, CAIRN_TEXT_MAX - 1);
    if (key->type == CAIRN_KEY_INTEGER || key->type == CAIRN_KEY_NUMBER)
        return set_number(config, key, scalar, where);
    if (key->type == CAIRN_KEY_BOOLEAN)
        return set_boolean(config, key, scalar, where);
    if (key->type == CAIRN_KEY_LIST)
        return set_list(config, key, scalar, where);
    return set_text(config, key, scalar, where);
}
