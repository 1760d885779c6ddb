/* What backends are told of a net before they plan memory: readers, wanted gradients, fusions,
 * purposes, and the order in which layers are compiled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../host/backend/graph.h"

#include <string.h>

enum { CONV, NORM, RELU, CONV2, ADD, RELU2, FLATTEN, LINEAR, OPS };

/* A stem with its normalisation and ReLU, a branch around a convolution, and a linear layer. */
static cairn_net *build(void) {
    cairn_net *net = NULL;
    assert_int_equal(cairn_net_create(&net, (cairn_shape){3, 8, 8}), CAIRN_OK);
    assert_int_equal(cairn_net_conv2d(net, "conv", 8, 3, 1, 1), CAIRN_OK);
    assert_int_equal(cairn_net_batchnorm(net, "norm"), CAIRN_OK);
    assert_int_equal(cairn_net_relu(net, "relu"), CAIRN_OK);
    assert_int_equal(cairn_net_conv2d(net, "conv2", 8, 3, 1, 1), CAIRN_OK);
    assert_int_equal(cairn_net_add(net, "add", RELU), CAIRN_OK);
    assert_int_equal(cairn_net_relu(net, "relu2"), CAIRN_OK);
    assert_int_equal(cairn_net_flatten(net, "flatten"), CAIRN_OK);
    assert_int_equal(cairn_net_linear(net, "linear", 10), CAIRN_OK);
    assert_int_equal(net->op_count, OPS);
    return net;
}

static void readers_are_counted(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_graph graph;
    cairn_graph_survey(&graph, net, CAIRN_PLAN_EVALUATES);
    static const struct {
        int op, readers, last;
    } known[] = {{CAIRN_NET_INPUT, 1, CONV}, {CONV, 1, NORM},      {RELU, 2, ADD},
                 {RELU2, 1, LINEAR},         {FLATTEN, 1, LINEAR}, {LINEAR, 1, OPS}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const cairn_graph_output *output = cairn_graph_output_of(&graph, known[i].op);
        assert_int_equal(output->readers, known[i].readers);
        assert_int_equal(output->last_reader, known[i].last);
    }
    assert_int_equal(cairn_graph_other(&net->op[ADD], CONV2), RELU);
    assert_int_equal(cairn_graph_other(&net->op[ADD], RELU), CONV2);
    cairn_net_destroy(net);
}

static void only_a_sole_reader_is_taken_in(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_graph graph;
    cairn_graph_survey(&graph, net, CAIRN_PLAN_TRAINS);
    assert_ptr_equal(cairn_graph_next(&graph, CONV, CAIRN_OP_BATCHNORM), &net->op[NORM]);
    assert_null(cairn_graph_next(&graph, CONV, CAIRN_OP_RELU));
    assert_null(cairn_graph_next(&graph, RELU, CAIRN_OP_CONV2D)); /* the sum reads it, too */
    assert_ptr_equal(cairn_graph_next(&graph, CONV2, CAIRN_OP_ADD), &net->op[ADD]);
    assert_null(cairn_graph_next(&graph, LINEAR, CAIRN_OP_RELU)); /* only the loss follows */
    cairn_net_destroy(net);
}

static void gradients_are_wanted_for_what_is_trained(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_graph graph;
    cairn_graph_survey(&graph, net, CAIRN_PLAN_TRAINS);
    for (int i = 0; i < OPS; i++)
        assert_true(cairn_graph_wants(&graph, i));
    assert_false(cairn_graph_wants(&graph, CAIRN_NET_INPUT));
    assert_false(cairn_graph_wants(&graph, CAIRN_NET_NONE));
    assert_true(cairn_graph_trains(&graph, net->op[CONV].weight));
    assert_false(cairn_graph_trains(&graph, net->op[NORM].mean));
    assert_false(cairn_graph_trains(&graph, net->op[RELU].weight)); /* it has none */

    /* With the stem frozen, nothing before the second convolution wants one. */
    net->parameter[net->op[CONV].weight].group.frozen = true;
    net->parameter[net->op[CONV].bias].group.frozen = true;
    net->parameter[net->op[NORM].weight].group.frozen = true;
    net->parameter[net->op[NORM].bias].group.frozen = true;
    cairn_graph_survey(&graph, net, CAIRN_PLAN_TRAINS);
    for (int i = 0; i < OPS; i++)
        assert_int_equal(cairn_graph_wants(&graph, i), i >= CONV2);

    cairn_graph_survey(&graph, net, CAIRN_PLAN_EVALUATES);
    for (int i = 0; i < OPS; i++)
        assert_false(cairn_graph_wants(&graph, i));
    assert_false(cairn_graph_trains(&graph, net->op[CONV2].weight));
    cairn_net_destroy(net);
}

static void what_reaches_no_loss_wants_none(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_graph graph;
    cairn_net_branch(net, CONV2);
    assert_int_equal(cairn_net_conv2d(net, "aside", 4, 1, 1, 0), CAIRN_OK);
    cairn_net_branch(net, LINEAR);
    assert_int_equal(cairn_net_relu(net, "last"), CAIRN_OK);
    cairn_graph_survey(&graph, net, CAIRN_PLAN_TRAINS);
    assert_false(cairn_graph_wants(&graph, OPS));
    assert_true(cairn_graph_wants(&graph, CONV2));
    assert_int_equal(cairn_graph_output_of(&graph, OPS)->last_reader, -1);
    cairn_net_destroy(net);
}

