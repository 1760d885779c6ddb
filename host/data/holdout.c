/* data.validation: training images that are held out and measured on in place of the test split.
 * Each class gives its share of them (Hamilton's method: whole parts first, then the largest
 * remainders), so that a set of unequal classes is measured on all of them; which ones, the seed
 * says. What is left keeps its order. */
#include "cairn/rng.h"
#include "cairn/text.h"
#include "data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many of each class: `held` in all, of `count` images. While another class can give more, none
 * gives its last one. */
static void share_out(const int *members, int classes, int count, int held, int *shares) {
    int left = held;
    for (int k = 0; k < classes; k++) {
        shares[k] = (int)((int64_t)held * members[k] / count);
        left -= shares[k];
    }
    for (int spared = 1; left > 0; spared = 0)
        for (bool given[CAIRN_CLASSES_MAX] = {false}; left > 0; left--) {
            int64_t best = -1;
            int chosen = -1;
            for (int k = 0; k < classes; k++) {
                const int64_t remainder = (int64_t)held * members[k] % count;
                if (!given[k] && shares[k] + spared < members[k] && remainder > best) {
                    best = remainder;
                    chosen = k;
                }
            }
            if (chosen < 0)
                break;
            given[chosen] = true;
            shares[chosen]++;
        }
}

/* Marks `share` of the images of class k, which are list[0], list[1], ... list[count - 1]. */
static void draw(uint64_t seed, uint32_t k, int32_t *list, int count, int share, bool *is_held) {
    for (int i = count - 1; i >= count - share; i--) {
        const uint32_t word = cairn_rng(seed, CAIRN_RNG_HOLDOUT, 0, k, (uint64_t)i).word[0];
        const uint32_t j = cairn_rng_below(word, (uint32_t)i + 1);
        is_held[list[j]] = true;
        list[j] = list[i];
    }
}

cairn_status cairn_holdout_choose(const uint8_t *labels, int count, int held, uint64_t seed,
                                  bool *is_held) {
    int members[CAIRN_CLASSES_MAX] = {0}, shares[CAIRN_CLASSES_MAX] = {0};
    int32_t *list = calloc((size_t)count, sizeof *list);
    if (!list)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the order of %d %s", count,
                               cairn_noun(count, "image", "images"));
    memset(is_held, 0, (size_t)count * sizeof *is_held);
    for (int i = 0; i < count; i++)
        members[labels[i]]++;
    share_out(members, CAIRN_CLASSES_MAX, count, held, shares);
    for (int k = 0; k < CAIRN_CLASSES_MAX; k++) {
        int found = 0;
        for (int i = 0; i < count && found < members[k]; i++)
            if (labels[i] == k)
                list[found++] = i;
        draw(seed, (uint32_t)k, list, found, shares[k], is_held);
    }
    free(list);
    return CAIRN_OK;
}

cairn_status cairn_holdout_take(cairn_dataset *dataset, const cairn_config *config) {
    cairn_split *train = &dataset->train, *test = &dataset->test;
    const size_t size = (size_t)train->channels * (size_t)train->height * (size_t)train->width;
    const int count = train->count, held = (int)config->data.validation;
    const int most = cairn_split_limit(config->data.train_limit, count - held);
    bool *is_held = malloc((size_t)count * sizeof *is_held);
    if (!is_held)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d %s", count,
                               cairn_noun(count, "image", "images"));
    test->count = cairn_split_limit(config->data.test_limit, held);
    cairn_status status = cairn_split_allocate(test);
    if (!status)
        status = cairn_holdout_choose(train->labels, count, held, config->seed, is_held);
    train->count = 0;
    for (int i = 0, tested = 0; !status && i < count; i++) {
        cairn_split *to = is_held[i] ? test : train;
        const int place = is_held[i] ? tested : train->count;
        if (place == (is_held[i] ? test->count : most))
            continue;
        memmove(to->images + (size_t)place * size, train->images + (size_t)i * size, size);
        to->labels[place] = train->labels[i];
        *(is_held[i] ? &tested : &train->count) += 1;
    }
    free(is_held);
    return status;
}

const char *cairn_held_out_describe(const cairn_dataset *dataset, char *out, size_t size) {
    enum { NAMED_MAX = 10 };
    int members[CAIRN_CLASSES_MAX] = {0}, least = dataset->test.count, most = 0;
    size_t used = 0;
    for (int i = 0; i < dataset->test.count; i++)
        members[dataset->test.labels[i]]++;
    for (int k = 0; k < dataset->classes; k++) {
        least = members[k] < least ? members[k] : least;
        most = members[k] > most ? members[k] : most;
    }
    if (least == most) {
        snprintf(out, size, "%d of each class", most);
    } else if (dataset->classes > NAMED_MAX) {
        snprintf(out, size, "%d to %d of a class", least, most);
    } else {
        for (int k = 0; k < dataset->classes && used < size; k++)
            used += (size_t)snprintf(out + used, size - used, "%s%d %s", k ? ", " : "", members[k],
                                     dataset->class_names[k]);
    }
    return out;
}
