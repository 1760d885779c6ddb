/* Text of others, on its way to a terminal or into a file: names of classes, files, archives'
 * members and keys. One filter, by what it lets through: characters of Unicode, in sound UTF-8,
 * that are seen, and the space. So no control character (C0, C1), no override of the writing's
 * direction, no line separator, nothing invisible, and no byte that is no UTF-8. */
#ifndef CAIRN_TEXT_H
#define CAIRN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { CAIRN_TEXT_PIECE = 16 };

/* Whether all of it is let through. */
bool cairn_text_is_plain(const char *text);

/* How the first character of a text that is not empty may be shown: itself, or "\x9b", a byte of no
 * character or one below 0x80, or "\u202e". Returns how many bytes of the text that is. */
size_t cairn_text_next(const char *text, char piece[CAIRN_TEXT_PIECE]);

/* All of it so, as far as `size` bytes have room for whole pieces and the zero. Returns `out`. */
char *cairn_text_show(char *out, size_t size, const char *text);

/* The same to a stream. */
void cairn_text_put(FILE *out, const char *text);

/* As a field of CSV: quoted where that needs it (RFC 4180), and with a ' before what a spreadsheet
 * would take for a formula. */
void cairn_text_put_field(FILE *out, const char *text);

/* The noun for so many: `one` for 1, else `many`. */
const char *cairn_noun(long long count, const char *one, const char *many);

#endif
