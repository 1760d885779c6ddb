/* Magnitudes by the reference backend's own loops: its ops, given the magnitudes of what they read
 * instead of the values, add up those of the terms. What chooses (ReLU, max-pooling, dropout)
 * chooses as in the true pass. */
#include "magnitudes.h"

typedef double real;
#include "host/backend/reference/executor_impl.h"

cairn_status magnitudes_executor(cairn_executor **made, const cairn_net *net,
                                 const cairn_executor_options *options) {
    return create(made, net, options);
}

/* [op] of its output and of that one's gradient; a view's are its input's. */
typedef struct {
    real *input, *value[CAIRN_NET_OPS_MAX], *gradient[CAIRN_NET_OPS_MAX];
    real *parameter[CAIRN_NET_PARAMETERS_MAX];
} magnitudes;

static real *absolute(const real *values, size_t count) {
    real *made = calloc(count, sizeof *made);
    for (size_t i = 0; i < count && values; i++)
        made[i] = fabs(values[i]);
    return made;
}

static real *at(const magnitudes *m, real *const of[], int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? m->input : ordinal < 0 ? NULL : of[ordinal];
}

static magnitudes begin(const executor *e, int count) {
    const cairn_net *net = e->base.net;
    magnitudes m = {.input = absolute(e->input, (size_t)count * cairn_shape_count(net->input))};
    for (int i = 0; i < net->op_count; i++) {
        const cairn_op *op = &net->op[i];
        bool view = cairn_op_is_view(op);
        size_t total = (size_t)count * cairn_shape_count(op->out);
        m.value[i] = view ? at(&m, m.value, op->input) : absolute(NULL, total);
        m.gradient[i] =
            view && op->input != CAIRN_NET_INPUT ? m.gradient[op->input] : absolute(NULL, total);
    }
    for (int k = 0; k < net->parameter_count; k++)
        m.parameter[k] = absolute(e->tensor[CAIRN_PARAMETER][k], net->parameter[k].count);
    return m;
}

static void end(const executor *e, magnitudes *m) {
    const cairn_net *net = e->base.net;
    for (int i = 0; i < net->op_count; i++) {
        bool view = cairn_op_is_view(&net->op[i]);
        if (!view)
            free(m->value[i]);
        if (!view || net->op[i].input == CAIRN_NET_INPUT)
            free(m->gradient[i]);
    }
    for (int k = 0; k < net->parameter_count; k++)
        free(m->parameter[k]);
    free(m->input);
}

/* The op's work, on magnitudes. */
static op_work work_on(const executor *e, const magnitudes *m, int ordinal, int count,
                       const cairn_step *step) {
    op_work work = work_of(e, ordinal, count, step);
    const cairn_op *op = work.op;
    work.x = at(m, m->value, op->input);
    work.other = at(m, m->value, op->other);
    work.weight = op->weight < 0 ? NULL : m->parameter[op->weight];
    work.bias = op->bias < 0 ? NULL : m->parameter[op->bias];
    return work;
}

/* Of the softmax's gradient, (p - q) / count: p is off by the share of itself by which logits are
 * off absolutely. */
static void begin_backward(const executor *e, const magnitudes *m, int count) {
    const int last = e->base.net->op_count - 1, classes = cairn_net_classes(e->base.net);
    for (int n = 0; n < count; n++) {
        const real *z = e->op[last].y + (size_t)n * (size_t)classes;
        const real *off = m->value[last] + (size_t)n * (size_t)classes;
        real *dz = m->gradient[last] + (size_t)n * (size_t)classes;
        double top = z[0], sum = 0, mean = 0;
        for (int c = 0; c < classes; c++)
            top = fmax(top, z[c]);
        for (int c = 0; c < classes; c++)
            sum += exp(z[c] - top);
        for (int c = 0; c < classes; c++)
            mean += exp(z[c] - top) / sum * off[c];
        for (int c = 0; c < classes; c++) {
            double p = exp(z[c] - top) / sum;
            dz[c] = (p + target_probability(&e->targets[n], 0, classes, c) + p * (off[c] + mean)) /
                    count;
        }
    }
}

void magnitudes_of_step(cairn_executor *base, const cairn_step *step,
                        double *const gradient[CAIRN_NET_PARAMETERS_MAX]) {
    executor *e = (executor *)base;
    const cairn_net *net = base->net;
    const int count = step->count;
    e->micro_batch = 0;
    assemble(e, CAIRN_SPLIT_TRAIN, step, 0, count);
    magnitudes m = begin(e, count);
    for (int i = 0; i < net->op_count; i++) {
        op_work work = work_on(e, &m, i, count, step);
        work.y = m.value[i];
        if (!cairn_op_is_view(work.op))
            op_kinds[work.op->kind].forward(&work);
    }
    forward(e, count, step); /* the true values, and the true choices of max-pooling */
    begin_backward(e, &m, count);
    for (int i = net->op_count - 1; i >= 0; i--) {
        op_work work = work_on(e, &m, i, count, step);
        if (!work.weight) /* what chooses by the values */
            work.x = output_of(e, work.op->input);
        work.dy = m.gradient[i];
        work.dx = work.dx ? m.gradient[work.op->input] : NULL;
        work.dother = work.dother ? m.gradient[work.op->other] : NULL;
        work.dweight = work.dweight ? gradient[work.op->weight] : NULL;
        work.dbias = work.dbias ? gradient[work.op->bias] : NULL;
        if (!cairn_op_is_view(work.op) && cairn_graph_wants(&e->graph, i))
            op_kinds[work.op->kind].backward(&work);
    }
    end(e, &m);
}
