/* What a run leaves on disk, and when.
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
#include "experiment.h"

#include "cairn/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* It costs a twentieth of the time at most. */
static bool is_time(const cairn_pace *pace, double time) {
    enum { SHARE = 20 };
    return time - pace->ended >= (SHARE - 1) * pace->took;
}

static cairn_pace pace_since(double begin) {
    double time = cairn_clock_now();
    return (cairn_pace){.took = time - begin, .ended = time};
}

/* Rows ----------------------------------------------------------------------------------------- */

cairn_status cairn_results_summarise(cairn_experiment *run, const char *state) {
    const cairn_config *config = run->config;
    const cairn_executor_options *options = &run->session.executor->options;
    const cairn_epoch_row none = {.held_out = run->session.data->held_out},
                          *best = cairn_experiment_best(run);
    char device[256], digest[CAIRN_DIGEST_HEX];
    cairn_status status = cairn_run_folder_in_place(&run->folder);
    if (!status)
        status = cairn_experiment_settle(run);
    if (status)
        return status;
    cairn_summary summary = {
        .run_name = config->run.name,
        .status = state,
        .version = CAIRN_VERSION,
        .device = run->session.executor->backend->name,
        .device_description = cairn_executor_describe(run->session.executor, device, sizeof device),
        .precision = cairn_precision_name(options->precision),
        .model = config->model.name,
        .data = run->session.data->name,
        .data_digest = run->at.data_digest,
        .config_digest = digest,
        .epochs = run->at.epoch,
        .batch_size = config->train.batch_size,
        .threads = run->session.executor->options.threads,
        .train_count = run->session.data->train.count,
        .test_count = run->session.data->test.count,
        .parameters = (int64_t)cairn_net_parameter_total(run->session.net),
        .lr = config->train.lr,
        .seed = config->seed,
        .final = best ? run->at.rows[run->at.epoch - 1] : none,
        .best = best ? *best : none,
        .seconds = run->at.seconds,
        .train_images_per_second =
            run->at.train_seconds > 0 ? (double)run->at.trained_images / run->at.train_seconds : 0,
        .git_revision = run->provenance.revision,
        .git_dirty = run->provenance.dirty,
        .binary_digest = run->provenance.binary_digest,
        .plugin_digest = run->provenance.plugin_digest,
        .processor = run->provenance.processor,
        .experiment = run->provenance.experiment,
        .provenance_note = run->provenance.note,
    };
    status = cairn_config_digest(config, digest);
    return status ? status : cairn_summary_write(run->folder.summary, &summary);
}

/* What others follow while the run goes on; the summary too, or DVC would show an earlier run's. */
static cairn_status record_live(cairn_experiment *run) {
    if (!run->options->dvclive)
        return CAIRN_OK;
    double *rates = malloc(((size_t)run->at.epoch + 1) * sizeof *rates);
    if (!rates)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the learning rates");
    for (uint32_t epoch = 0; epoch < run->at.epoch; epoch++)
        rates[epoch] = cairn_experiment_rate(
            run, epoch, epoch * cairn_experiment_steps_per_epoch(run)); /* its first step's */
    cairn_status status = cairn_dvclive_write(run->folder.dvclive, run->session.data->held_out,
                                              run->at.rows, rates, run->at.epoch);
    free(rates);
    if (!status)
        status = cairn_results_summarise(run, "running");
    if (!status)
        cairn_dvclive_signal((int)run->at.epoch);
    return status;
}

cairn_status cairn_results_record(cairn_experiment *run) {
    cairn_status status = cairn_run_folder_in_place(&run->folder);
    if (!status && run->at.epoch > 0) /* else a run that is killed now would seem to have results */
        status = cairn_metrics_write(run->folder.metrics, &run->at.metrics);
    if (!status)
        status = record_live(run);
    run->recorded = status ? 0 : run->at.epoch;
    return status;
}

/* Saves ---------------------------------------------------------------------------------------- */

/* Of what was evaluated. */
static cairn_status take_best(cairn_experiment *run) {
    cairn_safetensors_free(&run->best);
    cairn_status status = cairn_executor_use_average(run->session.executor, true);
    if (!status)
        status = cairn_model_gather(&run->best, run->session.executor, run->session.data);
    if (status)
        cairn_safetensors_free(&run->best); /* half a model */
    return status ? status : cairn_executor_use_average(run->session.executor, false);
}

