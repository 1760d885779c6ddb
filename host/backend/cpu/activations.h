/* Activations that are ops of their own and functions of their input, GELU and SiLU. */
#ifndef CAIRN_BACKEND_CPU_ACTIVATIONS_H
#define CAIRN_BACKEND_CPU_ACTIVATIONS_H

#include "cairn/net.h"

/* y = f(x), and dx = dy f'(x), of `count` floats or, where `bf16`, bf16; dx may be dy. */
void activation_forward(cairn_op_kind kind, const void *x, void *y, size_t count, bool bf16);
void activation_backward(cairn_op_kind kind, const void *x, const void *dy, void *dx, size_t count,
                         bool bf16);

#endif
