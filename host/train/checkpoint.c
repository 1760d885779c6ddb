/* checkpoint.safetensors: parameters, the optimiser's state (adam.exp_avg.<name>, as
 * cairn/optimizers.def calls it), the average of the parameters as ema.<name>, and in the metadata
 * where the run stands. Sums are written as hexadecimal floats, exact, so that a resumed run ends
 * with the bytes of an unbroken one. */
#include "cairn/checkpoint.h"

#include "cairn/file.h"
#include "cairn/text.h"
#include "model_tensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writing -------------------------------------------------------------------------------------- */

static cairn_status add_integer(cairn_safetensors *file, const char *key, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return cairn_safetensors_add_metadata(file, key, text);
}

static cairn_status add_double(cairn_safetensors *file, const char *key, double value) {
    char text[40];
    snprintf(text, sizeof text, "%a", value);
    return cairn_safetensors_add_metadata(file, key, text);
}

char *cairn_computed_by(const cairn_executor *executor, char *out, size_t size) {
    char device[256], choices[512];
    snprintf(out, size, "%s (%s), %s, %d threads; %s", executor->backend->name,
             cairn_executor_describe(executor, device, sizeof device),
             cairn_precision_name(executor->options.precision), executor->options.threads,
             cairn_executor_choices(executor, choices, sizeof choices));
    return out;
}

static cairn_status add_position(cairn_safetensors *file, const cairn_checkpoint *at) {
    char *params = NULL;
    cairn_status status = cairn_config_format(&at->config, &params);
    if (!status)
        status = cairn_safetensors_add_metadata(file, "params", params);
    if (!status)
        status = cairn_safetensors_add_metadata(file, "data_digest", at->data_digest);
    if (!status)
        status = cairn_safetensors_add_metadata(file, "rows", at->metrics.text);
    const struct {
        const char *key;
        int64_t value;
    } integers[] = {{"epoch", at->epoch},     {"step_in_epoch", at->step_in_epoch},
                    {"step", at->step},       {"correct", at->stats.correct},
                    {"seen", at->stats.seen}, {"trained_images", at->trained_images}};
    const struct {
        const char *key;
        double value;
    } doubles[] = {
        {"loss", at->stats.loss}, {"seconds", at->seconds}, {"train_seconds", at->train_seconds}};
    for (size_t i = 0; i < sizeof integers / sizeof integers[0] && !status; i++)
        status = add_integer(file, integers[i].key, integers[i].value);
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0] && !status; i++)
        status = add_double(file, doubles[i].key, doubles[i].value);
    free(params);
    return status;
}

static cairn_status check_finite(const cairn_safetensors *file) {
    for (size_t i = 0; i < file->tensor_count; i++)
        for (size_t k = 0; k < file->tensor[i].count; k++)
            if (!isfinite(file->tensor[i].values[k]))
                return cairn_error_set(CAIRN_FAILED,
                                       "training diverged: value %zu of %s is %g; a lower train.lr "
                                       "may help. The last good checkpoint, if there is one, is "
                                       "kept",
                                       k, file->tensor[i].name,
                                       fabs((double)file->tensor[i].values[k]));
    return CAIRN_OK;
}

cairn_status cairn_checkpoint_save(cairn_executor *executor, const cairn_checkpoint *checkpoint,
                                   const char *path, bool finite) {
    cairn_safetensors file = {0};
    char computer[CAIRN_COMPUTED_BY_MAX];
    cairn_status status = add_position(&file, checkpoint);
    if (!status)
        status = cairn_safetensors_add_metadata(
            &file, "computed_by", cairn_computed_by(executor, computer, sizeof computer));
    if (!status && checkpoint->data)
        status = cairn_description_add(&file, checkpoint->data);
    for (int kind = 0; kind < CAIRN_TENSOR_KINDS && !status; kind++)
        if (kind != CAIRN_GRADIENT)
            status = cairn_tensors_add(&file, executor, (cairn_tensor_kind)kind, "");
    if (!status && finite)
        status = check_finite(&file);
    if (!status)
        status = cairn_safetensors_write(&file, path);
    cairn_safetensors_free(&file);
    return status;
}

/* Reading -------------------------------------------------------------------------------------- */

static cairn_status find_text(const cairn_safetensors *file, const char *path, const char *key,
                              const char **text) {
    *text = cairn_safetensors_metadata(file, key);
    if (!*text)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: is not a checkpoint: it lacks '%s'", path,
                               key);
    return CAIRN_OK;
}

