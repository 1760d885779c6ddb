/* Elementwise tasks over tensors of one layout, whichever. */
#ifndef CAIRN_BACKEND_CPU_ELEMENTWISE_H
#define CAIRN_BACKEND_CPU_ELEMENTWISE_H

#include "layouts.h"

/* Appends y = a + b, with a ReLU behind it where `relu`. */
cairn_status plan_sum(task_list *list, const cairn_op *layer, const char *what, const tensor *a,
                      const tensor *b, const tensor *y, bool relu);

/* Appends the masking of a gradient where the ReLU with output y was zero, into `masked`. */
cairn_status plan_mask(task_list *list, const cairn_op *layer, const tensor *y,
                       const tensor *gradient, const tensor *masked);

/* Appends y = gelu(x). */
cairn_status plan_gelu(task_list *list, const cairn_op *layer, const tensor *x, const tensor *y);

#endif
