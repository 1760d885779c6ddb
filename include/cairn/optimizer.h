/* The optimiser: what a training step does with the gradient g of the mean loss. One description
 * for all backends; each computes it in its own precision.
 *
 *   clip     g <- g min(1, clip_norm / (|g| + 1e-6)), |g| the Euclidean norm over all parameters
 *            (Pascanu et al., ICML 2013; torch.nn.utils.clip_grad_norm_)
 *   decay    adam, sgd: g <- g + weight_decay w
 *            adamw: w <- (1 - lr weight_decay) w
 *   adam,    m <- m + (1 - beta1) (g - m),  v <- beta2 v + (1 - beta2) g^2,
 *   adamw    w <- w - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
 *            (Kingma and Ba, ICLR 2015; Loshchilov and Hutter, ICLR 2019)
 *   sgd      m <- momentum m + g,  w <- w - lr d, with d = m, or g + momentum m where nesterov
 *            (Sutskever et al., ICML 2013, as in torch.optim.SGD)
 *   average  a <- a + (1 - average) (w - a); after the first step a = w
 *            (torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn)
 *
 * in this order, with t the step's number from 1, m and v zero before the first. w, m, v and a are
 * float32 values between steps. Parameters that are not trained have no part in the norm and keep
 * their values; their average is those values. With lr = 0 all do.
 *
 * A normalisation's bias goes by norm_bias_scale s: its rate is s lr and its decay weight_decay /
 * s, so that what decay takes in a step is everyone's (Jordan, "94% on CIFAR-10 in 3.29 Seconds on
 * a Single GPU", 2024: torch.optim's parameter groups of another lr and weight_decay). A parameter
 * that is early (cairn/net.h) is trained in the epochs before early_epochs, and from then on is as
 * one that is not, but for its gradient and moments, which stay what they are or may be
 * anything. */
#ifndef CAIRN_OPTIMIZER_H
#define CAIRN_OPTIMIZER_H

#include "cairn/config.h"
#include "cairn/net.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    cairn_optimizer_name name;
    double beta1, beta2, epsilon; /* adam, adamw */
    double momentum;              /* sgd */
    bool nesterov;
    double weight_decay;
    cairn_decay_exclude decay_exclude;
    double clip_norm;       /* 0: no clipping */
    double average;         /* 0: none is kept */
    double norm_bias_scale; /* 1: they are like the others */
    uint32_t early_epochs;
} cairn_optimizer;

/* PyTorch's Adam: 0.9, 0.999, 1e-8, and nothing else; what is early is trained in all epochs. */
cairn_optimizer cairn_optimizer_defaults(void);

/* What `config` says. */
cairn_optimizer cairn_optimizer_configure(const cairn_config *config);

/* "Adam", "AdamW", "SGD". */
const char *cairn_optimizer_title(const cairn_optimizer *optimizer);

/* The numbers of one step's update. */
typedef struct {
    double rate;       /* adam, adamw: lr / (1 - beta1^t); sgd: lr */
    double correction; /* adam, adamw: sqrt(1 - beta2^t) */
    double shrink;     /* adamw: 1 - lr weight_decay, for parameters that decay */
    double take;       /* 1 - average; 1 in the first step */
} cairn_update;

/* `step` counts from 0. */
cairn_update cairn_optimizer_at(const cairn_optimizer *optimizer, uint32_t step, double lr);

/* The factor by which gradients of that norm are clipped; NaN for NaN. */
double cairn_optimizer_clip(const cairn_optimizer *optimizer, double norm);

/* What a step does to a parameter: nothing, or the rule as flags vary it. */
typedef unsigned cairn_treatment;
enum {
    CAIRN_FIXED = 0,
    CAIRN_TRAINED = 1,
    CAIRN_DECAYED = 2, /* it decays */
    CAIRN_SCALED = 4,  /* by norm_bias_scale */
    CAIRN_EARLY = 8,   /* in the first early_epochs */
};

cairn_treatment cairn_optimizer_treatment(const cairn_optimizer *optimizer,
                                          const cairn_parameter *parameter);

/* Whether what is early is trained no more; and whether a parameter is moved then, or before. */
bool cairn_optimizer_is_late(const cairn_optimizer *optimizer, uint32_t epoch);
bool cairn_treatment_moves(cairn_treatment treatment, bool late);

#endif