static cairn_status find_integer(const cairn_safetensors *file, const char *path, const char *key,
                                 int64_t high, int64_t *value) {
    const char *text = NULL;
    char *end = NULL;
    cairn_status status = find_text(file, path, key, &text);
    if (status)
        return status;
    *value = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || *value < 0 || *value > high)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: '%s' is '%s', not a number from 0 to %" PRId64,
                               path, key, text, high);
    return CAIRN_OK;
}

static cairn_status find_double(const cairn_safetensors *file, const char *path, const char *key,
                                double *value) {
    const char *text = NULL;
    char *end = NULL;
    cairn_status status = find_text(file, path, key, &text);
    if (status)
        return status;
    *value = strtod(text, &end);
    if (*text == '\0' || *end != '\0')
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: '%s' is '%s', not a number", path, key, text);
    return CAIRN_OK;
}

static cairn_status read_counters(const cairn_safetensors *file, cairn_checkpoint *at,
                                  const char *path) {
    int64_t epoch = 0, step_in_epoch = 0, step = 0;
    const char *in_epoch = "step_in_epoch";
    if (!cairn_safetensors_metadata(file, in_epoch))
        in_epoch = "batch"; /* as older checkpoints call it */
    cairn_status status = find_integer(file, path, "epoch", INT32_MAX, &epoch);
    if (!status)
        status = find_integer(file, path, in_epoch, INT32_MAX, &step_in_epoch);
    if (!status)
        status = find_integer(file, path, "step", UINT32_MAX, &step);
    if (!status)
        status = find_integer(file, path, "correct", INT64_MAX, &at->stats.correct);
    if (!status)
        status = find_integer(file, path, "seen", INT64_MAX, &at->stats.seen);
    if (!status)
        status = find_integer(file, path, "trained_images", INT64_MAX, &at->trained_images);
    if (!status)
        status = find_double(file, path, "loss", &at->stats.loss);
    if (!status)
        status = find_double(file, path, "seconds", &at->seconds);
    if (!status)
        status = find_double(file, path, "train_seconds", &at->train_seconds);
    at->epoch = (uint32_t)epoch;
    at->step_in_epoch = (uint32_t)step_in_epoch;
    at->step = (uint32_t)step;
    return status;
}

static cairn_status read_position(const cairn_safetensors *file, cairn_checkpoint *at,
                                  const char *path) {
    const char *params = NULL, *digest = NULL, *rows = NULL;
    size_t row_count = 0;
    *at = (cairn_checkpoint){0};
    cairn_status status = find_text(file, path, "params", &params);
    if (!status)
        status = cairn_config_parse(&at->config, params, strlen(params), path, NULL, 0);
    if (!status)
        status = find_text(file, path, "data_digest", &digest);
    if (!status)
        status = cairn_path_format(at->data_digest, sizeof at->data_digest, "%s", digest);
    const char *computer = cairn_safetensors_metadata(file, "computed_by");
    cairn_text_show(at->computed_by, sizeof at->computed_by, computer ? computer : "");
    if (!status)
        status = read_counters(file, at, path);
    if (!status)
        status = find_text(file, path, "rows", &rows);
    if (!status)
        status = cairn_metrics_parse(rows, path, &at->rows, &row_count);
    if (!status && row_count != at->epoch)
        status = cairn_error_set(CAIRN_BAD_INPUT, "%s: has %zu %s for %u %s", path, row_count,
                                 cairn_noun((long long)row_count, "row", "rows"), at->epoch,
                                 cairn_noun(at->epoch, "epoch", "epochs"));
    if (status)
        cairn_checkpoint_free(at);
    return status;
}

cairn_status cairn_checkpoint_read(cairn_checkpoint *at, cairn_safetensors *tensors,
                                   const char *path) {
    cairn_safetensors file = {0};
    cairn_status status = cairn_safetensors_read(&file, path);
    if (!status)
        status = read_position(&file, at, path);
    if (!status && tensors) {
        *tensors = file;
        return CAIRN_OK;
    }
    cairn_safetensors_free(&file);
    return status;
}

cairn_status cairn_checkpoint_restore(cairn_executor *executor, const cairn_checkpoint *at,
                                      const cairn_safetensors *tensors, const char *path) {
    cairn_status status = CAIRN_OK;
    for (int kind = 0; kind < CAIRN_TENSOR_KINDS && !status; kind++)
        if (kind != CAIRN_GRADIENT)
            status = cairn_tensors_set(tensors, executor, (cairn_tensor_kind)kind, path);
    return status ? status : cairn_executor_set_stats(executor, &at->stats);
}

void cairn_checkpoint_free(cairn_checkpoint *checkpoint) {
    free(checkpoint->rows);
    checkpoint->rows = NULL;
    cairn_metrics_free(&checkpoint->metrics);
}
