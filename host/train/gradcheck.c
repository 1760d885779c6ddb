/* The gradient check: difference quotients on the reference backend against any backend's
 * gradients. gradcheck.h has the method. */
#include "cairn/gradcheck.h"

#include "cairn/rng.h"

#include <math.h>
#include <stdlib.h>

static const double H = 1e-6;

/* What a check holds: the executor under test, the one that measures losses, and the batch. */
typedef struct {
    cairn_executor *subject, *oracle;
    cairn_split split;
    cairn_step step;
    int32_t *indices;
    float *weight, *gradient; /* [the largest parameter] */
    double loss;              /* the oracle's, with every weight in its place */
} checker;

double cairn_gradcheck_tolerance(cairn_precision precision) {
    return precision == CAIRN_FLOAT64 ? 1e-5 : precision == CAIRN_FLOAT32 ? 1e-3 : 5e-1;
}

static uint32_t random_below(uint64_t seed, uint32_t stream, uint64_t index, uint32_t n) {
    return cairn_rng_below(cairn_rng(seed, CAIRN_RNG_TEST, 0, stream, index).word[0], n);
}

static cairn_status fill_batch(checker *c, const cairn_net *net,
                               const cairn_gradcheck_options *check) {
    size_t batch = (size_t)check->batch, bytes = batch * cairn_shape_count(net->input);
    size_t largest = 1;
    for (int k = 0; k < net->parameter_count; k++)
        largest = net->parameter[k].count > largest ? net->parameter[k].count : largest;
    c->split = (cairn_split){.count = check->batch,
                             .channels = net->input.c,
                             .height = net->input.h,
                             .width = net->input.w,
                             .images = malloc(bytes),
                             .labels = malloc(batch)};
    c->indices = malloc(batch * sizeof *c->indices);
    c->weight = malloc(largest * sizeof *c->weight);
    c->gradient = malloc(largest * sizeof *c->gradient);
    if (!c->split.images || !c->split.labels || !c->indices || !c->weight || !c->gradient)
        return cairn_error_set(CAIRN_FAILED, "out of memory for a gradient check");
    uint32_t classes = (uint32_t)cairn_net_classes(net);
    for (size_t i = 0; i < bytes; i++)
        c->split.images[i] = (uint8_t)random_below(check->seed, 0, i, 256);
    for (size_t n = 0; n < batch; n++) {
        c->split.labels[n] = (uint8_t)random_below(check->seed, 1, n, classes);
        c->indices[n] = (int32_t)n;
    }
    c->step = (cairn_step){.indices = c->indices, .count = check->batch};
    return CAIRN_OK;
}

static cairn_status make_executor(cairn_executor **made, const checker *c, const cairn_net *net,
                                  const cairn_backend *backend,
                                  const cairn_executor_options *options) {
    cairn_status status = cairn_executor_create(made, backend, net, options);
    if (!status)
        status = cairn_executor_upload(*made, CAIRN_SPLIT_TRAIN, &c->split);
    if (!status)
        status = cairn_executor_initialise(*made, options->seed);
    return status;
}

/* The oracle's mean loss over the batch. */
static cairn_status measure_loss(checker *c, double *loss) {
    cairn_stats stats = {0};
    cairn_status status = cairn_executor_set_stats(c->oracle, &stats);
    if (!status)
        status = cairn_executor_train_step(c->oracle, &c->step);
    if (!status)
        status = cairn_executor_get_stats(c->oracle, &stats);
    *loss = stats.loss / c->step.count;
    return status;
}

static cairn_status measure_loss_at(checker *c, int ordinal, size_t entry, float value,
                                    double *loss) {
    float middle = c->weight[entry];
    c->weight[entry] = value;
    cairn_status status = cairn_executor_set(c->oracle, CAIRN_PARAMETER, ordinal, c->weight);
    c->weight[entry] = middle;
    return status ? status : measure_loss(c, loss);
}

/* Difference quotients to the left, to the right and across. Weights are floats, so h is what the
 * rounded neighbours differ by. */
typedef struct {
    double left, right, central;
} quotients;

