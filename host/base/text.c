/* The filter behind cairn/text.h, and counts in words. */
#include "cairn/text.h"

#include <stdint.h>
#include <string.h>

/* What is let through, by Unicode 15's categories: without Cc, Cf (but for the two joiners that
 * Persian, Indic scripts and emoji need), Zl, Zp, Cs and the noncharacters. */
static const struct {
    uint32_t first, last;
} shown[] = {
    {0x20, 0x7E},       {0xA0, 0xAC},       {0xAE, 0x5FF},      {0x606, 0x61B},
    {0x61D, 0x6DC},     {0x6DE, 0x70E},     {0x710, 0x88F},     {0x892, 0x8E1},
    {0x8E3, 0x180D},    {0x180F, 0x200A},   {0x200C, 0x200D},   {0x2010, 0x2027},
    {0x202F, 0x205F},   {0x2070, 0xD7FF},   {0xE000, 0xFDCF},   {0xFDF0, 0xFEFE},
    {0xFF00, 0xFFF8},   {0xFFFC, 0xFFFD},   {0x10000, 0x110BC}, {0x110BE, 0x110CC},
    {0x110CE, 0x1342F}, {0x13440, 0x1BC9F}, {0x1BCA4, 0x1D172}, {0x1D17B, 0x1FFFD},
    {0x20000, 0x2FFFD}, {0x30000, 0x3FFFD}, {0xE0100, 0xE01EF},
};

static bool is_shown(uint32_t character) {
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        if (character <= shown[i].last)
            return character >= shown[i].first;
    return false;
}

/* The first character, and its bytes; 0: they are no UTF-8 (RFC 3629: nor in more bytes than it
 * takes, nor a surrogate). */
static size_t read_character(const char *text, uint32_t *character) {
    const unsigned char *at = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t length = at[0] < 0x80             ? 1
                          : (at[0] & 0xE0) == 0xC0 ? 2
                          : (at[0] & 0xF0) == 0xE0 ? 3
                          : (at[0] & 0xF8) == 0xF0 ? 4
                                                   : 0;
    if (length == 0)
        return 0;
    *character = length == 1 ? at[0] : at[0] & (0x7FU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) /* the end of the text too */
            return 0;
        *character = *character << 6 | (at[i] & 0x3F);
    }
    const bool surrogate = *character >= 0xD800 && *character <= 0xDFFF;
    return *character < least[length] || *character > 0x10FFFF || surrogate ? 0 : length;
}

bool cairn_text_is_plain(const char *text) {
    uint32_t character = 0;
    for (size_t length; *text; text += length) {
        length = read_character(text, &character);
        if (length == 0 || !is_shown(character))
            return false;
    }
    return true;
}

size_t cairn_text_next(const char *text, char piece[CAIRN_TEXT_PIECE]) {
    uint32_t character = 0;
    const size_t length = read_character(text, &character);
    if (length && is_shown(character))
        snprintf(piece, CAIRN_TEXT_PIECE, "%.*s", (int)length, text);
    else if (length < 2)
        snprintf(piece, CAIRN_TEXT_PIECE, "\\x%02x", (unsigned char)*text);
    else
        snprintf(piece, CAIRN_TEXT_PIECE, character > 0xFFFF ? "\\U%08x" : "\\u%04x", character);
    return length ? length : 1;
}

char *cairn_text_show(char *out, size_t size, const char *text) {
    char piece[CAIRN_TEXT_PIECE];
    size_t used = 0;
    while (*text) {
        text += cairn_text_next(text, piece);
        const size_t length = strlen(piece);
        if (used + length >= size)
            break;
        memcpy(out + used, piece, length);
        used += length;
    }
    out[used] = '\0';
    return out;
}

void cairn_text_put(FILE *out, const char *text) {
    char piece[CAIRN_TEXT_PIECE];
    while (*text) {
        text += cairn_text_next(text, piece);
        fputs(piece, out);
    }
}

void cairn_text_put_field(FILE *out, const char *text) {
    const bool formula = *text && strchr("=+-@", *text);
    const bool quoted = strpbrk(text, ",\"");
    char piece[CAIRN_TEXT_PIECE];
    if (quoted)
        fputc('"', out);
    if (formula)
        fputc('\'', out);
    while (*text) {
        text += cairn_text_next(text, piece);
        fputs(strcmp(piece, "\"") == 0 ? "\"\"" : piece, out);
    }
    if (quoted)
        fputc('"', out);
}

const char *cairn_noun(long long count, const char *one, const char *many) {
    return count == 1 ? one : many;
}
