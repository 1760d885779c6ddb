/* The pictures for TensorBoard: the confusion matrix, and the mistakes that the model is surest of.
 * Text is stb_easy_font's, whose letters are rectangles of whole pixels. */
#include "cairn/softmax.h"
#include "cairn/tensorboard.h"

#include <stb_easy_font.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 12, GAP = 4 }; /* pixels: from one line of text to the next; between things */

typedef struct {
    uint8_t red, green, blue;
} colour;
static const colour white = {255, 255, 255}, black = {0, 0, 0}, red = {176, 0, 32};

void cairn_drawing_free(cairn_drawing *drawing) {
    free(drawing->rgb);
    *drawing = (cairn_drawing){0};
}

static cairn_status make(cairn_drawing *drawing, int width, int height) {
    size_t size = (size_t)width * (size_t)height * 3;
    *drawing = (cairn_drawing){width, height, malloc(size)};
    if (!drawing->rgb)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a picture of %d x %d", width,
                               height);
    memset(drawing->rgb, 255, size);
    return CAIRN_OK;
}

/* What is outside the picture is left out. */
static void fill(cairn_drawing *drawing, int x, int y, int width, int height, colour paint) {
    for (int row = y; row < y + height && row < drawing->height; row++)
        for (int column = x; column < x + width && column < drawing->width; column++)
            memcpy(drawing->rgb + ((size_t)row * (size_t)drawing->width + (size_t)column) * 3,
                   &paint, 3);
}

/* Text ----------------------------------------------------------------------------------------- */

enum { TEXT = 64, NAME_WIDTH = 120 }; /* bytes; pixels of a name in the matrix, at most */

