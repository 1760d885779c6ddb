/* The experiment: a configuration becomes a run folder. Reads top to bottom as the run goes: data,
 * net, executor, folder; then epoch by epoch train, evaluate, record; then the best model's
 * predictions and the summary. */
#include "training.h"

#include "cairn/clock.h"
#include "cairn/stop.h"
#include "cairn/text.h"
#include "cairn/whiten.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool stopped(const cairn_experiment *run) {
    return run->options->stop && *run->options->stop;
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
    char held[CAIRN_DIGEST_HEX], computer[CAIRN_COMPUTED_BY_MAX], shown[CAIRN_COMPUTED_BY_MAX];
    cairn_text_show(shown, sizeof shown, cairn_computed_by(executor, computer, sizeof computer));
    if (strcmp(run->at.computed_by, shown) != 0)
        memcpy(start->elsewhere, run->at.computed_by, sizeof start->elsewhere);
    memcpy(held, run->at.data_digest, sizeof held);
    cairn_status status = cairn_progress_await_provenance(run);
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
    if (!status && (int64_t)run->at.step_in_epoch * cairn_progress_samples_per_step(run) >
                       run->session.data->train.count)
        status = cairn_error_set(CAIRN_BAD_INPUT, "%s: has %u %s done of an epoch of fewer",
                                 start->from, run->at.step_in_epoch,
                                 cairn_noun(run->at.step_in_epoch, "step", "steps"));
    return status;
}

/* Where it starts: in which folder, after what. */
static void announce_start(const cairn_experiment *run, const cairn_run_start *start) {
    if (!start->from && *start->notice)
        cairn_recorders_note(run->recorders, "%s, which is kept: this one goes into %s",
                             start->notice, run->folder.folder);
    if (start->from && *start->notice)
        cairn_recorders_note(run->recorders, "%s: going on from %s", start->notice, start->from);
    if (*start->elsewhere)
        cairn_recorders_note(run->recorders,
                             "computed so far by %s: what follows may differ in its last digits "
                             "from an unbroken run, there or here",
                             start->elsewhere);
    cairn_progress_note_warmup(run);
    if (start->from && run->at.epoch >= run->config->train.epochs)
        cairn_recorders_note(run->recorders, "%s%u %s done already",
                             run->at.epoch == 1 ? "" : "all ", run->at.epoch,
                             cairn_noun(run->at.epoch, "epoch is", "epochs are"));
    else if (start->from)
        cairn_recorders_note(run->recorders, "resuming after %u %s and %u %s", run->at.epoch,
                             cairn_noun(run->at.epoch, "epoch", "epochs"), run->at.step_in_epoch,
                             cairn_noun(run->at.step_in_epoch, "step", "steps"));
    else if (run->options->resume)
        cairn_recorders_note(run->recorders, "no checkpoint in %s: starting from the beginning",
                             run->folder.folder);
}

static void announce(const cairn_experiment *run, const cairn_run_start *start) {
    const cairn_executor_options *options = &run->session.executor->options;
    char device[256], choices[2048];
    const size_t parameters = cairn_net_parameter_total(run->session.net);
    const int images = run->session.data->train.count, held_out = run->session.data->test.count;
    if (*run->session.passed_over)
        cairn_recorders_note(run->recorders, "device auto: %s computes (%s)",
                             run->session.executor->backend->name, run->session.passed_over);
    if (strcmp(run->session.data->name, "synthetic") == 0)
        cairn_recorders_note(run->recorders, "data: SYNTHETIC images, not CIFAR-10; accuracies say "
                                             "nothing about CIFAR-10");
    cairn_recorders_note(run->recorders, "training %s (%zu %s) on %s (%s), %s, %d %s; %s, %d %s",
                         run->config->model.name, parameters,
                         cairn_noun((long long)parameters, "parameter", "parameters"),
                         run->session.executor->backend->name,
                         cairn_executor_describe(run->session.executor, device, sizeof device),
                         cairn_precision_name(options->precision), options->threads,
                         cairn_noun(options->threads, "thread", "threads"), run->session.data->name,
                         images, cairn_noun(images, "image", "images"));
    if (*cairn_left_out_describe(&run->session.data->left_out, choices, sizeof choices))
        cairn_recorders_note(run->recorders, "%s: %s", run->config->data.dir, choices);
    if (run->session.data->held_out)
        cairn_recorders_note(
            run->recorders,
            "data.validation: val is %d training %s held out (%s); nothing here is "
            "measured on the test split",
            held_out, cairn_noun(held_out, "image that is", "images that are"),
            cairn_held_out_describe(run->session.data, choices, sizeof choices));
    if (run->options->dvclive && run->provenance.dirty)
        cairn_recorders_note(run->recorders,
                             "files differ from git revision %.12s, and summary.json says so: "
                             "commit them for a run that can be made again",
                             run->provenance.revision);
    if (*cairn_executor_choices(run->session.executor, choices, sizeof choices))
        cairn_recorders_note(run->recorders, "%s", choices);
    const cairn_lock *locks[] = {&run->folder.lock, &run->session.device};
    for (int i = 0; i < 2; i++)
        if (locks[i]->refused)
            cairn_recorders_note(run->recorders,
                                 "%s: cannot lock: %s; nothing keeps another run away",
                                 locks[i]->path, strerror(locks[i]->refused));
    announce_start(run, start);
}

