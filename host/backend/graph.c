/* What backends ask of a net before they plan memory. */
#include "graph.h"

/* Purposes --------------------------------------------------------------------------------------*/

static bool normalises(const cairn_net *net) {
    for (int i = 0; i < net->op_count; i++)
        if (net->op[i].kind == CAIRN_OP_BATCHNORM)
            return true;
    return false;
}

cairn_plan_purpose cairn_plan_purpose_of(const cairn_executor *executor, const cairn_step *step) {
    return cairn_net_phase(executor->net, step->epoch);
}

cairn_plan_purpose cairn_plan_purpose_resolve(const cairn_net *net, cairn_plan_purpose wished,
                                              bool training_evaluates) {
    bool evaluates = wished == CAIRN_PLAN_EVALUATES;
    return evaluates && training_evaluates && !normalises(net) ? CAIRN_PLAN_TRAINS : wished;
}

/* The graph -------------------------------------------------------------------------------------*/

bool cairn_graph_trains(const cairn_graph *graph, int parameter) {
    if (parameter < 0 || !graph->training)
        return false;
    return cairn_parameter_group_trains(&graph->net->parameter[parameter].group,
                                        (uint32_t)graph->purpose);
}

const cairn_graph_output *cairn_graph_output_of(const cairn_graph *graph, int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? &graph->input : &graph->op[ordinal];
}

bool cairn_graph_wants(const cairn_graph *graph, int ordinal) {
    return ordinal >= 0 && graph->op[ordinal].wants_gradient;
}

/* `reader` reads that output, and `last` is the last op that touches its memory for the reader's
 * sake. What a reader with a way to the loss reads has one, too. */
static void note_reader(cairn_graph *graph, int ordinal, int last, bool reaches_loss) {
    if (ordinal == CAIRN_NET_NONE)
        return;
    cairn_graph_output *output = ordinal == CAIRN_NET_INPUT ? &graph->input : &graph->op[ordinal];
    output->readers++;
    output->last_reader = last > output->last_reader ? last : output->last_reader;
    output->wants_gradient |= reaches_loss && ordinal != CAIRN_NET_INPUT;
}

/* Backward for readers and for whom the loss depends on, which wants_gradient holds at first; then
 * forward for what depends on a parameter that is trained. */
void cairn_graph_survey(cairn_graph *graph, const cairn_net *net, cairn_plan_purpose purpose) {
    *graph = (cairn_graph){.net = net,
                           .purpose = purpose,
                           .training = purpose != CAIRN_PLAN_EVALUATES,
                           .input = {.last_reader = -1}};
    for (int i = 0; i < net->op_count; i++)
        graph->op[i].last_reader = -1;
    note_reader(graph, net->op_count - 1, net->op_count, true);
    for (int i = net->op_count - 1; i >= 0; i--) {
        const cairn_op *op = &net->op[i];
        int last =
            op->kind == CAIRN_OP_FLATTEN && graph->op[i].readers ? graph->op[i].last_reader : i;
        note_reader(graph, op->input, last, graph->op[i].wants_gradient);
        note_reader(graph, op->other, last, graph->op[i].wants_gradient);
    }
    for (int i = 0; i < net->op_count; i++) {
        const cairn_op *op = &net->op[i];
        graph->op[i].wants_gradient &=
            cairn_graph_trains(graph, op->weight) || cairn_graph_trains(graph, op->bias) ||
            cairn_graph_wants(graph, op->input) || cairn_graph_wants(graph, op->other);
    }
}

const cairn_op *cairn_graph_next(const cairn_graph *graph, int ordinal, cairn_op_kind kind) {
    const cairn_net *net = graph->net;
    if (ordinal + 1 >= net->op_count || cairn_graph_output_of(graph, ordinal)->readers != 1)
        return NULL;
    const cairn_op *next = &net->op[ordinal + 1];
    bool reads = next->input == ordinal || next->other == ordinal;
    return reads && next->kind == kind ? next : NULL;
}

int cairn_graph_other(const cairn_op *add, int ordinal) {
    return add->input == ordinal ? add->other : add->input;
}

cairn_status cairn_graph_compile(const cairn_graph *graph, const cairn_graph_compiler *compiler,
                                 void *plan) {
    int last[CAIRN_NET_OPS_MAX]; /* op of each stage */
    int stages = 0;
    cairn_status status = CAIRN_OK;
    for (int i = 0, taken = 1; i < graph->net->op_count && !status; i += taken, taken = 1) {
        status = compiler->forward(plan, stages, i, &taken);
        last[stages++] = i + taken - 1;
    }
    if (!status)
        status = compiler->loss(plan);
    for (int s = stages - 1; s >= 0 && !status; s--)
        if (cairn_graph_wants(graph, last[s]))
            status = compiler->backward(plan, s);
    return status;
}