static cairn_status write_best(cairn_experiment *run) {
    if (run->best.tensor_count == 0)
        return CAIRN_OK;
    cairn_status status = cairn_safetensors_write(&run->best, run->folder.model);
    if (!status)
        cairn_safetensors_free(&run->best);
    return status;
}

/* Keeps the checkpoint before as well, unless that is damaged: it would take the place of the only
 * good one. Never of a diverged state unless it is wanted: the checkpoint before is worth more. */
cairn_status cairn_results_save(cairn_experiment *run) {
    cairn_status status = cairn_run_folder_in_place(&run->folder);
    if (!status)
        status = cairn_experiment_settle(run);
    if (status)
        return status;
    double time = cairn_clock_now(), begin = cairn_trace_now(run->trace);
    run->at.seconds += time - run->began;
    run->began = time;
    bool finite = run->config->train.on_nan == CAIRN_NAN_STOP;
    status = cairn_executor_get_stats(run->session.executor, &run->at.stats);
    if (!status)
        status = cairn_experiment_check_loss(run, "train", run->at.stats.loss);
    if (!status)
        status = cairn_board_sync(run->board);
    if (!status)
        status = write_best(run);
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
    run->saving = pace_since(time);
    cairn_trace_since(run->trace, "checkpoint", begin);
    return status;
}

bool cairn_results_due(const cairn_experiment *run, double time) {
    int64_t steps = run->config->checkpoint.every_steps;
    double seconds = run->config->checkpoint.every_seconds;
    return (steps > 0 && run->at.step - run->saved_step >= steps) ||
           (seconds > 0 && time - run->began >= seconds);
}

cairn_status cairn_results_epoch(cairn_experiment *run, const cairn_epoch_row *row) {
    double begin = cairn_trace_now(run->trace);
    const cairn_epoch_row *best = cairn_experiment_best(run);
    bool improved = !best || row->test_acc > best->test_acc;
    cairn_epoch_row *rows =
        realloc(run->at.rows, ((size_t)run->at.epoch + 1) * sizeof *run->at.rows);
    if (!rows)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the metrics");
    run->at.rows = rows;
    run->at.rows[run->at.epoch++] = *row;
    double rate = cairn_experiment_rate(run, run->at.epoch - 1,
                                        run->at.step - cairn_experiment_steps_per_epoch(run));
    cairn_status status = cairn_metrics_extend(&run->at.metrics, run->at.rows, run->at.epoch);
    if (!status)
        status = cairn_board_epoch(run->board, &run->at, rate);
    if (!status && improved)
        status = take_best(run);
    bool last = run->at.epoch == run->config->train.epochs;
    double time = cairn_clock_now();
    if (!status && (last || cairn_results_due(run, time) || is_time(&run->saving, time)))
        status = cairn_results_save(run);
    if (!status)
        status = cairn_results_record(run);
    if (!status)
        cairn_terminal_epoch(run->terminal, row);
    cairn_trace_since(run->trace, "record", begin);
    return status;
}

/* Not without a checkpoint: a folder that has results then is taken for another's. */
void cairn_results_rescue(cairn_experiment *run) {
    char message[2048];
    if (!run->saved)
        return;
    snprintf(message, sizeof message, "%s", cairn_error_message());
    if (cairn_run_folder_in_place(&run->folder)) /* which is the reason, whatever failed */
        return;
    if (write_best(run) == CAIRN_OK && run->recorded < run->at.epoch)
        (void)cairn_results_record(run);
    (void)cairn_error_set(CAIRN_FAILED, "%s", message);
}

/* The end -------------------------------------------------------------------------------------- */

/* The best model's predictions for the test split. */
cairn_status cairn_results_predict(cairn_experiment *run) {
    const cairn_split *test = &run->session.data->test;
    int classes = run->session.data->classes;
    float *logits = malloc((size_t)test->count * (size_t)classes * sizeof *logits);
    if (!logits)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d predictions", test->count);
    cairn_status status = cairn_model_load(run->session.executor, run->folder.model);
    if (!status)
        status =
            cairn_executor_logits(run->session.executor, CAIRN_SPLIT_TEST, 0, test->count, logits);
    if (!status)
        status = cairn_run_folder_in_place(&run->folder);
    if (!status)
        status = cairn_predictions_write(run->folder.predictions, logits, test->labels,
                                         run->session.data->test_files, test->count, classes);
    if (!status)
        status =
            cairn_confusion_write(run->folder.confusion, logits, test->labels, test->count, classes,
                                  (const cairn_class_name *)run->session.data->class_names);
    free(logits);
    return status;
}
