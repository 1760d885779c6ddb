/* The experiment: a configuration becomes a run folder. Reads top to bottom as the run goes: data,
 * net, executor, folder; then epoch by epoch train, evaluate, record; then the best model's
 * predictions and the summary. */
#include "experiment.h"

#include "cairn/clock.h"
#include "cairn/dataset.h"
#include "cairn/model.h"
#include "cairn/schedule.h"
#include "cairn/stop.h"
#include "cairn/whiten.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool stopped(const cairn_experiment *run) {
    return run->options->stop && *run->options->stop;
}

const cairn_epoch_row *cairn_experiment_best(const cairn_experiment *run) {
    const cairn_epoch_row *best = NULL;
    for (uint32_t i = 0; i < run->at.epoch; i++)
        if (!best || run->at.rows[i].test_acc > best->test_acc)
            best = &run->at.rows[i];
    return best;
}

/* Of a whole step: some batches, at most the epoch. */
static int samples_per_step(const cairn_experiment *run) {
    const cairn_executor_options *options = &run->session.executor->options;
    int64_t samples = (int64_t)options->batch * options->accumulate;
    return samples < run->session.data->train.count ? (int)samples : run->session.data->train.count;
}

uint32_t cairn_experiment_steps_per_epoch(const cairn_experiment *run) {
    uint32_t count = (uint32_t)run->session.data->train.count;
    uint32_t samples = (uint32_t)samples_per_step(run);
    return (count + samples - 1) / samples;
}

double cairn_experiment_rate(const cairn_experiment *run, uint32_t epoch, uint32_t step) {
    const cairn_schedule_place place = {epoch, step, cairn_experiment_steps_per_epoch(run),
                                        run->at.rows};
    return cairn_schedule_rate(run->config, &place);
}

/* Preparing ------------------------------------------------------------------------------------ */

static cairn_status open_session(cairn_experiment *run) {
    cairn_session *session = &run->session;
    const cairn_experiment_options *options = run->options;
    cairn_status status = cairn_session_read(session, run->config, NULL, options->stop);
    if (status)
        return status;
    cairn_provenance_begin(&run->provenance, session->data);
    status = cairn_session_plan(session, run->config, session->data->train.count);
    if (!status)
        status = cairn_session_claim(session, run->config, options->quiet, options->stop);
    if (!status)
        status = cairn_session_start(session, NULL);
    if (!status)
        status = cairn_executor_upload(session->executor, CAIRN_SPLIT_TRAIN, &session->data->train);
    if (!status)
        status = cairn_executor_upload(session->executor, CAIRN_SPLIT_TEST, &session->data->test);
    return status;
}

cairn_status cairn_experiment_settle(cairn_experiment *run) {
    cairn_status status = cairn_provenance_end(&run->provenance, run->session.executor);
    memcpy(run->at.data_digest, run->provenance.data_digest, sizeof run->at.data_digest);
    return status;
}

/* The parameters and the position: from the checkpoint, or from the seed. */
static cairn_status make_start(cairn_experiment *run, cairn_run_start *start) {
    cairn_executor *executor = run->session.executor;
    if (!start->from) {
        run->at = (cairn_checkpoint){.config = *run->config, .data = run->session.data};
        cairn_status status = cairn_executor_initialise(executor, run->config->seed);
        return status ? status : cairn_whiten(executor, run->session.data);
    }
    run->at = start->at;
    start->at = (cairn_checkpoint){0};
    run->at.config = *run->config;
    run->at.data = run->session.data;
    char held[CAIRN_DIGEST_HEX];
    memcpy(held, run->at.data_digest, sizeof held);
    cairn_status status = cairn_experiment_settle(run);
    if (!status && strcmp(held, run->at.data_digest) != 0)
        status = cairn_error_set(CAIRN_BAD_INPUT,
                                 "%s: was trained on data with digest %.12s, the data at hand has "
                                 "%.12s; bring that data back or use --overwrite",
                                 start->from, held, run->at.data_digest);
    if (!status)
        status = cairn_checkpoint_restore(executor, &run->at, &start->tensors, start->from);
    cairn_safetensors_free(&start->tensors);
    run->saved = true;
    run->saved_step = run->at.step;
    run->damaged = start->from == run->folder.previous;
    if (!status &&
        (int64_t)run->at.step_in_epoch * samples_per_step(run) > run->session.data->train.count)
        status = cairn_error_set(CAIRN_BAD_INPUT, "%s: has %u steps done of an epoch of fewer",
                                 start->from, run->at.step_in_epoch);
    return status;
}

