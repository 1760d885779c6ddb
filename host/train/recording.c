/* What recorders are told of a run, as plain numbers and texts; and what is gathered for them where
 * they ask for more. */
#include "training.h"

#include "cairn/clock.h"
#include "cairn/model_file.h"
#include "cairn/text.h"
#include "model_tensors.h"

#include <stdlib.h>

/* The run ------------------------------------------------------------------------------------- */

static cairn_status list_settings(cairn_run_description *described, const cairn_config *config) {
    size_t count = 0;
    const cairn_key *keys = cairn_config_keys(&count);
    described->settings = calloc(count, sizeof *described->settings);
    described->texts = calloc(count, sizeof *described->texts);
    if (!described->settings || !described->texts)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %zu settings", count);
    for (size_t i = 0; i < count; i++) {
        const cairn_key *key = &keys[i];
        cairn_config_value(config, key, described->texts[i], sizeof described->texts[i]);
        described->settings[i] = (cairn_setting){.name = key->name,
                                                 .text = described->texts[i],
                                                 .number = key->type == CAIRN_KEY_INTEGER ||
                                                           key->type == CAIRN_KEY_NUMBER,
                                                 .idle = key->idle};
    }
    described->run.settings = described->settings;
    described->run.setting_count = count;
    return CAIRN_OK;
}

cairn_status cairn_recording_check(cairn_experiment *run) {
    const cairn_experiment_options *options = run->options;
    cairn_run_description *described = &run->description;
    described->run = (cairn_run){.quiet = options->quiet,
                                 .dvclive = options->dvclive,
                                 .trace = options->profile,
                                 .trace_steps = options->profile_steps};
    cairn_status status = list_settings(described, run->config);
    if (!status)
        status = cairn_config_digest(run->config, described->config_digest);
    return status ? status : cairn_recorders_check(&described->run);
}

cairn_status cairn_recording_open(cairn_experiment *run) {
    const cairn_dataset *data = run->session.data;
    const cairn_executor *executor = run->session.executor;
    cairn_run_description *described = &run->description;
    cairn_run *known = &described->run;
    known->name = run->folder.name;
    known->folder = run->folder.folder;
    known->config_digest = described->config_digest;
    known->device = executor->backend->name;
    known->device_description =
        cairn_executor_describe(executor, described->device, sizeof described->device);
    known->precision = cairn_precision_name(executor->options.precision);
    known->threads = executor->options.threads;
    known->parameters = (int64_t)cairn_net_parameter_total(run->session.net);
    known->data = data->name;
    known->train_count = data->train.count;
    known->test = data->test;
    known->test_files = data->test_files;
    known->held_out = data->held_out;
    known->classes = data->classes;
    known->class_names = data->class_names;
    return cairn_recorders_open(&run->recorders, known);
}

/* Where it stands ------------------------------------------------------------------------------ */

static cairn_snapshot snapshot(const cairn_experiment *run, cairn_run_state state) {
    const cairn_provenance *found = &run->provenance;
    return (cairn_snapshot){
        .state = state,
        .epochs = run->at.epoch,
        .rows = run->at.rows,
        .rates = run->rates,
        .best = cairn_progress_best(run),
        .metrics = run->at.metrics.text,
        .step = run->at.step,
        .seconds = run->at.seconds,
        .train_seconds = run->at.train_seconds,
        .trained_images = run->at.trained_images,
        .origin = {.data_digest = run->at.data_digest,
                   .git_revision = found->revision,
                   .git_dirty = found->dirty,
                   .binary_digest = found->binary_digest,
                   .plugin_digest = found->plugin_digest,
                   .processor = found->processor,
                   .experiment = found->experiment,
                   .note = found->note},
    };
}

cairn_status cairn_recording_begin(cairn_experiment *run) {
    cairn_status status = cairn_run_folder_in_place(&run->folder);
    if (!status && cairn_recorders_due_epoch(run->recorders, run->at.epoch).provenance)
        status = cairn_progress_await_provenance(run);
    cairn_snapshot at = snapshot(run, CAIRN_RUN_GOES_ON);
    if (!status)
        status = cairn_recorders_begin(run->recorders, &at);
    run->recorded = status ? 0 : run->at.epoch;
    return status;
}

cairn_status cairn_recording_close(cairn_experiment *run) {
    cairn_status status = cairn_recorders_close(run->recorders);
    free(run->description.settings);
    free(run->description.texts);
    return status;
}

/* Steps ---------------------------------------------------------------------------------------- */

