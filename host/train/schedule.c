/* The learning-rate schedules of cairn/schedule.h. */
#include "cairn/schedule.h"

#include <math.h>
#include <stdlib.h>

/* A unit is a step or an epoch; T units from 0, of which the first W warm up. */
static double units(const cairn_config *config, uint32_t epochs, uint32_t steps) {
    return config->schedule.per == CAIRN_PER_EPOCH ? epochs : steps;
}

/* Milestones up to x: "30 60 80", checked when it was read. */
static int milestones_passed(const char *milestones, double x) {
    int passed = 0;
    char *end;
    for (const char *at = milestones;; at = end) {
        double milestone = strtod(at, &end);
        if (end == at)
            return passed;
        passed += milestone <= x;
    }
}

/* From `from` at p = 0 to `to` at p = 1. */
static double cosine_between(double from, double to, double p) {
    return to + (from - to) * (1 + cos(M_PI * p)) / 2;
}

/* Two phases that meet in the top; both count places, of which the last is T - 1. */
static double onecycle(const cairn_config *config, double x, double total) {
    double top = config->train.lr, start = top / config->schedule.div_factor;
    double end = start / config->schedule.final_div_factor;
    double peak = config->schedule.pct_start * total - 1, last = total - 1;
    if (x <= peak)
        return cosine_between(start, top, peak > 0 ? x / peak : 1);
    return cosine_between(top, end, last > peak ? fmin((x - peak) / (last - peak), 1) : 1);
}

/* After the epochs done, those of warm-up not counted. A change too small to matter is not made, as
 * in PyTorch. */
static double plateau(const cairn_config *config, const cairn_schedule_place *place,
                      uint32_t first) {
    const double smallest = 1e-8;
    double rate = config->train.lr, best = INFINITY;
    int64_t bad = 0;
    for (uint32_t i = first; i < place->epoch; i++) {
        double loss = place->rows[i].test_loss;
        bool better = loss < best * (1 - config->schedule.threshold);
        if (better)
            best = loss;
        bad = better ? 0 : bad + 1;
        if (bad <= config->schedule.patience)
            continue;
        double lower = fmax(rate * config->schedule.gamma, config->schedule.min_lr);
        if (rate - lower > smallest)
            rate = lower;
        bad = 0;
    }
    return rate;
}

double cairn_schedule_rate(const cairn_config *config, const cairn_schedule_place *place) {
    double rate = config->train.lr, gamma = config->schedule.gamma, low = config->schedule.min_lr;
    double warmup = (double)config->schedule.warmup;
    double x = units(config, place->epoch, place->step);
    uint32_t epochs = (uint32_t)config->train.epochs;
    double total = units(config, epochs, epochs * place->steps_per_epoch) - warmup;
    if (x < warmup) {
        double start = config->schedule.warmup_start;
        return rate * (start + (1 - start) * x / warmup);
    }
    x -= warmup;
    double p = total > 0 ? fmin(x / total, 1) : 1;
    switch (config->schedule.name) {
    case CAIRN_SCHEDULE_STEP:
        return rate * pow(gamma, floor(x / (double)config->schedule.step_size));
    case CAIRN_SCHEDULE_MULTISTEP:
        return rate * pow(gamma, milestones_passed(config->schedule.milestones, x));
    case CAIRN_SCHEDULE_EXPONENTIAL:
        return rate * pow(gamma, x);
    case CAIRN_SCHEDULE_COSINE:
        return cosine_between(rate, low, p);
    case CAIRN_SCHEDULE_LINEAR:
        return rate * (1 - (1 - config->schedule.end_factor) * p);
    case CAIRN_SCHEDULE_POLYNOMIAL:
        return rate * pow(1 - p, config->schedule.power);
    case CAIRN_SCHEDULE_ONECYCLE:
        return onecycle(config, x, total);
    case CAIRN_SCHEDULE_PLATEAU:
        return plateau(config, place,
                       config->schedule.per == CAIRN_PER_EPOCH
                           ? (uint32_t)warmup
                           : (uint32_t)ceil(warmup / place->steps_per_epoch));
    case CAIRN_SCHEDULE_CONSTANT:
        break;
    }
    return rate;
}

bool cairn_schedule_needs_length(const cairn_config *config) {
    cairn_schedule name = config->schedule.name;
    return name == CAIRN_SCHEDULE_COSINE || name == CAIRN_SCHEDULE_LINEAR ||
           name == CAIRN_SCHEDULE_POLYNOMIAL || name == CAIRN_SCHEDULE_ONECYCLE;
}
