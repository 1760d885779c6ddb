/* Texts of a special form: whether one has it, or what would. */
#include "keys.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* auto, a backend's name, or one of several GPUs: cuda:N with N below 1000. */
bool cairn_accepts_device(const char *text) {
    static const char *const names[] = {"auto", "cpu", "reference", "cuda"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0)
            return true;
    if (strncmp(text, "cuda:", 5) != 0)
        return false;
    const char *ordinal = text + 5;
    size_t digits = strspn(ordinal, "0123456789");
    return digits >= 1 && digits <= 3 && ordinal[digits] == '\0' &&
           (digits == 1 || ordinal[0] != '0');
}

/* GPU, gpu:1, 0 and CPU, as other programs call them. */
bool cairn_hint_device(const char *text, char *out, size_t size) {
    char meant[32], plain[24];
    size_t length = strlen(text);
    if (length >= sizeof plain)
        return false;
    for (size_t i = 0; i <= length; i++)
        plain[i] = (char)tolower((unsigned char)text[i]);
    bool gpu = strncmp(plain, "gpu", 3) == 0 && (plain[3] == '\0' || plain[3] == ':');
    bool ordinal = length && strspn(plain, "0123456789") == length;
    snprintf(meant, sizeof meant, "%s%s",
             gpu       ? "cuda"
             : ordinal ? "cuda:"
                       : "",
             gpu ? plain + 3 : plain);
    snprintf(out, size, "; write %s", meant);
    return cairn_accepts_device(meant);
}

/* 255 bytes is the limit of Linux's file systems. */
bool cairn_accepts_folder_name(const char *text) {
    return *text && !strchr(text, '/') && strcmp(text, ".") != 0 && strcmp(text, "..") != 0 &&
           strlen(text) <= 255;
}

bool cairn_accepts_path(const char *text) {
    return *text != '\0';
}

/* Rising whole numbers, with a blank between. */
bool cairn_accepts_milestones(const char *text) {
    long last = 0;
    for (bool more = true; more;) {
        size_t digits = strspn(text, "0123456789");
        long milestone = digits >= 1 && digits <= 9 ? strtol(text, NULL, 10) : 0;
        if (milestone <= last)
            return false;
        last = milestone;
        text += digits;
        more = *text == ' ';
        text += more;
    }
    return *text == '\0';
}

/* One to eight numbers from 1 to 4096, with a blank between; or their default's name. */
bool cairn_accepts_widths(const char *text) {
    int count = 0;
    if (strcmp(text, CAIRN_WIDTHS_DEFAULT) == 0)
        return true;
    for (bool more = true; more; count++) {
        size_t digits = strspn(text, "0123456789");
        long width = digits >= 1 && digits <= 4 ? strtol(text, NULL, 10) : 0;
        if (width < 1 || width > 4096 || *text == '0')
            return false;
        text += digits;
        more = *text == ' ';
        text += more;
    }
    return *text == '\0' && count <= 8;
}
