/* The optimiser: what a training step does with the gradient g of the mean loss. One description
 * for all backends; each computes it in its own precision.
 *
 *   clip     g <- g min(1, clip_norm / (|g| + 1e-6)), |g| the Euclidean norm over all parameters
 *            (Pascanu et al., ICML 2013; torch.nn.utils.clip_grad_norm_)
 *   decay    adam, sgd: g <- g + decay / lr_scale w
 *            adamw: w <- (1 - lr decay) w
 *   adam,    m <- m + (1 - beta1) (g - m),  v <- beta2 v + (1 - beta2) g^2,
 *   adamw    w <- w - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
 *            (Kingma and Ba, ICLR 2015; Loshchilov and Hutter, ICLR 2019)
 *   sgd      m <- momentum m + g,  w <- w - lr d, with d = m, or g + momentum m where nesterov
 *            (Sutskever et al., ICML 2013, as in torch.optim.SGD)
 *   average  a <- a + (1 - average) (w - a); after the first step a = w
 *            (torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn)
 *
 * in this order, with t the step's number from 1, m and v zero before the first. w, m, v and a are
 * float32 values between steps. decay, lr_scale and the epochs in which a parameter is trained are
 * its group's (cairn_parameter_group in cairn/net.h); where the formulas after the decay say lr,
 * lr_scale lr is meant. Parameters that an epoch does not train have no part in the norm and keep
 * their values; their average is those values. With lr = 0 all do. */
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
    double clip_norm; /* 0: no clipping */
    double average;   /* 0: none is kept */
} cairn_optimizer;

/* PyTorch's Adam: 0.9, 0.999, 1e-8, and nothing else. */
cairn_optimizer cairn_optimizer_defaults(void);

/* What `config` says. */
cairn_optimizer cairn_optimizer_configure(const cairn_config *config);

/* "Adam", "AdamW", "SGD". */
const char *cairn_optimizer_title(const cairn_optimizer *optimizer);

/* The numbers of one step's update of a group. Backends round them, and multiply or divide by the
 * group's lr_scale, in their own precision. */
typedef struct {
    double rate;       /* adam, adamw: lr / (1 - beta1^t); sgd: lr; to be multiplied by lr_scale */
    double correction; /* adam, adamw: sqrt(1 - beta2^t) */
    double decay;      /* adam, sgd: the group's, to be divided by lr_scale; adamw: 0 */
    double shrink;     /* adamw: 1 - lr decay; else 1 */
    double take;       /* 1 - average; 1 in the first step */
} cairn_update;

/* `step` counts from 0. */
cairn_update cairn_optimizer_at(const cairn_optimizer *optimizer,
                                const cairn_parameter_group *group, uint32_t step, double lr);

/* The factor by which gradients of that norm are clipped; NaN for NaN. */
double cairn_optimizer_clip(const cairn_optimizer *optimizer, double norm);

#endif