static cairn_status train_step(cairn_experiment *run, const cairn_step *step, bool apart,
                               cairn_step_record *record, cairn_timing *parts) {
    cairn_executor *executor = run->session.executor;
    record->begin = cairn_clock_now();
    cairn_status status = apart ? cairn_executor_profile_step(executor, step, parts, CAIRN_TIMINGS,
                                                              &record->part_count)
                                : cairn_executor_train_step(executor, step);
    record->end = cairn_clock_now();
    record->parts = apart ? parts : NULL;
    return status;
}

cairn_status cairn_recording_take_step(cairn_experiment *run, const cairn_step *step) {
    cairn_executor *executor = run->session.executor;
    const uint32_t place = run->at.step_in_epoch;
    cairn_record_due due = cairn_recorders_due_step(run->recorders, place, (int64_t)step->step + 1);
    int64_t samples = cairn_progress_samples_per_step(run);
    cairn_timing parts[CAIRN_TIMINGS];
    cairn_stats before = {0}, after = {0};
    const double so_far[] = {cairn_progress_mean_loss(&run->seen),
                             (double)run->seen.correct / (double)run->seen.seen};
    cairn_step_record record = {.epoch = step->epoch + 1,
                                .step = (int64_t)step->step + 1,
                                .count = step->count,
                                .seen = place * samples + step->count,
                                .total = run->session.data->train.count,
                                .lr = step->lr,
                                .so_far = run->seen.seen ? so_far : NULL};
    cairn_status status = due.means ? cairn_executor_get_stats(executor, &before) : CAIRN_OK;
    if (!status)
        status = train_step(run, step, due.parts, &record, parts);
    if (!status && due.means)
        status = cairn_executor_get_stats(executor, &after);
    const double means[] = {(after.loss - before.loss) / step->count,
                            (double)(after.correct - before.correct) / step->count};
    record.means = due.means ? means : NULL;
    return status ? status : cairn_recorders_step(run->recorders, &record, place);
}

/* Epochs --------------------------------------------------------------------------------------- */

static cairn_status get_logits(cairn_experiment *run, float **logits) {
    const cairn_split *test = &run->session.data->test;
    *logits = malloc((size_t)test->count * (size_t)run->session.data->classes * sizeof **logits);
    if (!*logits)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d %s", test->count,
                               cairn_noun(test->count, "prediction", "predictions"));
    return cairn_executor_logits(run->session.executor, CAIRN_SPLIT_TEST, 0, test->count, *logits);
}

cairn_status cairn_recording_epoch(cairn_experiment *run) {
    cairn_executor *executor = run->session.executor;
    cairn_record_due due = cairn_recorders_due_epoch(run->recorders, run->at.epoch);
    cairn_snapshot at = snapshot(run, CAIRN_RUN_GOES_ON);
    cairn_safetensors tensors = {0};
    float *logits = NULL;
    cairn_status status = CAIRN_OK;
    if (due.tensors)
        status = cairn_tensors_add(&tensors, executor, CAIRN_PARAMETER, "weights/");
    if (!status && due.tensors)
        status = cairn_tensors_add(&tensors, executor, CAIRN_GRADIENT, "gradients/");
    if (!status && due.logits)
        status = cairn_executor_use_average(executor, true);
    if (!status && due.logits)
        status = get_logits(run, &logits);
    if (!status && due.logits)
        status = cairn_executor_use_average(executor, false);
    at.tensors = due.tensors ? &tensors : NULL;
    at.logits = logits;
    if (!status)
        status = cairn_recorders_epoch(run->recorders, &at, true);
    cairn_safetensors_free(&tensors);
    free(logits);
    return status;
}

cairn_status cairn_recording_saved(cairn_experiment *run, cairn_run_state state) {
    cairn_snapshot at = snapshot(run, state);
    cairn_status status = cairn_run_folder_in_place(&run->folder);
    if (!status)
        status = cairn_recorders_epoch(run->recorders, &at, false);
    run->recorded = status ? 0 : run->at.epoch;
    return status;
}

cairn_status cairn_recording_finish(cairn_experiment *run, cairn_run_state state) {
    float *logits = NULL;
    cairn_record_due due = cairn_recorders_due_epoch(run->recorders, run->at.epoch);
    cairn_status status = cairn_progress_await_provenance(run);
    cairn_snapshot at = snapshot(run, state);
    if (!status && state == CAIRN_RUN_FINISHED && due.last_logits) {
        status = cairn_model_load(run->session.executor, run->folder.model);
        if (!status)
            status = get_logits(run, &logits);
    }
    at.logits = logits;
    if (!status)
        status = cairn_run_folder_in_place(&run->folder);
    if (!status)
        status = cairn_recorders_finish(run->recorders, &at);
    free(logits);
    return status;
}
