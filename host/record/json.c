/* JSON with exact numbers and as Python lays it out, behind cairn/json.h. */
#include "cairn/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cairn_json_text(cJSON *object, const char *key, const char *value) {
    return cJSON_AddStringToObject(object, key, value) != NULL;
}

bool cairn_json_integer(cJSON *object, const char *key, long long value) {
    char digits[32];
    snprintf(digits, sizeof digits, "%lld", value);
    return cJSON_AddRawToObject(object, key, digits) != NULL;
}

void cairn_json_digits(char digits[CAIRN_JSON_DIGITS], double value) {
    if (isnan(value)) { /* C prints its sign */
        snprintf(digits, CAIRN_JSON_DIGITS, "nan");
        return;
    }
    if (fabs(value) < 1e16 && value == trunc(value)) {
        snprintf(digits, CAIRN_JSON_DIGITS, "%.0f", value);
        return;
    }
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, CAIRN_JSON_DIGITS, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
}

bool cairn_json_number(cJSON *object, const char *key, double value) {
    char digits[CAIRN_JSON_DIGITS];
    if (!isfinite(value))
        return cJSON_AddNullToObject(object, key) != NULL;
    cairn_json_digits(digits, value);
    return cJSON_AddRawToObject(object, key, digits) != NULL;
}

/* A new line, `depth` levels in. */
static void break_line(FILE *out, int depth) {
    fprintf(out, "\n%*s", 2 * depth, "");
}

/* Compact JSON with the blanks and line breaks that it lacks. */
static void lay_out(FILE *out, const char *compact) {
    int depth = 0;
    bool quoted = false;
    for (const char *at = compact; *at; at++) {
        bool empty = (at[0] == '{' && at[1] == '}') || (at[0] == '[' && at[1] == ']');
        if (!quoted && strchr("}]", *at))
            break_line(out, --depth);
        fputc(*at, out);
        if (quoted && *at == '\\') {
            fputc(*++at, out);
        } else if (*at == '"') {
            quoted = !quoted;
        } else if (!quoted && empty) {
            fputc(*++at, out);
        } else if (!quoted && strchr("{[", *at)) {
            break_line(out, ++depth);
        } else if (!quoted && *at == ',') {
            break_line(out, depth);
        } else if (!quoted && *at == ':') {
            fputc(' ', out);
        }
    }
}

char *cairn_json_format(const cJSON *json) {
    char *compact = json ? cJSON_PrintUnformatted(json) : NULL, *text = NULL;
    size_t size;
    FILE *out = compact ? open_memstream(&text, &size) : NULL;
    if (out) {
        lay_out(out, compact);
        fputc('\n', out);
        if (fclose(out) != 0) {
            free(text);
            text = NULL;
        }
    }
    cJSON_free(compact);
    return text;
}
