/* What all that write JSON share: cJSON with numbers that read back as the same bits, laid out as
 * Python's json does. cJSON's own printer takes two doubles for equal when they differ in the last
 * bit, and indents with tabs. */
#ifndef CAIRN_JSON_H
#define CAIRN_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>

/* Each adds one member; false when memory is short. */
bool cairn_json_text(cJSON *object, const char *key, const char *value);
bool cairn_json_integer(cJSON *object, const char *key, long long value);

/* The shortest decimal that reads back as `value`, a whole number written whole; "nan", "inf" or
 * "-inf". */
enum { CAIRN_JSON_DIGITS = 32 };
void cairn_json_digits(char digits[CAIRN_JSON_DIGITS], double value);

/* The same as a member; null for NaN and infinity, which JSON lacks. */
bool cairn_json_number(cJSON *object, const char *key, double value);

/* As Python's json.dumps(indent=2) lays it out, and a line's end; the caller's to free. NULL when
 * memory is short, or where `json` is NULL. */
char *cairn_json_format(const cJSON *json);

#endif
