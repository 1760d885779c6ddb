/* A run in TensorBoard: which of its values go into the event files, under which names and when.
 *
 * Steps are those done over the whole run, for values of steps and of epochs alike: a resumed run
 * makes void what was written beyond its checkpoint. So everything about a step is written before a
 * checkpoint of that step is. */
#include "cairn/record.h"

#ifdef CAIRN_WITH_PROTOBUF

#include "cairn/clock.h"
#include "cairn/tensorboard.h"

#include <stdlib.h>

typedef struct {
    const cairn_run *run;
    cairn_events *events; /* from `begin` on */
    double since;         /* cairn_clock_now's seconds, at which ... */
    int64_t images;       /* ... these images of one epoch began to be trained on */
    double train_seconds; /* the snapshot's, when the epoch (or this process) began */
    int64_t trained_images;
} tensorboard;

static cairn_status open_tensorboard(void **state, const cairn_run *run,
                                     cairn_record_request *request) {
    if (!cairn_run_enabled(run, "tensorboard.enabled"))
        return CAIRN_OK;
    tensorboard *made = calloc(1, sizeof *made);
    if (!made)
        return cairn_error_set(CAIRN_FAILED, "out of memory for TensorBoard");
    made->run = run;
    request->means_every_steps = cairn_run_integer(run, "tensorboard.every_steps");
    request->tensors_every_epochs = request->logits_every_epochs =
        cairn_run_integer(run, "tensorboard.every_epochs");
    *state = made;
    return CAIRN_OK;
}

/* Every key that shapes the result. */
static cairn_status add_parameters(const tensorboard *writer) {
    const cairn_run *run = writer->run;
    size_t used = 0;
    cairn_hparam *parameters = calloc(run->setting_count + 1, sizeof *parameters);
    if (!parameters)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %zu parameters",
                               run->setting_count);
    for (size_t i = 0; i < run->setting_count; i++) {
        const cairn_setting *setting = &run->settings[i];
        if (setting->idle)
            continue;
        parameters[used].name = setting->name;
        if (setting->number)
            parameters[used].number = strtod(setting->text, NULL);
        else
            parameters[used].text = setting->text;
        used++;
    }
    cairn_status status = cairn_events_parameters(writer->events, parameters, used);
    free(parameters);
    return status;
}

static cairn_status begin(void *state, const cairn_snapshot *at) {
    tensorboard *writer = state;
    writer->since = cairn_clock_now();
    writer->train_seconds = at->train_seconds;
    writer->trained_images = at->trained_images;
    cairn_status status = cairn_events_open(&writer->events, writer->run->folder, at->step);
    return status ? status : add_parameters(writer);
}

typedef struct {
    const char *tag;
    double value;
} scalar;

static cairn_status add_scalars(const tensorboard *writer, int64_t step, const scalar *scalars,
                                size_t count) {
    cairn_status status = CAIRN_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = cairn_events_scalar(writer->events, scalars[i].tag, step, scalars[i].value);
    return status;
}

/* The loss and accuracy are those of this step's samples, not of the steps since the last record:
 * so a resumed run writes the same numbers. */
static cairn_status show_step(void *state, const cairn_step_record *step) {
    tensorboard *writer = state;
    writer->images += step->count;
    if (!step->means)
        return CAIRN_OK;
    double time = cairn_clock_now();
    const scalar scalars[] = {
        {"loss/step", step->means[0]},
        {"accuracy/step", step->means[1]},
        {"learning_rate/step", step->lr},
        {"images_per_second/step", (double)writer->images / (time - writer->since)},
    };
    writer->images = 0;
    writer->since = time;
    return add_scalars(writer, step->step, scalars, sizeof scalars / sizeof scalars[0]);
}

static cairn_status add_histograms(const tensorboard *writer, const cairn_snapshot *at) {
    cairn_status status = CAIRN_OK;
    for (size_t i = 0; i < at->tensors->tensor_count && !status; i++) {
        const cairn_tensor *tensor = &at->tensors->tensor[i];
        status = cairn_events_histogram(writer->events, tensor->name, at->step, tensor->values,
                                        tensor->count);
    }
    return status;
}

