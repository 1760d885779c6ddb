/* How a net is compiled. Whoever wants to know what a backend does with a net starts here.
 *
 * A net (cairn/net.h) is a list of ops, each with its inputs before it. A compiling backend turns
 * it into a plan, for one batch size and one purpose: a flat list of tasks, each a library's call
 * or a loop that is bound to its memory once and for all, which a step then only runs through.
 *
 * Compiling is one walk over the ops and, for training, one walk back:
 *
 *   cairn_graph_survey    what is known of each op's output before any memory is planned: who reads
 *                         it, and whether its gradient is of use
 *   cairn_graph_compile   in the order of the net, each layer takes in the ops behind it that it
 *                         can do in the same pass (cairn_graph_next: a convolution its ReLU and
 *                         pooling, say), which together are a stage, and appends its forward tasks;
 *                         then the loss is appended; then, from the last stage to the first, each
 *                         layer appends its backward tasks. Every reader of a stage comes after it,
 *                         so the gradient of its output is complete when its turn comes.
 *
 * This file knows the net alone. Memory, layouts and tasks are the backends': host/backend/cpu and
 * cuda/, each with a table of layers by op kind. host/backend/reference compiles nothing, but asks
 * here, too, which gradients are of use.
 *
 * The cuda plugin calls these functions in the program that has opened it. */
#ifndef CAIRN_BACKEND_GRAPH_H
#define CAIRN_BACKEND_GRAPH_H

#include "cairn/executor.h"

/* What a plan is for: to evaluate, or to train in a phase of epochs (cairn_net_phase), which is the
 * purpose by its number. Parameters that a phase trains no more, and what only they wanted, need no
 * gradient in it. */
typedef int64_t cairn_plan_purpose;
enum { CAIRN_PLAN_EVALUATES = -1, CAIRN_PLAN_TRAINS = 0 /* in the first phase */ };

/* Of a training step. */
cairn_plan_purpose cairn_plan_purpose_of(const cairn_executor *executor, const cairn_step *step);

/* The purpose that stands for `wished` too, so that fewer plans are made: where
 * `training_evaluates`, a training plan serves evaluation, unless batch normalisation sets the two
 * apart. */
cairn_plan_purpose cairn_plan_purpose_resolve(const cairn_net *net, cairn_plan_purpose wished,
                                              bool training_evaluates);

/* An op's output, or the net's input. */
typedef struct {
    int readers;         /* ops; of the last op's output also the loss */
    int last_reader;     /* the last op that does, the net's op_count for the loss; -1: nobody. What
                            a flatten makes is the same memory, whose readers count here, too */
    bool wants_gradient; /* a parameter that the plan trains depends on it, and on it the loss */
} cairn_graph_output;

typedef struct {
    const cairn_net *net;
    cairn_plan_purpose purpose;
    bool training; /* the purpose is to train, in whatever phase */
    cairn_graph_output input, op[CAIRN_NET_OPS_MAX];
} cairn_graph;

void cairn_graph_survey(cairn_graph *graph, const cairn_net *net, cairn_plan_purpose purpose);

/* Of an op, or of the net for CAIRN_NET_INPUT. */
const cairn_graph_output *cairn_graph_output_of(const cairn_graph *graph, int ordinal);

/* Whether the gradient of that output is of use; false for CAIRN_NET_INPUT and CAIRN_NET_NONE. */
bool cairn_graph_wants(const cairn_graph *graph, int ordinal);

/* Whether there is such a parameter (ordinal -1: none) and the plan trains it. */
bool cairn_graph_trains(const cairn_graph *graph, int parameter);

/* The op behind that one, if it is of the kind and alone in reading it; else NULL. */
const cairn_op *cairn_graph_next(const cairn_graph *graph, int ordinal, cairn_op_kind kind);

/* What an add reads beside that one. */
int cairn_graph_other(const cairn_op *add, int ordinal);

/* A backend's side of compiling. Stages count from 0. */
typedef struct {
    /* The stage that begins with op `ordinal`; `*taken` ops, 1 unless it says more, go into it. */
    cairn_status (*forward)(void *plan, int stage, int ordinal, int *taken);
    /* What comes between the passes: logits, the loss and, in training, its gradient. */
    cairn_status (*loss)(void *plan);
    /* Called for stages whose output wants a gradient. */
    cairn_status (*backward)(void *plan, int stage);
} cairn_graph_compiler;

cairn_status cairn_graph_compile(const cairn_graph *graph, const cairn_graph_compiler *compiler,
                                 void *plan);

#endif
