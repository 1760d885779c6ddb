/* Test-time augmentation, above all backends: evaluation of the mean over several views. */
#ifndef CAIRN_BACKEND_VIEWS_H
#define CAIRN_BACKEND_VIEWS_H

#include "cairn/executor.h"

/* Whether the executor looks at that split more than once. */
bool cairn_views_apply(const cairn_executor *executor, cairn_split_id id);

/* Keeps the test split's labels, which losses are taken against here. */
cairn_status cairn_views_keep(cairn_executor *executor, const cairn_split *split);

/* Of the test split; executor.h's calls. */
cairn_status cairn_views_logits(cairn_executor *executor, int first, int count, float *logits);
cairn_status cairn_views_evaluate(cairn_executor *executor, int first, int count);

#endif
