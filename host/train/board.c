/* A run in TensorBoard: which of its values go into the event files, under which names and when.
 *
 * Steps are those done over the whole run, for values of steps and of epochs alike: a resumed run
 * makes void what was written beyond its checkpoint. So everything about a step is written before a
 * checkpoint of that step is. */
#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CAIRN_WITH_PROTOBUF

#include "cairn/clock.h"
#include "cairn/tensorboard.h"

struct cairn_board {
    const cairn_config *config; /* at->config of the run */
    const cairn_dataset *data;
    cairn_executor *executor;
    cairn_events *events;
    cairn_stats before;   /* the step that is recorded */
    double since;         /* seconds of the monotonic clock at which ... */
    int64_t images;       /* ... these images of one epoch began to be trained on */
    double train_seconds; /* the checkpoint's, when the epoch (or this process) began */
    int64_t trained_images;
};

/* Every key that shapes the result. */
static cairn_status add_parameters(const cairn_board *board) {
    size_t count = 0, used = 0;
    const cairn_key *keys = cairn_config_keys(&count);
    cairn_hparam *parameters = calloc(count, sizeof *parameters);
    char(*texts)[CAIRN_TEXT_MAX] = calloc(count, sizeof *texts);
    cairn_status status = CAIRN_OK;
    if (!parameters || !texts) {
        status = cairn_error_set(CAIRN_FAILED, "out of memory for %zu parameters", count);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        const cairn_key *key = &keys[i];
        if (key->idle)
            continue;
        cairn_config_value(board->config, key, texts[i], sizeof texts[i]);
        parameters[used].name = key->name;
        if (key->type == CAIRN_KEY_INTEGER || key->type == CAIRN_KEY_NUMBER)
            parameters[used].number = strtod(texts[i], NULL);
        else
            parameters[used].text = texts[i];
        used++;
    }
    status = cairn_events_parameters(board->events, parameters, used);
done:
    free(parameters);
    free(texts);
    return status;
}

cairn_status cairn_board_check(const cairn_config *config) {
    (void)config;
    return CAIRN_OK;
}

cairn_status cairn_board_open(cairn_board **made, const cairn_run_folder *folder,
                              const cairn_checkpoint *at, const cairn_dataset *data,
                              cairn_executor *executor) {
    *made = NULL;
    if (!at->config.tensorboard.enabled)
        return CAIRN_OK;
    cairn_board *board = calloc(1, sizeof *board);
    if (!board)
        return cairn_error_set(CAIRN_FAILED, "out of memory for TensorBoard");
    *board = (cairn_board){.config = &at->config,
                           .data = data,
                           .executor = executor,
                           .since = cairn_clock_now(),
                           .train_seconds = at->train_seconds,
                           .trained_images = at->trained_images};
    cairn_status status = cairn_events_open(&board->events, folder->folder, at->step);
    if (!status)
        status = add_parameters(board);
    if (status) {
        cairn_board_close(board);
        return status;
    }
    *made = board;
    return CAIRN_OK;
}

void cairn_board_close(cairn_board *board) {
    if (!board)
        return;
    cairn_events_close(board->events);
    free(board);
}

cairn_status cairn_board_sync(cairn_board *board) {
    return board ? cairn_events_sync(board->events) : CAIRN_OK;
}

cairn_status cairn_board_finish(cairn_board *board, const cairn_checkpoint *at) {
    return board ? cairn_events_finish(board->events, at->step) : CAIRN_OK;
}

/* Steps ---------------------------------------------------------------------------------------- */

typedef struct {
    const char *tag;
    double value;
} scalar;

static cairn_status add_scalars(const cairn_board *board, int64_t step, const scalar *scalars,
                                size_t count) {
    cairn_status status = CAIRN_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = cairn_events_scalar(board->events, scalars[i].tag, step, scalars[i].value);
    return status;
}

static bool is_due(const cairn_board *board, const cairn_step *step) {
    int64_t every = board->config->tensorboard.every_steps;
    return every > 0 && ((int64_t)step->step + 1) % every == 0;
}

cairn_status cairn_board_begin_step(cairn_board *board, const cairn_step *step) {
    if (!board)
        return CAIRN_OK;
    return is_due(board, step) ? cairn_executor_get_stats(board->executor, &board->before)
                               : CAIRN_OK;
}

/* The loss and accuracy are those of this step's batch, not of the steps since the last record: so
 * a resumed run writes the same numbers. */
