/* The optimiser: what a training step does with the gradient g of the mean loss. One description
 * for all backends; each computes it in its own precision.
 *
 *   clip     g <- g min(1, clip_norm / (|g| + 1e-6)), |g| the Euclidean norm over all parameters
 *            (Pascanu et al., ICML 2013; torch.nn.utils.clip_grad_norm_)
 *   decay    g <- g + decay / lr_scale w; or where it is decoupled: w <- (1 - lr decay) w
 *            (Loshchilov and Hutter, ICLR 2019)
 *   update   of w and of the state that is kept of it: cairn/optimizers.def
 *   average  a <- a + (1 - average) (w - a); after the first step a = w
 *            (torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn)
 *
 * in this order. State is zero before the first step. Between steps w, the state and a are float32
 * values. decay, lr_scale and the epochs in which a parameter is trained are its group's
 * (cairn_parameter_group in cairn/net.h); the lr of an update is lr_scale times the step's.
 * Parameters that an epoch does not train have no part in the norm and keep their values; their
 * average is those values. With lr = 0 all do. */
#ifndef CAIRN_OPTIMIZER_H
#define CAIRN_OPTIMIZER_H

#include "cairn/config.h"
#include "cairn/net.h"

#include <stdbool.h>
#include <stdint.h>

/* The settings. Those that an optimiser does not read have no use. */
typedef struct {
    cairn_optimizer_name name;
    double beta1, beta2, epsilon; /* adam, adamw */
    double momentum;              /* sgd */
    bool nesterov;
    double clip_norm; /* 0: no clipping */
    double average;   /* 0: none is kept */
} cairn_optimizer;

/* The numbers of one step's update of a parameter. Backends round them, and multiply or divide by
 * its group's lr_scale, in their own precision. */
typedef struct {
    double rate;       /* adam, adamw: lr / (1 - beta1^t); else lr; to be multiplied by lr_scale */
    double correction; /* adam, adamw: sqrt(1 - beta2^t) */
    double decay;      /* the group's, to be divided by lr_scale; 0 where it is decoupled */
    double shrink;     /* 1 - lr decay where it is decoupled; else 1 */
    double take;       /* 1 - average; 1 in the first step */
} cairn_update;

enum { CAIRN_STATES = 2 }; /* tensors of a parameter's optimiser state, at most */

/* An optimiser is a line in cairn/optimizers.def, which fills this, and an update in each backend.
 *
 * An update of single elements sees neighbours of like treatment as one long vector. One of whole
 * matrices (by_parameter) sees each parameter by itself, under its name, with its rank and
 * dimensions; and where it is for some parameters alone (takes), another optimiser takes the rest
 * by settings of its own. */
typedef struct {
    const char *title; /* "AdamW" */
    /* What a checkpoint calls its state tensors, before a dot and the parameter's name. */
    const char *state[CAIRN_STATES];
    const char *kept; /* all of them, for people: "two moments" */
    bool decoupled;   /* decay shrinks the parameter itself, and does not join the gradient */
    bool by_parameter;
    bool (*takes)(const cairn_parameter *parameter); /* NULL: every parameter */
    cairn_optimizer_name rest;
    bool (*stateless)(
        const cairn_optimizer *optimizer); /* the settings ask for no state; NULL: no */
    /* Changes what it does not want as it is in the update of step t, from 1; NULL: nothing. */
    void (*adjust)(const cairn_optimizer *optimizer, double t, cairn_update *now);
} cairn_optimizer_rule;

/* PyTorch's Adam: 0.9, 0.999, 1e-8, and nothing else. */
cairn_optimizer cairn_optimizer_defaults(void);

/* What `config` says. */
cairn_optimizer cairn_optimizer_configure(const cairn_config *config);

const cairn_optimizer_rule *cairn_optimizer_rule_of(cairn_optimizer_name name);

/* The optimiser that takes that parameter: `optimizer` itself, or the one for the rest. */
cairn_optimizer_name cairn_optimizer_for(const cairn_optimizer *optimizer,
                                         const cairn_parameter *parameter);

/* Whether a step treats both alike: one optimiser takes them, and their groups are equal. */
bool cairn_optimizer_alike(const cairn_optimizer *optimizer, const cairn_parameter *a,
                           const cairn_parameter *b);

/* What a checkpoint calls that state tensor of a parameter; NULL where none is kept. */
const char *cairn_optimizer_state(const cairn_optimizer *optimizer,
                                  const cairn_parameter *parameter, int state);

/* Whether some optimiser has state tensors that are called so: "adam.exp_avg.fc.weight". */
bool cairn_optimizer_names(const char *tensor);

/* `step` counts from 0. */
cairn_update cairn_optimizer_at(const cairn_optimizer *optimizer, const cairn_parameter *parameter,
                                uint32_t step, double lr);

/* The factor by which gradients of that norm are clipped; NaN for NaN. */
double cairn_optimizer_clip(const cairn_optimizer *optimizer, double norm);

#endif