static void announce(const cairn_experiment *run, const cairn_run_start *start) {
    const cairn_executor_options *options = &run->session.executor->options;
    char device[256], choices[2048];
    if (*run->session.passed_over)
        cairn_terminal_note(run->terminal, "device auto: %s computes (%s)",
                            run->session.executor->backend->name, run->session.passed_over);
    if (strcmp(run->session.data->name, "synthetic") == 0)
        cairn_terminal_note(run->terminal, "data: SYNTHETIC images, not CIFAR-10; accuracies say "
                                           "nothing about CIFAR-10");
    cairn_terminal_note(run->terminal,
                        "training %s (%zu parameters) on %s (%s), %s, %d threads; %s, %d images",
                        run->config->model.name, cairn_net_parameter_total(run->session.net),
                        run->session.executor->backend->name,
                        cairn_executor_describe(run->session.executor, device, sizeof device),
                        cairn_precision_name(options->precision), options->threads,
                        run->session.data->name, run->session.data->train.count);
    if (*cairn_left_out_describe(&run->session.data->left_out, choices, sizeof choices))
        cairn_terminal_note(run->terminal, "%s: %s", run->config->data.dir, choices);
    if (run->session.data->held_out)
        cairn_terminal_note(
            run->terminal,
            "data.validation: val is %d training images that are held out (%s); nothing here is "
            "measured on the test split",
            run->session.data->test.count,
            cairn_held_out_describe(run->session.data, choices, sizeof choices));
    if (run->options->dvclive && run->provenance.dirty)
        cairn_terminal_note(run->terminal,
                            "files differ from git revision %.12s, and summary.json says so: "
                            "commit them for a run that can be made again",
                            run->provenance.revision);
    if (*cairn_executor_choices(run->session.executor, choices, sizeof choices))
        cairn_terminal_note(run->terminal, "%s", choices);
    const cairn_lock *locks[] = {&run->folder.lock, &run->session.device};
    for (int i = 0; i < 2; i++)
        if (locks[i]->refused)
            cairn_terminal_note(run->terminal,
                                "%s: cannot lock: %s; nothing keeps another run away",
                                locks[i]->path, strerror(locks[i]->refused));
    if (start->from && *start->notice)
        cairn_terminal_note(run->terminal, "%s: going on from %s", start->notice, start->from);
    if (start->from && run->at.epoch >= run->config->train.epochs)
        cairn_terminal_note(run->terminal, "all %u epochs are done already", run->at.epoch);
    else if (start->from)
        cairn_terminal_note(run->terminal, "resuming after %u epochs and %u steps", run->at.epoch,
                            run->at.step_in_epoch);
    else if (run->options->resume)
        cairn_terminal_note(run->terminal, "no checkpoint in %s: starting from the beginning",
                            run->folder.folder);
}

static cairn_status prepare(cairn_experiment *run) {
    cairn_run_start start = {0};
    cairn_status status = cairn_board_check(run->config);
    if (!status)
        status = cairn_run_folder_name(&run->folder, run->config, run->options->run_dir);
    if (!status)
        status = cairn_run_folder_check(&run->folder, run->config, run->options, &start);
    if (!status)
        status = open_session(run);
    if (!status)
        status = make_start(run, &start);
    if (!status)
        status = cairn_metrics_extend(&run->at.metrics, run->at.rows, run->at.epoch);
    if (!status)
        status = cairn_profile_open(&run->trace, run->options->profile, run->session.executor);
    if (!status)
        status = cairn_run_folder_begin(&run->folder, run->config, !start.from);
    if (!status)
        status = cairn_results_record(run);
    if (!status)
        status = cairn_board_open(&run->board, &run->folder, &run->at, run->session.data,
                                  run->session.executor);
    if (!status) {
        run->order = malloc((size_t)run->session.data->train.count * sizeof *run->order);
        run->terminal = cairn_terminal_open(run->options->quiet, (int)run->config->train.epochs);
        if (!run->order || !run->terminal)
            status = cairn_error_set(CAIRN_FAILED, "out of memory for the order of an epoch");
    }
    if (!status)
        announce(run, &start);
    cairn_run_start_free(&start);
    return status;
}

