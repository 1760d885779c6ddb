/* A small net for tests of the CUDA executor, executors of it, and steps. */
#ifndef CAIRN_EMULATOR_SMALL_NET_H
#define CAIRN_EMULATOR_SMALL_NET_H

#include "executors.h"

enum { SAMPLES = 150, BATCH = 32 };

/* A net of two convolutions and two linear layers, quick to emulate. */
static inline cairn_net *small_net(void) {
    cairn_net *net = NULL;
    cairn_simple_cnn model = {.widths = {5, 9}, .blocks = 2, .hidden = 12, .dropout = 0.2f};
    must(cairn_simple_cnn_build(&net, &model, (cairn_shape){3, 8, 8}, 10));
    return net;
}

static inline cairn_executor *make_with(const cairn_backend *backend, const cairn_net *net,
                                        cairn_precision precision, const cairn_split *split,
                                        const cairn_optimizer *optimizer, int accumulate) {
    cairn_executor_options options = cairn_executor_defaults();
    options.optimizer = *optimizer;
    options.accumulate = accumulate;
    options.batch = BATCH / accumulate;
    options.precision = precision;
    return make_executor(backend, net, &options, split);
}

static inline cairn_executor *make(const cairn_backend *backend, const cairn_net *net,
                                   cairn_precision precision, const cairn_split *split) {
    const cairn_optimizer optimizer = cairn_optimizer_defaults();
    return make_with(backend, net, precision, split, &optimizer, 1);
}

/* Steps first..last-1 of a training, the last of every epoch smaller. */
static inline void train(cairn_executor *executor, int first, int last, double *losses) {
    const int epoch_steps = (SAMPLES + BATCH - 1) / BATCH;
    int32_t order[SAMPLES];
    for (int t = first; t < last; t++) {
        int epoch = t / epoch_steps, at = t % epoch_steps * BATCH;
        int count = SAMPLES - at < BATCH ? SAMPLES - at : BATCH;
        const cairn_stats zero = {0};
        cairn_stats stats;
        cairn_step step = {order + at, count, (uint32_t)epoch, (uint32_t)t, 1e-3};
        cairn_sampler_order(7, (uint32_t)epoch, SAMPLES, order);
        if (losses)
            must(cairn_executor_set_stats(executor, &zero));
        must(cairn_executor_train_step(executor, &step));
        if (!losses)
            continue;
        must(cairn_executor_get_stats(executor, &stats));
        losses[t] = stats.loss / count;
    }
}

#endif