static cairn_status measure_quotients(checker *c, int ordinal, size_t entry, quotients *out) {
    double middle = (double)c->weight[entry], step = H * fmax(1, fabs(middle));
    float low = (float)(middle - step), high = (float)(middle + step);
    double below = 0, above = 0;
    cairn_status status = measure_loss_at(c, ordinal, entry, low, &below);
    if (!status)
        status = measure_loss_at(c, ordinal, entry, high, &above);
    *out = (quotients){.left = (c->loss - below) / (middle - (double)low),
                       .right = (above - c->loss) / ((double)high - middle),
                       .central = (above - below) / ((double)high - (double)low)};
    return status;
}

/* Adds one entry to the row. `scale` is the root mean square of the parameter's gradient. */
static void judge(cairn_gradcheck_row *row, size_t entry, double gradient, const quotients *q,
                  double scale, double tolerance) {
    scale = fmax(scale, fmax(fabs(gradient), fabs(q->central)));
    double nearest = q->central;
    if (fabs(q->left - q->right) > tolerance * scale) {
        row->kinks++;
        nearest = fmin(fmax(gradient, fmin(q->left, q->right)), fmax(q->left, q->right));
    }
    double error = scale == 0 ? 0 : fabs(gradient - nearest) / scale;
    if (isnan(gradient) || isnan(q->central))
        error = NAN;
    if (row->checked++ == 0 || isnan(error) || error > row->error) {
        row->error = error;
        row->worst = entry;
        row->gradient = gradient;
        row->quotient = nearest;
    }
}

static cairn_status check_parameter(checker *c, const cairn_gradcheck_options *check, int ordinal,
                                    cairn_gradcheck_row *row) {
    size_t count = c->subject->net->parameter[ordinal].count;
    double tolerance = cairn_gradcheck_tolerance(c->subject->options.precision);
    cairn_status status = cairn_executor_get(c->subject, CAIRN_GRADIENT, ordinal, c->gradient);
    if (!status)
        status = cairn_executor_get(c->oracle, CAIRN_PARAMETER, ordinal, c->weight);
    double squares = 0;
    for (size_t i = 0; i < count; i++)
        squares += (double)c->gradient[i] * (double)c->gradient[i];
    double scale = sqrt(squares / (double)count);
    bool all = (size_t)check->samples >= count;
    size_t samples = all ? count : (size_t)check->samples;
    uint32_t stream = 2 + (uint32_t)ordinal;
    *row = (cairn_gradcheck_row){0};
    for (size_t i = 0; i < samples && !status; i++) {
        size_t entry = all ? i : random_below(check->seed, stream, i, (uint32_t)count);
        quotients q = {0};
        status = measure_quotients(c, ordinal, entry, &q);
        judge(row, entry, (double)c->gradient[entry], &q, scale, tolerance);
    }
    row->ok = row->error <= tolerance && row->kinks <= row->checked / 4;
    return status ? status : cairn_executor_set(c->oracle, CAIRN_PARAMETER, ordinal, c->weight);
}

cairn_status cairn_gradcheck(const cairn_net *net, const cairn_backend *backend,
                             const cairn_executor_options *options,
                             const cairn_gradcheck_options *check, cairn_gradcheck_row *rows) {
    checker c = {0};
    int ordinal = 0;
    const cairn_backend *reference = NULL;
    cairn_executor_options subject = *options, oracle = *options;
    subject.batch = oracle.batch = check->batch;
    oracle.precision = CAIRN_FLOAT64;
    cairn_status status = cairn_backend_find(&reference, &ordinal, "reference", CAIRN_FLOAT64);
    if (!status)
        status = fill_batch(&c, net, check);
    if (!status)
        status = make_executor(&c.oracle, &c, net, reference, &oracle);
    if (!status)
        status = make_executor(&c.subject, &c, net, backend, &subject);
    if (!status)
        status = cairn_executor_train_step(c.subject, &c.step);
    if (!status)
        status = measure_loss(&c, &c.loss);
    for (int k = 0; k < net->parameter_count && !status; k++) {
        rows[k] = (cairn_gradcheck_row){.ok = true};
        if (cairn_parameter_group_trains(&net->parameter[k].group, 0))
            status = check_parameter(&c, check, k, &rows[k]);
    }
    cairn_executor_destroy(c.subject);
    cairn_executor_destroy(c.oracle);
    free(c.split.images);
    free(c.split.labels);
    free(c.indices);
    free(c.weight);
    free(c.gradient);
    return status;
}
