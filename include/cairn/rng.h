/* Random numbers: Philox4x32-10, counter-based (Salmon et al., "Parallel Random Numbers: As Easy as
 * 1, 2, 3", SC 2011). Every random number of Cairn is a pure function of
 *
 *     (seed, purpose, round, stream, index)
 *
 * computed where it is needed. Nothing keeps a generator's state, so a number does not depend on
 * backend, thread count, batch order or restarts. The header is plain C11 and CUDA C++. */
#ifndef CAIRN_RNG_H
#define CAIRN_RNG_H

#include <stdint.h>

#ifdef __CUDACC__
#define CAIRN_RNG_FN static inline __host__ __device__
#else
#define CAIRN_RNG_FN static inline
#endif

/* What a number is for. The values are part of the definition of every recorded run: never
 * renumber, only append. `round`, `stream` and `index` mean, for each: */
typedef enum {
    CAIRN_RNG_INIT = 1,      /* 0; parameter's ordinal in the net; element (row-major) */
    CAIRN_RNG_SHUFFLE = 2,   /* epoch (from 0); 0; position in the permutation */
    CAIRN_RNG_CROP = 3,      /* epoch (from 0); 0; sample's index in the split: words dy, dx */
    CAIRN_RNG_DROPOUT = 4,   /* step (from 0); op's ordinal in the net; cairn_rng_dropout_index */
    CAIRN_RNG_SYNTHETIC = 5, /* class or sample; kind of number; element */
    CAIRN_RNG_TEST = 6,      /* free, for tests */
    CAIRN_RNG_AUGMENT = 7,   /* epoch (from 0); cairn_augment_stream; sample's index in the split */
    CAIRN_RNG_HOLDOUT = 8,   /* 0; class; how many of it may still be drawn, less 1 */
} cairn_rng_purpose;

typedef struct {
    uint32_t word[4];
} cairn_rng_block;

/* One Philox4x32-10 block: `key` and `counter` as in the paper's reference implementation. */
CAIRN_RNG_FN cairn_rng_block cairn_philox(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1,
                                          uint32_t c2, uint32_t c3) {
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    cairn_rng_block out = {{c0, c1, c2, c3}};
    return out;
}

/* The four words of (seed, purpose, round, stream, index). stream < 2^24. */
CAIRN_RNG_FN cairn_rng_block cairn_rng(uint64_t seed, cairn_rng_purpose purpose, uint32_t round,
                                       uint32_t stream, uint64_t index) {
    return cairn_philox((uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)index,
                        (uint32_t)(index >> 32), round, (uint32_t)purpose << 24 | stream);
}

/* A word as a float in [0, 1): its upper 24 bits, exact. */
CAIRN_RNG_FN float cairn_rng_unit(uint32_t word) {
    return (float)(word >> 8) * 0x1p-24f;
}

/* A word as an integer in [0, n), by multiply and shift; the bias is below n / 2^32. */
CAIRN_RNG_FN uint32_t cairn_rng_below(uint32_t word, uint32_t n) {
    return (uint32_t)(((uint64_t)word * n) >> 32);
}

/* The dropout rule: element i of an op's output [n][feature] is dropped when word i % 4 of
 * (seed, CAIRN_RNG_DROPOUT, step, op, index of i / 4) is below this threshold; p in [0, 1). */
CAIRN_RNG_FN uint32_t cairn_rng_dropout_threshold(float p) {
    return (uint32_t)((double)p * 4294967296.0);
}

/* The index of an output's block of four elements, in the step's micro-batch of that number, from
 * 0.
 */
CAIRN_RNG_FN uint64_t cairn_rng_dropout_index(uint32_t micro_batch, uint64_t block) {
    return (uint64_t)micro_batch << 40 | block;
}

#endif
