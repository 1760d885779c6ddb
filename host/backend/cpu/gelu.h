/* GELU (Hendrycks and Gimpel, arXiv:1606.08415), x P(x) with P the normal distribution, for loops
 * that the compiler vectorises: one exponential gives P and its density. NaN passes. */
#ifndef CAIRN_BACKEND_CPU_GELU_H
#define CAIRN_BACKEND_CPU_GELU_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* min(t, 87) for t >= 0, NaN too: floats are in the order of their bits. A comparison of floats
 * would be made a branch, with which no loop is vectorised. */
static inline float at_most_87(float t) {
    union {
        float value;
        uint32_t bits;
    } given = {.value = t}, limit = {.value = 87.0f};
    given.bits = given.bits < limit.bits ? given.bits : limit.bits;
    return given.value;
}

/* exp(-t) for t >= 0, to 2e-7 of itself; what is below 1e-37 stays there. 2^-n by its bits, the
 * rest, of at most ln(2)/2 either way, by its series. */
static inline float exp_below(float t) {
    t = at_most_87(t);
    int32_t n = (int32_t)(t * 1.44269504f + 0.5f);
    float r = (float)n * 0.693359375f - t;
    r = (float)n * -2.12194440e-4f + r;
    float sum = 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    int32_t bits = (127 - n) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/* P(x) to 1e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26), and the
 * density, of which 1/sqrt(2 pi) is to be taken. */
static inline float normal_share(float x, float *density) {
    float e = exp_below(0.5f * x * x), k = 1.0f / (1.0f + 0.23164189f * fabsf(x));
    float sum = 1.061405429f;
    sum = sum * k - 1.453152027f;
    sum = sum * k + 1.421413741f;
    sum = sum * k - 0.284496736f;
    sum = sum * k + 0.254829592f;
    float below = 0.5f * sum * k * e;
    *density = e;
    float sign = copysignf(1.0f, x);
    return (0.5f + 0.5f * sign) - sign * below; /* 1 - below, or below */
}

static inline float gelu_of(float x) {
    float density;
    return x * normal_share(x, &density);
}

/* P(x) + x p(x) */
static inline float gelu_slope(float x) {
    float density, share = normal_share(x, &density);
    return share + x * 0.39894228f * density;
}

#endif