static cairn_status prepare(cairn_experiment *run) {
    cairn_run_start start = {0};
    cairn_status status = cairn_recording_check(run);
    if (!status)
        status = cairn_run_folder_name(&run->folder, run->config, run->options->run_dir);
    if (!status)
        status = cairn_run_folder_check(&run->folder, run->config, run->options, &start);
    if (!status)
        status = open_session(run);
    if (!status)
        status = make_start(run, &start);
    if (!status)
        status = cairn_progress_complete(run, 0);
    if (!status)
        status = cairn_run_folder_take(&run->folder, run->config, run->options, &start);
    if (!status)
        status = cairn_recording_open(run);
    if (!status)
        status = cairn_run_folder_begin(&run->folder, run->config, !start.from);
    if (!status)
        status = cairn_recording_begin(run);
    if (!status) {
        run->order = malloc((size_t)run->session.data->train.count * sizeof *run->order);
        if (!run->order)
            status = cairn_error_set(CAIRN_FAILED, "out of memory for the order of an epoch");
    }
    if (!status)
        announce(run, &start);
    cairn_run_start_free(&start);
    return status;
}

/* Training ------------------------------------------------------------------------------------- */

/* After every step where that costs nothing; else some times a second, since it waits. */
static cairn_status watch_loss(cairn_experiment *run, double time) {
    enum { LOOKS_A_SECOND = 4 };
    if (!run->session.executor->backend->immediate && time - run->loss_read < 1.0 / LOOKS_A_SECOND)
        return CAIRN_OK;
    run->loss_read = time;
    cairn_status status = cairn_executor_get_stats(run->session.executor, &run->seen);
    return status ? status
                  : cairn_progress_check_loss(run, "train", cairn_progress_mean_loss(&run->seen));
}

/* The rest of the epoch under way, from step at.step_in_epoch on; at.step_in_epoch is 0 again when
 * it is done. */
static cairn_status train_epoch(cairn_experiment *run) {
    int count = run->session.data->train.count, samples = cairn_progress_samples_per_step(run);
    double begin = cairn_clock_now();
    cairn_sampler_order(run->config->seed, run->at.epoch, count, run->order);
    for (int first = (int)run->at.step_in_epoch * samples; first < count; first += samples) {
        if (stopped(run))
            return CAIRN_INTERRUPTED;
        cairn_step step = {.indices = run->order + first,
                           .count = count - first < samples ? count - first : samples,
                           .epoch = run->at.epoch,
                           .step = run->at.step,
                           .lr = cairn_progress_rate(run, run->at.epoch, run->at.step)};
        cairn_status status = cairn_recording_take_step(run, &step);
        if (status)
            return status;
        run->at.step_in_epoch++;
        run->at.step++;
        run->at.trained_images += step.count;
        double time = cairn_clock_now();
        run->at.train_seconds += time - begin;
        status = watch_loss(run, time);
        if (!status && first + step.count < count && cairn_saving_is_due(run, time))
            status = cairn_saving_save(run);
        if (status)
            return status;
        begin = cairn_clock_now();
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
    *loss = cairn_progress_mean_loss(&stats);
    *accuracy = (double)stats.correct / (double)stats.seen;
    run->seen = zero;
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
        status = cairn_progress_check_loss(run, "train", row->train_loss);
    double trained = cairn_clock_now();
    if (!status)
        status = cairn_executor_use_average(run->session.executor, true);
    if (!status)
        status = cairn_executor_evaluate(run->session.executor, CAIRN_SPLIT_TEST, 0,
                                         run->session.data->test.count);
    if (!status)
        status = take_means(run, &row->test_loss, &row->test_acc);
    if (!status)
        status = cairn_executor_use_average(run->session.executor, false);
    cairn_recorders_phase(run->recorders, "evaluate", trained);
    /* The train loss is measured before each update: the last one may have broken the weights. */
    return status ? status
                  : cairn_progress_check_loss(run, cairn_split_name(row->held_out), row->test_loss);
}

/* An epoch has ended with this row. */
static cairn_status end_epoch(cairn_experiment *run, const cairn_epoch_row *row) {
    double begin = cairn_clock_now();
    const cairn_epoch_row *best = cairn_progress_best(run);
    bool improved = !best || row->test_acc > best->test_acc;
    cairn_status status = cairn_progress_add(run, row);
    if (!status)
        status = cairn_recording_epoch(run);
    if (!status && improved)
        status = cairn_saving_take_best(run);
    if (!status && cairn_saving_is_due_after_epoch(run))
        status = cairn_saving_save(run);
    if (!status)
        status = cairn_recording_saved(run, CAIRN_RUN_GOES_ON);
    cairn_recorders_phase(run->recorders, "record", begin);
    return status;
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
        double begin = cairn_clock_now();
        status = train_epoch(run);
        cairn_recorders_phase(run->recorders, "train", begin);
        if (!status)
            status = measure_epoch(run, &row);
        if (!status)
            status = end_epoch(run, &row);
        cairn_recorders_phase(run->recorders, "epoch", begin);
    }
    cairn_stop_announce(NULL);
    if (status != CAIRN_INTERRUPTED)
        return status;
    if (run->saved && run->saved_step == run->at.step)
        return status;
    status = cairn_saving_save(run);
    return status ? status : CAIRN_INTERRUPTED;
}