/* Training ------------------------------------------------------------------------------------- */

cairn_status cairn_experiment_check_loss(cairn_experiment *run, const char *which, double loss) {
    if (isfinite(loss))
        return CAIRN_OK;
    if (run->config->train.on_nan == CAIRN_NAN_STOP)
        return cairn_error_set(CAIRN_FAILED,
                               "training diverged in epoch %u, seen after step %u: the %s loss is "
                               "%g; a lower train.lr may help. The last good checkpoint, if there "
                               "is one, is kept",
                               run->at.epoch + 1, run->at.step, which, loss);
    if (!run->nan_noted)
        cairn_terminal_note(run->terminal,
                            "the %s loss is %g in epoch %u, after step %u; going on, as "
                            "train.on_nan has it",
                            which, loss, run->at.epoch + 1, run->at.step);
    run->nan_noted = true;
    return CAIRN_OK;
}

/* After every step where that costs nothing; else some times a second, since it waits. */
static cairn_status watch_loss(cairn_experiment *run, double time) {
    enum { LOOKS_A_SECOND = 4 };
    cairn_stats stats;
    if (!run->session.executor->backend->immediate && time - run->looked < 1.0 / LOOKS_A_SECOND)
        return CAIRN_OK;
    run->looked = time;
    cairn_status status = cairn_executor_get_stats(run->session.executor, &stats);
    return status ? status : cairn_experiment_check_loss(run, "train", stats.loss);
}

static cairn_status take_step(cairn_experiment *run, const cairn_step *step) {
    bool traced = run->trace && run->at.step_in_epoch < (uint32_t)run->options->profile_steps;
    cairn_timing parts[CAIRN_PROFILE_PARTS];
    int count = 0;
    cairn_status status = cairn_board_begin_step(run->board, step);
    if (!status)
        status = traced ? cairn_profile_step(run->trace, run->session.executor, step, parts, &count)
                        : cairn_executor_train_step(run->session.executor, step);
    return status ? status : cairn_board_end_step(run->board, step);
}

/* The rest of the epoch under way, from step at.step_in_epoch on; at.step_in_epoch is 0 again when
 * it is done. */
static cairn_status train_epoch(cairn_experiment *run) {
    int count = run->session.data->train.count, samples = samples_per_step(run);
    double begin = cairn_clock_now();
    cairn_sampler_order(run->config->seed, run->at.epoch, count, run->order);
    for (int first = (int)run->at.step_in_epoch * samples; first < count; first += samples) {
        if (stopped(run))
            return CAIRN_INTERRUPTED;
        cairn_step step = {.indices = run->order + first,
                           .count = count - first < samples ? count - first : samples,
                           .epoch = run->at.epoch,
                           .step = run->at.step,
                           .lr = cairn_experiment_rate(run, run->at.epoch, run->at.step)};
        cairn_status status = take_step(run, &step);
        if (status)
            return status;
        run->at.step_in_epoch++;
        run->at.step++;
        run->at.trained_images += step.count;
        double time = cairn_clock_now();
        run->at.train_seconds += time - begin;
        status = watch_loss(run, time);
        if (!status && first + step.count < count && cairn_results_due(run, time))
            status = cairn_results_save(run);
        if (status)
            return status;
        begin = cairn_clock_now();
        cairn_terminal_progress(run->terminal, (int)run->at.epoch + 1, first + step.count, count);
    }
    run->at.step_in_epoch = 0;
    return CAIRN_OK;
}

/* Means over what was seen, and the sums set back to zero. */
static cairn_status take_means(cairn_experiment *run, double *loss, double *accuracy) {
    const cairn_stats zero = {0};
    cairn_stats stats;
    cairn_status status = cairn_executor_get_stats(run->session.executor, &stats);
    if (status)
        return status;
    *loss = stats.loss / (double)stats.seen;
    *accuracy = (double)stats.correct / (double)stats.seen;
    return cairn_executor_set_stats(run->session.executor, &zero);
}

