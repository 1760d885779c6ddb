/* What follows from where a run stands. */
#include "training.h"

#include "cairn/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const cairn_epoch_row *cairn_progress_best(const cairn_experiment *run) {
    const cairn_epoch_row *best = NULL;
    for (uint32_t i = 0; i < run->at.epoch; i++)
        if (!best || run->at.rows[i].test_acc > best->test_acc)
            best = &run->at.rows[i];
    return best;
}

int cairn_progress_samples_per_step(const cairn_experiment *run) {
    const cairn_executor_options *options = &run->session.executor->options;
    int64_t samples = (int64_t)options->batch * options->accumulate;
    int count = run->session.data->train.count;
    return samples < count ? (int)samples : count;
}

static uint32_t steps_per_epoch(const cairn_experiment *run) {
    uint32_t count = (uint32_t)run->session.data->train.count;
    uint32_t samples = (uint32_t)cairn_progress_samples_per_step(run);
    return (count + samples - 1) / samples;
}

double cairn_progress_rate(const cairn_experiment *run, uint32_t epoch, uint32_t step) {
    const cairn_schedule_place place = {epoch, step, steps_per_epoch(run), run->at.rows};
    return cairn_schedule_rate(run->config, &place);
}

cairn_status cairn_progress_complete(cairn_experiment *run, uint32_t from) {
    double *rates = realloc(run->rates, ((size_t)run->at.epoch + 1) * sizeof *rates);
    if (!rates)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the learning rates");
    run->rates = rates;
    for (uint32_t epoch = from; epoch < run->at.epoch; epoch++) /* its first step's */
        rates[epoch] = cairn_progress_rate(run, epoch, epoch * steps_per_epoch(run));
    return cairn_metrics_extend(&run->at.metrics, run->at.rows, run->at.epoch);
}

cairn_status cairn_progress_add(cairn_experiment *run, const cairn_epoch_row *row) {
    cairn_epoch_row *rows = realloc(run->at.rows, ((size_t)run->at.epoch + 1) * sizeof *rows);
    if (!rows)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the metrics");
    run->at.rows = rows;
    run->at.rows[run->at.epoch++] = *row;
    return cairn_progress_complete(run, run->at.epoch - 1);
}

double cairn_progress_mean_loss(const cairn_stats *stats) {
    return fabs(stats->loss / (double)stats->seen);
}

/* A hundred times the loss of a guess that gives every class the same chance. */
static void note_high_loss(cairn_experiment *run, const char *which, double loss) {
    double guess = log(fmax(run->session.data->classes, 2));
    if (run->high_noted || !(loss > 100 * guess))
        return;
    cairn_recorders_note(run->recorders,
                         "the %s loss is %.3g in epoch %u, after step %u, where a guess among the "
                         "classes has %.3g; a lower train.lr may help",
                         which, loss, run->at.epoch + 1, run->at.step, guess);
    run->high_noted = true;
}

cairn_status cairn_progress_check_loss(cairn_experiment *run, const char *which, double loss) {
    if (isfinite(loss)) {
        note_high_loss(run, which, loss);
        return CAIRN_OK;
    }
    if (run->config->train.on_nan == CAIRN_NAN_STOP)
        return cairn_error_set(CAIRN_FAILED,
                               "training diverged in epoch %u, seen after step %u: the %s loss is "
                               "%g; a lower train.lr may help. The last good checkpoint, if there "
                               "is one, is kept",
                               run->at.epoch + 1, run->at.step, which, loss);
    if (!run->nan_noted)
        cairn_recorders_note(run->recorders,
                             "the %s loss is %g in epoch %u, after step %u; going on, as "
                             "train.on_nan has it",
                             which, loss, run->at.epoch + 1, run->at.step);
    run->nan_noted = true;
    return CAIRN_OK;
}

void cairn_progress_note_warmup(const cairn_experiment *run) {
    bool by_epoch = run->config->schedule.per == CAIRN_PER_EPOCH;
    int64_t warmup = run->config->schedule.warmup, length = run->config->train.epochs;
    if (!by_epoch)
        length *= steps_per_epoch(run);
    if (warmup > length)
        cairn_recorders_note(run->recorders,
                             "schedule.warmup: %lld %s are more than the whole run's %lld; the "
                             "rate never reaches train.lr",
                             (long long)warmup, by_epoch ? "epochs" : "steps", (long long)length);
}

cairn_status cairn_progress_await_provenance(cairn_experiment *run) {
    cairn_status status = cairn_provenance_end(&run->provenance, run->session.executor);
    memcpy(run->at.data_digest, run->provenance.data_digest, sizeof run->at.data_digest);
    return status;
}