cairn_status cairn_board_end_step(cairn_board *board, const cairn_step *step) {
    if (!board)
        return CAIRN_OK;
    board->images += step->count;
    if (!is_due(board, step))
        return CAIRN_OK;
    cairn_stats after;
    cairn_status status = cairn_executor_get_stats(board->executor, &after);
    if (status)
        return status;
    double time = cairn_clock_now();
    const scalar scalars[] = {
        {"loss/step", (after.loss - board->before.loss) / step->count},
        {"accuracy/step", (double)(after.correct - board->before.correct) / step->count},
        {"learning_rate/step", step->lr},
        {"images_per_second/step", (double)board->images / (time - board->since)},
    };
    board->images = 0;
    board->since = time;
    return add_scalars(board, (int64_t)step->step + 1, scalars, sizeof scalars / sizeof scalars[0]);
}

/* Epochs --------------------------------------------------------------------------------------- */

static cairn_status add_histograms(const cairn_board *board, int64_t step) {
    const cairn_net *net = board->executor->net;
    cairn_status status = CAIRN_OK;
    for (int k = 0; k < net->parameter_count && !status; k++) {
        const cairn_parameter *parameter = &net->parameter[k];
        char tag[sizeof parameter->name + 16];
        float *values = malloc(parameter->count * sizeof *values);
        if (!values)
            return cairn_error_set(CAIRN_FAILED, "out of memory for a histogram");
        snprintf(tag, sizeof tag, "weights/%s", parameter->name);
        status = cairn_executor_get(board->executor, CAIRN_PARAMETER, k, values);
        if (!status)
            status = cairn_events_histogram(board->events, tag, step, values, parameter->count);
        snprintf(tag, sizeof tag, "gradients/%s", parameter->name);
        if (!status && parameter->trained)
            status = cairn_executor_get(board->executor, CAIRN_GRADIENT, k, values);
        if (!status && parameter->trained)
            status = cairn_events_histogram(board->events, tag, step, values, parameter->count);
        free(values);
    }
    return status;
}

static cairn_status add_drawing(const cairn_board *board, const char *tag, int64_t step,
                                cairn_drawing *drawing) {
    cairn_status status =
        drawing->rgb ? cairn_events_image(board->events, tag, step, drawing) : CAIRN_OK;
    cairn_drawing_free(drawing);
    return status;
}

static cairn_status add_pictures(const cairn_board *board, int64_t step) {
    const cairn_split *test = &board->data->test;
    const cairn_class_name *names = board->data->class_names;
    int classes = board->data->classes;
    bool held_out = board->data->held_out;
    cairn_drawing drawing = {0};
    float *logits = malloc((size_t)test->count * (size_t)classes * sizeof *logits);
    if (!logits)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d predictions", test->count);
    cairn_status status = cairn_executor_use_average(board->executor, true);
    if (!status)
        status = cairn_executor_logits(board->executor, CAIRN_SPLIT_TEST, 0, test->count, logits);
    if (!status)
        status = cairn_executor_use_average(board->executor, false);
    if (!status)
        status = cairn_draw_confusion(&drawing, logits, test->labels, test->count, classes, names);
    if (!status)
        status = add_drawing(board, held_out ? "val/confusion" : "test/confusion", step, &drawing);
    if (!status)
        status = cairn_draw_mistakes(&drawing, logits, test, classes, names);
    if (!status)
        status = add_drawing(board, held_out ? "val/mistakes" : "test/mistakes", step, &drawing);
    free(logits);
    return status;
}

cairn_status cairn_board_epoch(cairn_board *board, const cairn_checkpoint *at, double rate) {
    if (!board)
        return CAIRN_OK;
    const cairn_epoch_row *row = &at->rows[at->epoch - 1];
    double seconds = at->train_seconds - board->train_seconds;
    const scalar scalars[] = {
        {"epoch", row->epoch},
        {"loss/train", row->train_loss},
        {row->held_out ? "loss/val" : "loss/test", row->test_loss},
        {"accuracy/train", row->train_acc},
        {row->held_out ? "accuracy/val" : "accuracy/test", row->test_acc},
        {"learning_rate/epoch", rate},
        {"images_per_second/epoch",
         seconds > 0 ? (double)(at->trained_images - board->trained_images) / seconds : 0},
    };
    int64_t every = board->config->tensorboard.every_epochs;
    cairn_status status = add_scalars(board, at->step, scalars, sizeof scalars / sizeof scalars[0]);
    if (!status && every > 0 && at->epoch % every == 0)
        status = add_histograms(board, at->step);
    if (!status && every > 0 && at->epoch % every == 0)
        status = add_pictures(board, at->step);
    board->train_seconds = at->train_seconds;
    board->trained_images = at->trained_images;
    board->images = 0;
    board->since = cairn_clock_now();
    return status;
}

#endif