static cairn_status measure_epoch(cairn_experiment *run, cairn_epoch_row *row) {
    row->epoch = (int)run->at.epoch + 1;
    row->held_out = run->session.data->held_out;
    double begin = cairn_clock_now();
    cairn_status status = take_means(run, &row->train_loss, &row->train_acc);
    run->at.train_seconds +=
        cairn_clock_now() - begin; /* a device that runs behind ends its steps here */
    if (!status)
        status = cairn_experiment_check_loss(run, "train", row->train_loss);
    double trained = cairn_trace_now(run->trace);
    if (!status)
        status = cairn_executor_use_average(run->session.executor, true);
    if (!status)
        status = cairn_executor_evaluate(run->session.executor, CAIRN_SPLIT_TEST, 0,
                                         run->session.data->test.count);
    if (!status)
        status = take_means(run, &row->test_loss, &row->test_acc);
    if (!status)
        status = cairn_executor_use_average(run->session.executor, false);
    cairn_trace_since(run->trace, "evaluate", trained);
    /* The train loss is measured before each update: the last one may have broken the weights. */
    return status
               ? status
               : cairn_experiment_check_loss(run, cairn_split_name(row->held_out), row->test_loss);
}

static cairn_status train(cairn_experiment *run) {
    cairn_status status = CAIRN_OK;
    run->began = cairn_clock_now();
    if (!run->options->quiet)
        cairn_stop_announce(
            "stopping after this step; another signal, from a second on, ends it at "
            "once");
    while (!status && run->at.epoch < run->config->train.epochs) {
        cairn_epoch_row row;
        double begin = cairn_trace_now(run->trace);
        status = train_epoch(run);
        cairn_trace_since(run->trace, "train", begin);
        if (!status)
            status = measure_epoch(run, &row);
        if (!status)
            status = cairn_results_epoch(run, &row);
        cairn_trace_since(run->trace, "epoch", begin);
    }
    cairn_stop_announce(NULL);
    if (status != CAIRN_INTERRUPTED)
        return status;
    if (run->saved && run->saved_step == run->at.step)
        return status;
    status = cairn_results_save(run);
    return status ? status : CAIRN_INTERRUPTED;
}

/* Closing -------------------------------------------------------------------------------------- */

static cairn_status finish(cairn_experiment *run, cairn_status trained) {
    cairn_status status = run->recorded < run->at.epoch ? cairn_results_record(run) : CAIRN_OK;
    if (!status)
        status = cairn_experiment_settle(run);
    if (*run->provenance.warning)
        cairn_terminal_note(run->terminal, "git revision unknown: %s", run->provenance.warning);
    if (trained == CAIRN_INTERRUPTED) {
        if (!status)
            status = cairn_results_summarise(run, "interrupted");
        cairn_terminal_note(run->terminal,
                            "interrupted in epoch %u after %u steps; %s is saved: the same "
                            "command with --resume goes on",
                            run->at.epoch + 1, run->at.step_in_epoch, run->folder.checkpoint);
        return status ? status : CAIRN_INTERRUPTED;
    }
    if (!status)
        status = cairn_results_predict(run);
    if (!status)
        status = cairn_board_finish(run->board, &run->at);
    if (!status)
        status = cairn_results_summarise(run, "finished");
    const cairn_epoch_row *best = cairn_experiment_best(run);
    if (!status && best)
        cairn_terminal_note(run->terminal, "best %s accuracy %.4f in epoch %d; results in %s",
                            cairn_split_name(best->held_out), best->test_acc, best->epoch,
                            run->folder.folder);
    return status;
}

cairn_status cairn_experiment_run(const cairn_config *config,
                                  const cairn_experiment_options *options) {
    cairn_experiment run = {.config = config, .options = options};
    cairn_status status = prepare(&run);
    if (!status) {
        status = train(&run);
        if (status == CAIRN_FAILED)
            cairn_results_rescue(&run);
        if (status == CAIRN_OK || status == CAIRN_INTERRUPTED)
            status = finish(&run, status);
    }
    char message[2048]; /* of what ended the run; closing its files may fail as well */
    snprintf(message, sizeof message, "%s", cairn_error_message());
    (void)cairn_provenance_end(&run.provenance, NULL); /* before the data go */
    if (options->dvclive)
        cairn_dvclive_end();
    if (run.terminal)
        cairn_terminal_close(run.terminal);
    free(run.order);
    cairn_board_close(run.board);
    cairn_status traced = cairn_trace_close(run.trace);
    status = status ? cairn_error_set(status, "%s", message) : traced;
    cairn_checkpoint_free(&run.at);
    cairn_safetensors_free(&run.best);
    cairn_session_close(&run.session);
    cairn_run_folder_end(&run.folder);
    return status;
}
