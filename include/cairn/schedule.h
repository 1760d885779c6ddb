/* Learning-rate schedules: the rate of every step as a pure function of the configuration, of where
 * the run stands and of its epochs' test losses; so a resumed run goes on exactly. Each is the
 * PyTorch scheduler of torch.optim.lr_scheduler that is named beside it, a unit (schedule.per)
 * being one call of its step(). */
#ifndef CAIRN_SCHEDULE_H
#define CAIRN_SCHEDULE_H

#include "cairn/config.h"
#include "cairn/metrics.h"

typedef struct {
    uint32_t epoch;              /* from 0 */
    uint32_t step;               /* from 0, over the whole run */
    uint32_t steps_per_epoch;    /* at least 1 */
    const cairn_epoch_row *rows; /* [epoch]: the epochs done, for plateau */
} cairn_schedule_place;

/* The rate of the step at that place. With x units done, T units in all, W of them warm-up, and
 * r = train.lr:
 *   warm-up, x < W   r (s + (1 - s) x / W), s = schedule.warmup_start       LinearLR
 * and after that, with x and T less W, p = min(x / T, 1), g = schedule.gamma and
 * m = schedule.min_lr:
 *   constant         r
 *   step             r g^floor(x / schedule.step_size)                       StepLR
 *   multistep        r g^(schedule.milestones up to x)                       MultiStepLR
 *   exponential      r g^x                                                   ExponentialLR
 *   cosine           m + (r - m) (1 + cos(pi p)) / 2                         CosineAnnealingLR
 *   linear           r (1 - (1 - schedule.end_factor) p)                     LinearLR
 *   polynomial       r (1 - p)^schedule.power                                PolynomialLR
 *   onecycle         cosine from r / schedule.div_factor to r, then to that start over
 *                    schedule.final_div_factor; rising for schedule.pct_start of T   OneCycleLR
 *   plateau          r g^n, at least m; n grows when the test loss has not fallen by its share
 *                    schedule.threshold for more than schedule.patience epochs
 *                                                                            ReduceLROnPlateau
 * SequentialLR is what joins warm-up and the rest. */
double cairn_schedule_rate(const cairn_config *config, const cairn_schedule_place *place);

/* Whether rates depend on train.epochs: then a run cannot be given more of them and go on. */
bool cairn_schedule_needs_length(const cairn_config *config);

#endif