static cairn_status add_drawing(const tensorboard *writer, const char *tag, int64_t step,
                                cairn_drawing *drawing) {
    cairn_status status =
        drawing->rgb ? cairn_events_image(writer->events, tag, step, drawing) : CAIRN_OK;
    cairn_drawing_free(drawing);
    return status;
}

static cairn_status add_pictures(const tensorboard *writer, const cairn_snapshot *at) {
    const cairn_run *run = writer->run;
    const cairn_split *test = &run->test;
    cairn_drawing drawing = {0};
    cairn_status status = cairn_draw_confusion(&drawing, at->logits, test->labels, test->count,
                                               run->classes, run->class_names);
    if (!status)
        status = add_drawing(writer, run->held_out ? "val/confusion" : "test/confusion", at->step,
                             &drawing);
    if (!status)
        status = cairn_draw_mistakes(&drawing, at->logits, test, run->classes, run->class_names);
    if (!status)
        status = add_drawing(writer, run->held_out ? "val/mistakes" : "test/mistakes", at->step,
                             &drawing);
    return status;
}

static cairn_status show_epoch(void *state, const cairn_snapshot *at) {
    tensorboard *writer = state;
    const cairn_epoch_row *row = &at->rows[at->epochs - 1];
    double seconds = at->train_seconds - writer->train_seconds;
    const scalar scalars[] = {
        {"epoch", row->epoch},
        {"loss/train", row->train_loss},
        {row->held_out ? "loss/val" : "loss/test", row->test_loss},
        {"accuracy/train", row->train_acc},
        {row->held_out ? "accuracy/val" : "accuracy/test", row->test_acc},
        {"learning_rate/epoch", at->rates[at->epochs - 1]},
        {"images_per_second/epoch",
         seconds > 0 ? (double)(at->trained_images - writer->trained_images) / seconds : 0},
    };
    cairn_status status =
        add_scalars(writer, at->step, scalars, sizeof scalars / sizeof scalars[0]);
    if (!status && at->tensors)
        status = add_histograms(writer, at);
    if (!status && at->logits)
        status = add_pictures(writer, at);
    writer->train_seconds = at->train_seconds;
    writer->trained_images = at->trained_images;
    writer->images = 0;
    writer->since = cairn_clock_now();
    return status;
}

static cairn_status sync_events(void *state) {
    return cairn_events_sync(((tensorboard *)state)->events);
}

static cairn_status finish(void *state, const cairn_snapshot *at) {
    return at->state == CAIRN_RUN_FINISHED
               ? cairn_events_finish(((tensorboard *)state)->events, at->step)
               : CAIRN_OK;
}

static cairn_status close_tensorboard(void *state) {
    cairn_events_close(((tensorboard *)state)->events);
    free(state);
    return CAIRN_OK;
}

#else

static cairn_status check(const cairn_run *run) {
    return cairn_run_enabled(run, "tensorboard.enabled")
               ? cairn_error_set(CAIRN_BAD_INPUT,
                                 "tensorboard.enabled: is true, but this program was built without "
                                 "protobuf-c; build it with libprotobuf-c and protoc-c, or leave "
                                 "it false")
               : CAIRN_OK;
}

static cairn_status open_tensorboard(void **state, const cairn_run *run,
                                     cairn_record_request *request) {
    (void)state, (void)run, (void)request;
    return CAIRN_OK;
}

#endif

static const char *const files[] = {"events.out.tfevents.*.cairn", NULL};

const cairn_recorder cairn_recorder_tensorboard = {
    .files = files,
    .before_checkpoint = true,
    .open = open_tensorboard,
#ifdef CAIRN_WITH_PROTOBUF
    .begin = begin,
    .step = show_step,
    .epoch = show_epoch,
    .sync = sync_events,
    .finish = finish,
    .close = close_tensorboard,
#else
    .check = check,
#endif
};