static void purposes_are_resolved(void **state) {
    (void)state;
    cairn_net *net = build();
    cairn_graph graph;
    assert_int_equal(cairn_plan_purpose_resolve(net, CAIRN_PLAN_EVALUATES, true),
                     CAIRN_PLAN_EVALUATES); /* it normalises batches */
    cairn_parameter *bias = &net->parameter[net->op[CONV].bias];
    assert_int_equal(cairn_net_phase(net, 9), CAIRN_PLAN_TRAINS);
    bias->group.trained_until_epoch = 7;
    net->parameter[net->op[CONV].weight].group.trained_until_epoch = 3;
    assert_int_equal(cairn_net_phase(net, 2), CAIRN_PLAN_TRAINS);
    assert_int_equal(cairn_net_phase(net, 6), 3);
    assert_int_equal(cairn_net_phase(net, 9), 7);
    bias->group.frozen = true;
    assert_int_equal(cairn_net_phase(net, 9), 3);
    bias->group.frozen = false;
    assert_int_equal(cairn_plan_purpose_resolve(net, 7, true), 7);
    cairn_graph_survey(&graph, net, CAIRN_PLAN_TRAINS);
    assert_true(cairn_graph_trains(&graph, net->op[CONV].bias));
    cairn_graph_survey(&graph, net, 7);
    assert_true(graph.training);
    assert_false(cairn_graph_trains(&graph, net->op[CONV].bias));
    cairn_net_destroy(net);

    assert_int_equal(cairn_net_create(&net, (cairn_shape){3, 8, 8}), CAIRN_OK);
    assert_int_equal(cairn_net_flatten(net, "flatten"), CAIRN_OK);
    assert_int_equal(cairn_net_linear(net, "linear", 10), CAIRN_OK);
    assert_int_equal(cairn_plan_purpose_resolve(net, CAIRN_PLAN_EVALUATES, true),
                     CAIRN_PLAN_TRAINS);
    assert_int_equal(cairn_plan_purpose_resolve(net, CAIRN_PLAN_EVALUATES, false),
                     CAIRN_PLAN_EVALUATES);
    cairn_net_destroy(net);
}

/* A backend that fuses a ReLU, and writes down what it is asked to compile. */
typedef struct {
    cairn_graph graph;
    char log[256];
    int fail_at; /* a stage; -1: none */
} recorder;

static void record(recorder *r, const char *text) {
    assert_true(strlen(r->log) + strlen(text) < sizeof r->log);
    strcat(r->log, text);
}

static cairn_status record_forward(void *plan, int stage, int ordinal, int *taken) {
    recorder *r = plan;
    assert_int_equal(*taken, 1);
    *taken += cairn_graph_next(&r->graph, ordinal, CAIRN_OP_RELU) != NULL;
    record(r, r->graph.net->op[ordinal].name);
    record(r, *taken == 2 ? "+relu " : " ");
    return stage == r->fail_at ? CAIRN_FAILED : CAIRN_OK;
}

static cairn_status record_loss(void *plan) {
    record(plan, "loss");
    return CAIRN_OK;
}

static cairn_status record_backward(void *plan, int stage) {
    const char name[] = {' ', (char)('0' + stage), '\0'};
    record(plan, name);
    return CAIRN_OK;
}

static void layers_compile_forward_and_then_backward(void **state) {
    (void)state;
    static const cairn_graph_compiler compiler = {record_forward, record_loss, record_backward};
    cairn_net *net = build();
    recorder r = {.fail_at = -1};
    net->parameter[net->op[CONV].weight].group.frozen = true;
    net->parameter[net->op[CONV].bias].group.frozen = true;
    cairn_graph_survey(&r.graph, net, CAIRN_PLAN_TRAINS);
    assert_int_equal(cairn_graph_compile(&r.graph, &compiler, &r), CAIRN_OK);
    assert_string_equal(r.log, "conv norm+relu conv2 add+relu flatten linear loss 5 4 3 2 1");

    recorder evaluates = {.fail_at = -1}, fails = {.fail_at = 1};
    cairn_graph_survey(&evaluates.graph, net, CAIRN_PLAN_EVALUATES);
    assert_int_equal(cairn_graph_compile(&evaluates.graph, &compiler, &evaluates), CAIRN_OK);
    assert_string_equal(evaluates.log, "conv norm+relu conv2 add+relu flatten linear loss");
    fails.graph = r.graph;
    assert_int_equal(cairn_graph_compile(&fails.graph, &compiler, &fails), CAIRN_FAILED);
    assert_string_equal(fails.log, "conv norm+relu ");
    cairn_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_are_counted),
        cmocka_unit_test(only_a_sole_reader_is_taken_in),
        cmocka_unit_test(gradients_are_wanted_for_what_is_trained),
        cmocka_unit_test(what_reaches_no_loss_wants_none),
        cmocka_unit_test(purposes_are_resolved),
        cmocka_unit_test(layers_compile_forward_and_then_backward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
