/* cJSON members with exact numbers, behind json.h. */
#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool cairn_json_text(cJSON *object, const char *key, const char *value) {
    return cJSON_AddStringToObject(object, key, value) != NULL;
}

bool cairn_json_integer(cJSON *object, const char *key, long long value) {
    char digits[32];
    snprintf(digits, sizeof digits, "%lld", value);
    return cJSON_AddRawToObject(object, key, digits) != NULL;
}

void cairn_json_digits(char digits[CAIRN_JSON_DIGITS], double value) {
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
