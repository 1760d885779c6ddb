/* When checkpoints and models are saved.
 *
 * Training waits while a file is written, and an epoch may take less time than its checkpoint. So
 * an epoch's end is a chance to save, which is taken as long as saving costs a twentieth of the
 * time: when the last save has been over for nineteen times as long as it took. The first and the
 * last epoch of a process are saved always, and whatever checkpoint.every_steps and every_seconds
 * ask for. Who is killed then loses an epoch and nineteen saves' time, on a fast disk about a
 * second, and never more than checkpoint.every_seconds and the epoch under way; what comes of the
 * run in the end is the same. metrics.json and what DVC follows are written in every epoch: they
 * are small, and others look at them.
 *
 * A thread that writes while the training goes on could give that twentieth back. It would need
 * a second copy of all weights and moments, two ways for an error to come up, and on a CPU the
 * cores that train.
 *
 * The best model waits in memory for the next save. It goes to disk before the checkpoint whose
 * rows call it the best, so a model may be ahead of the checkpoint, but never behind it. */
#include "training.h"

#include "cairn/clock.h"
#include "cairn/file.h"
#include "model_tensors.h"

/* Another costs a twentieth of the time at most. */
static bool is_cheap(const cairn_duration *last, double time) {
    enum { SHARE = 20 };
    return time - last->ended >= (SHARE - 1) * last->took;
}

/* Of what was evaluated. */
cairn_status cairn_saving_take_best(cairn_experiment *run) {
    cairn_safetensors_free(&run->best);
    cairn_status status = cairn_executor_use_average(run->session.executor, true);
    if (!status)
        status = cairn_model_gather(&run->best, run->session.executor, run->session.data);
    if (status)
        cairn_safetensors_free(&run->best); /* half a model */
    return status ? status : cairn_executor_use_average(run->session.executor, false);
}

cairn_status cairn_saving_write_best(cairn_experiment *run) {
    if (run->best.tensor_count == 0)
        return CAIRN_OK;
    cairn_status status = cairn_recorders_model(run->recorders);
    if (!status)
        status = cairn_safetensors_write(&run->best, run->folder.model);
    if (!status)
        cairn_safetensors_free(&run->best);
    return status;
}

/* Keeps the checkpoint before as well, unless that is damaged: it would take the place of the only
 * good one. Never of a diverged state unless it is wanted: the checkpoint before is worth more. */
cairn_status cairn_saving_save(cairn_experiment *run) {
    cairn_status status = cairn_run_folder_in_place(&run->folder);
    if (!status)
        status = cairn_progress_await_provenance(run);
    if (status)
        return status;
    double time = cairn_clock_now();
    run->at.seconds += time - run->began;
    run->began = time;
    bool finite = run->config->train.on_nan == CAIRN_NAN_STOP;
    status = cairn_executor_get_stats(run->session.executor, &run->at.stats);
    if (!status)
        status = cairn_progress_check_loss(run, "train", run->at.stats.loss);
    if (!status)
        status = cairn_recorders_sync(run->recorders);
    if (!status)
        status = cairn_saving_write_best(run);
    if (!status && !run->damaged)
        status = cairn_file_keep(run->folder.checkpoint, run->folder.previous);
    if (!status)
        status =
            cairn_checkpoint_save(run->session.executor, &run->at, run->folder.checkpoint, finite);
    if (!status) {
        run->saved = true;
        run->damaged = false;
    }
    run->saved_step = run->at.step;
    run->saving.ended = cairn_clock_now();
    run->saving.took = run->saving.ended - time;
    cairn_recorders_phase(run->recorders, "checkpoint", time);
    return status;
}

bool cairn_saving_is_due(const cairn_experiment *run, double time) {
    int64_t steps = run->config->checkpoint.every_steps;
    double seconds = run->config->checkpoint.every_seconds;
    return (steps > 0 && run->at.step - run->saved_step >= steps) ||
           (seconds > 0 && time - run->began >= seconds);
}

bool cairn_saving_is_due_after_epoch(const cairn_experiment *run) {
    bool last = run->at.epoch == run->config->train.epochs;
    double time = cairn_clock_now();
    return last || cairn_saving_is_due(run, time) || is_cheap(&run->saving, time);
}
