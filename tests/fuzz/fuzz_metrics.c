/* metrics.json: rows that are accepted, written and read again are the same rows. */
#include "cairn/record.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

/* Equal, or neither a number. */
static bool same(double a, double b) {
    return a == b || (a != a && b != b);
}

static bool same_row(const cairn_epoch_row *a, const cairn_epoch_row *b) {
    return a->epoch == b->epoch && same(a->train_loss, b->train_loss) &&
           same(a->train_acc, b->train_acc) && same(a->test_loss, b->test_loss) &&
           same(a->test_acc, b->test_acc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cairn_epoch_row *rows = NULL, *again = NULL;
    size_t count = 0, count_again = 0;
    cairn_metrics written = {0};
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    cairn_status status = cairn_metrics_parse(text, "metrics.json", &rows, &count);
    fuzz_check_status(status);
    if (!status) {
        fuzz_check(!cairn_metrics_extend(&written, rows, count), "rows can be written");
        fuzz_check(!cairn_metrics_parse(written.text, "written", &again, &count_again),
                   "written rows are accepted");
        fuzz_check(count == count_again, "there are as many rows");
        for (size_t i = 0; i < count; i++)
            fuzz_check(same_row(&rows[i], &again[i]), "the rows are the same");
    }
    cairn_metrics_free(&written);
    free(again);
    free(rows);
    free(text);
    return 0;
}
