/* The order in which an epoch visits the training samples. */
#include "cairn/dataset.h"
#include "cairn/rng.h"

void cairn_sampler_order(uint64_t seed, uint32_t epoch, int count, int32_t *order) {
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int i = count - 1; i >= 1; i--) {
        uint32_t word = cairn_rng(seed, CAIRN_RNG_SHUFFLE, epoch, 0, (uint64_t)i).word[0];
        uint32_t j = cairn_rng_below(word, (uint32_t)i + 1);
        int32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