/* What the font lacks becomes a question mark. */
static void make_plain(char plain[TEXT], const char *text) {
    snprintf(plain, TEXT, "%s", text);
    for (char *c = plain; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

static int text_width(const char *text) {
    char plain[TEXT];
    make_plain(plain, text);
    return stb_easy_font_width(plain);
}

/* As much of the text as there is room for. */
static void shorten(char plain[TEXT], const char *text, int width) {
    make_plain(plain, text);
    for (size_t length = strlen(plain); length > 2 && text_width(plain) > width;) {
        plain[--length] = '\0';
        plain[length - 1] = plain[length - 2] = '.';
    }
}

static void write_text(cairn_drawing *drawing, int x, int y, const char *text, colour paint) {
    enum { CORNER = 4, RECTANGLE = 4 * CORNER }; /* floats; a corner is x, y, z, colour */
    float corners[RECTANGLE * 32 * TEXT];
    char plain[TEXT];
    make_plain(plain, text);
    int count = stb_easy_font_print((float)x, (float)y, plain, NULL, corners, sizeof corners);
    for (int i = 0; i < count; i++) {
        const float *low = corners + i * RECTANGLE, *high = low + 2 * CORNER;
        fill(drawing, (int)low[0], (int)low[1], (int)(high[0] - low[0]), (int)(high[1] - low[1]),
             paint);
    }
}

/* The confusion matrix ------------------------------------------------------------------------- */

/* From white to a dark blue. */
static colour shade(double share) {
    return (colour){(uint8_t)(255 - 247 * share), (uint8_t)(255 - 207 * share),
                    (uint8_t)(255 - 148 * share)};
}

typedef struct {
    int cell_width, cell_height, left, top; /* of the cells */
    int name_width;                         /* 0: no names */
} matrix_layout;

static matrix_layout lay_out(int classes, const cairn_class_name *class_names) {
    matrix_layout layout = {.cell_width = 8, .cell_height = 8};
    if (classes > CAIRN_NAMED_CLASSES)
        return layout;
    int widest = text_width("00000");
    for (int i = 0; i < classes; i++)
        if (text_width(class_names[i]) > widest)
            widest = text_width(class_names[i]);
    widest = widest < NAME_WIDTH ? widest : NAME_WIDTH;
    return (matrix_layout){.cell_width = widest + 2 * GAP,
                           .cell_height = 2 * LINE,
                           .left = widest + 2 * GAP,
                           .top = 2 * LINE,
                           .name_width = widest};
}

static void draw_row(cairn_drawing *drawing, const matrix_layout *layout, const int *counts,
                     int actual, int classes) {
    int total = 0, y = layout->top + actual * layout->cell_height;
    for (int i = 0; i < classes; i++)
        total += counts[i];
    for (int i = 0; i < classes; i++) {
        int x = layout->left + i * layout->cell_width;
        double share = total ? (double)counts[i] / total : 0;
        char digits[TEXT];
        snprintf(digits, sizeof digits, "%d", counts[i]);
        fill(drawing, x, y, layout->cell_width, layout->cell_height, shade(share));
        if (layout->name_width)
            write_text(drawing, x + layout->cell_width - GAP - text_width(digits), y + LINE / 2,
                       digits, share > 0.5 ? white : black);
    }
}

cairn_status cairn_draw_confusion(cairn_drawing *drawing, const float *logits,
                                  const uint8_t *labels, int count, int classes,
                                  const cairn_class_name *class_names) {
    size_t side = (size_t)classes;
    matrix_layout layout = lay_out(classes, class_names);
    *drawing = (cairn_drawing){0};
    int *counts = calloc(side * side, sizeof *counts);
    double *probabilities = malloc(side * sizeof *probabilities);
    cairn_status status =
        counts && probabilities
            ? make(drawing, layout.left + classes * layout.cell_width,
                   layout.top + classes * layout.cell_height)
            : cairn_error_set(CAIRN_FAILED, "out of memory for the confusion matrix");
    if (status)
        goto done;
    for (int i = 0; i < count; i++)
        counts[labels[i] * side +
               (size_t)cairn_softmax(logits + (size_t)i * side, classes, probabilities)]++;
    for (int i = 0; i < classes; i++) {
        if (layout.name_width) {
            char name[TEXT];
            shorten(name, class_names[i], layout.name_width);
            write_text(drawing, layout.left + i * layout.cell_width + GAP, LINE / 2, name, black);
            write_text(drawing, GAP, layout.top + i * layout.cell_height + LINE / 2, name, black);
        }
        draw_row(drawing, &layout, counts + (size_t)i * side, i, classes);
    }
done:
    free(counts);
    free(probabilities);
    return status;
}

/* Mistakes ------------------------------------------------------------------------------------- */

typedef struct {
    int sample, predicted;
    double probability;
} mistake;

/* Keeps the list [CAIRN_MISTAKES] sorted, the surest first and of equals the earliest; what falls
 * off its end is forgotten. */
static void insert(mistake *list, int *count, mistake found) {
    int at = *count;
    while (at > 0 && list[at - 1].probability < found.probability)
        at--;
    if (at == CAIRN_MISTAKES)
        return;
    if (*count < CAIRN_MISTAKES)
        ++*count;
    memmove(list + at + 1, list + at, (size_t)(*count - at - 1) * sizeof *list);
    list[at] = found;
}

static cairn_status find_mistakes(mistake *list, int *count, const float *logits,
                                  const cairn_split *split, int classes) {
    double *probabilities = malloc((size_t)classes * sizeof *probabilities);
    if (!probabilities)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the mistakes");
    for (int i = 0; i < split->count; i++) {
        int predicted = cairn_softmax(logits + (size_t)i * (size_t)classes, classes, probabilities);
        if (predicted != split->labels[i])
            insert(list, count, (mistake){i, predicted, probabilities[predicted]});
    }
    free(probabilities);
    return CAIRN_OK;
}

/* The image enlarged `scale` times; grey where it has fewer than three channels. */
static void draw_image(cairn_drawing *drawing, int x, int y, int scale, const cairn_split *split,
                       int sample) {
    size_t plane = (size_t)split->height * (size_t)split->width;
    const uint8_t *pixels = split->images + (size_t)sample * (size_t)split->channels * plane;
    for (int row = 0; row < split->height; row++)
        for (int column = 0; column < split->width; column++) {
            const uint8_t *at = pixels + row * split->width + column;
            colour paint = split->channels < 3 ? (colour){at[0], at[0], at[0]}
                                               : (colour){at[0], at[plane], at[2 * plane]};
            fill(drawing, x + column * scale, y + row * scale, scale, scale, paint);
        }
}

cairn_status cairn_draw_mistakes(cairn_drawing *drawing, const float *logits,
                                 const cairn_split *split, int classes,
                                 const cairn_class_name *class_names) {
    enum { COLUMNS = 6, SIDE = 96 };
    mistake list[CAIRN_MISTAKES];
    int count = 0;
    *drawing = (cairn_drawing){0};
    cairn_status status = find_mistakes(list, &count, logits, split, classes);
    if (status || !count)
        return status;
    int scale = split->width < SIDE ? SIDE / split->width : 1;
    int width = scale * split->width, height = scale * split->height;
    int tile_width = (width > SIDE ? width : SIDE) + 2 * GAP;
    int tile_height = height + 2 * LINE + 2 * GAP;
    int columns = count < COLUMNS ? count : COLUMNS, rows = (count + COLUMNS - 1) / COLUMNS;
    status = make(drawing, columns * tile_width, rows * tile_height);
    for (int i = 0; i < count && !status; i++) {
        int x = i % COLUMNS * tile_width + GAP, y = i / COLUMNS * tile_height + GAP;
        int room = tile_width - GAP - 1;
        char name[TEXT], share[TEXT];
        draw_image(drawing, x, y, scale, split, list[i].sample);
        shorten(name, class_names[split->labels[list[i].sample]], room);
        write_text(drawing, x, y + height + 2, name, black);
        snprintf(share, sizeof share, " %.0f%%", 100 * list[i].probability);
        shorten(name, class_names[list[i].predicted], room - text_width(share));
        write_text(drawing, x, y + height + 2 + LINE, name, red);
        write_text(drawing, x + text_width(name), y + height + 2 + LINE, share, red);
    }
    return status;
}