/* Closing -------------------------------------------------------------------------------------- */

/* After a failure: what was done before it and is not on disk yet, as far as that can be written.
 * The failure's message stays. Not without a checkpoint: a folder that has results then is taken
 * for another's. */
static void rescue(cairn_experiment *run) {
    char message[2048];
    if (!run->saved)
        return;
    snprintf(message, sizeof message, "%s", cairn_error_message());
    if (cairn_run_folder_in_place(&run->folder)) /* which is the reason, whatever failed */
        return;
    if (cairn_saving_write_best(run) == CAIRN_OK && run->recorded < run->at.epoch)
        (void)cairn_recording_saved(run, CAIRN_RUN_FAILED);
    (void)cairn_error_set(CAIRN_FAILED, "%s", message);
}

static cairn_status finish(cairn_experiment *run, cairn_status trained) {
    bool interrupted = trained == CAIRN_INTERRUPTED;
    cairn_status status = cairn_progress_await_provenance(run);
    if (*run->provenance.warning)
        cairn_recorders_note(run->recorders, "git revision unknown: %s", run->provenance.warning);
    if (!status)
        status =
            cairn_recording_finish(run, interrupted ? CAIRN_RUN_INTERRUPTED : CAIRN_RUN_FINISHED);
    if (interrupted) {
        bool numbered = !run->options->run_dir && run->folder.name != run->config->run.name;
        cairn_recorders_note(
            run->recorders, "interrupted in epoch %u after %u %s; %s is saved: %s%s goes on",
            run->at.epoch + 1, run->at.step_in_epoch,
            cairn_noun(run->at.step_in_epoch, "step", "steps"), run->folder.checkpoint,
            numbered ? "cairn train --resume " : "the same command with --resume",
            numbered ? run->folder.folder : "");
        return status ? status : CAIRN_INTERRUPTED;
    }
    return status;
}

cairn_status cairn_experiment_run(const cairn_config *config,
                                  const cairn_experiment_options *options) {
    cairn_experiment run = {.config = config, .options = options};
    cairn_status status = prepare(&run);
    if (!status) {
        status = train(&run);
        if (status == CAIRN_FAILED)
            rescue(&run);
        if (status == CAIRN_OK || status == CAIRN_INTERRUPTED)
            status = finish(&run, status);
    }
    char message[2048]; /* of what ended the run; closing its files may fail as well */
    snprintf(message, sizeof message, "%s", cairn_error_message());
    (void)cairn_provenance_end(&run.provenance, NULL); /* before the data go */
    cairn_status closed = cairn_recording_close(&run);
    status = status ? cairn_error_set(status, "%s", message) : closed;
    free(run.order);
    free(run.rates);
    cairn_checkpoint_free(&run.at);
    cairn_safetensors_free(&run.best);
    cairn_session_close(&run.session);
    cairn_run_folder_end(&run.folder);
    return status;
}
