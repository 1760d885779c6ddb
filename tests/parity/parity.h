/* What the parity tests share: fresh seeds, random splits, backends to compare, relative errors. */
#ifndef CAIRN_TESTS_PARITY_H
#define CAIRN_TESTS_PARITY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cairn/executor.h"
#include "cairn/model.h"
#include "cairn/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void must(cairn_status status) {
    if (status)
        fail_msg("%s", cairn_error_message());
}

/* CAIRN_TEST_SEED, or a fresh one; printed, so that a failure can be had again. */
static inline uint64_t test_seed(void) {
    static uint64_t seed;
    if (!seed) {
        const char *text = getenv("CAIRN_TEST_SEED");
        seed = text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);
        print_message("CAIRN_TEST_SEED=%llu repeats this run\n", (unsigned long long)seed);
    }
    return seed;
}

static inline uint32_t random_word(uint64_t seed, uint32_t stream, uint64_t index) {
    return cairn_rng(seed, CAIRN_RNG_TEST, 0, stream, index).word[0];
}

/* A split of random bytes, or of 0 and 255 alone, and random labels; free_split frees. */
static inline cairn_split random_split(uint64_t seed, int count, cairn_shape shape, int classes,
                                       bool extremes) {
    size_t bytes = (size_t)count * cairn_shape_count(shape);
    cairn_split split = {count, shape.c, shape.h, shape.w, malloc(bytes), malloc((size_t)count)};
    assert_non_null(split.images);
    assert_non_null(split.labels);
    for (size_t i = 0; i < bytes; i++) {
        uint32_t word = random_word(seed, 0, i);
        split.images[i] = (uint8_t)(extremes ? 255 * (word >> 31) : word >> 24);
    }
    uint32_t labels = classes < 256 ? (uint32_t)classes : 256;
    for (int n = 0; n < count; n++)
        split.labels[n] = (uint8_t)cairn_rng_below(random_word(seed, 1, (uint64_t)n), labels);
    return split;
}

static inline void free_split(cairn_split *split) {
    free(split->images);
    free(split->labels);
}

static inline const cairn_backend *reference_backend(void) {
    const cairn_backend *backend = NULL;
    int ordinal = 0;
    must(cairn_backend_find(&backend, &ordinal, "reference", CAIRN_FLOAT64));
    return backend;
}

/* The net of a text such as "conv 5 3 1 1, relu, pool 2 2", its ops named "0", "1", ...:
 * conv <out> <kernel> <stride> <padding> | pool <kernel> <stride> | avg <kernel> <stride>
 * | linear <out> | drop <percent> | norm | gelu | silu | relu | flat | add <op>, separated by
 * commas; convn and linearn have no bias. "at <op>" is no op: the next one reads that op, or the
 * input of the net where it is -1; nor is "scale <n>": the last op, a linear one, divides its
 * product by n; nor "frozen": the last op's weight is not trained. */
static inline cairn_net *build_ops(const char *ops, cairn_shape input) {
    cairn_net *net = NULL;
    must(cairn_net_create(&net, input));
    for (const char *text = ops; text; text = strchr(text, ',')) {
        text += strspn(text, ", ");
        char op[16] = "", name[16];
        int a = 0, b = 0, c = 0, d = 0;
        sscanf(text, "%15[a-z] %d %d %d %d", op, &a, &b, &c, &d);
        snprintf(name, sizeof name, "%d", net->op_count);
        if (strcmp(op, "conv") == 0)
            must(cairn_net_conv2d(net, name, a, b, c, d));
        else if (strcmp(op, "convn") == 0)
            must(cairn_net_conv2d_unbiased(net, name, a, b, c, d));
        else if (strcmp(op, "avg") == 0)
            must(cairn_net_avgpool(net, name, a, b));
        else if (strcmp(op, "linearn") == 0)
            must(cairn_net_linear_unbiased(net, name, a));
        else if (strcmp(op, "norm") == 0)
            must(cairn_net_batchnorm(net, name));
        else if (strcmp(op, "gelu") == 0)
            must(cairn_net_gelu(net, name));
        else if (strcmp(op, "silu") == 0)
            must(cairn_net_silu(net, name));
        else if (strcmp(op, "add") == 0)
            must(cairn_net_add(net, name, a));
        else if (strcmp(op, "at") == 0)
            cairn_net_branch(net, a);
        else if (strcmp(op, "scale") == 0)
            cairn_net_scale(net, 1.0f / (float)a);
        else if (strcmp(op, "frozen") == 0)
            net->parameter[net->op[net->op_count - 1].weight].group.frozen = true;
        else if (strcmp(op, "pool") == 0)
            must(cairn_net_maxpool(net, name, a, b));
        else if (strcmp(op, "linear") == 0)
            must(cairn_net_linear(net, name, a));
        else if (strcmp(op, "drop") == 0)
            must(cairn_net_dropout(net, name, (float)a / 100.0f));
        else if (strcmp(op, "relu") == 0)
            must(cairn_net_relu(net, name));
        else if (strcmp(op, "flat") == 0)
            must(cairn_net_flatten(net, name));
        else
            fail_msg("no op '%s'", op);
    }
    return net;
}

/* The caller frees. */
static inline float *get_tensor(cairn_executor *executor, cairn_tensor_kind kind, int ordinal) {
    float *values = calloc(executor->net->parameter[ordinal].count, sizeof *values);
    assert_non_null(values);
    must(cairn_executor_get(executor, kind, ordinal, values));
    return values;
}

/* The op of a parameter. */
static inline const cairn_op *owner_of(const cairn_net *net, int parameter) {
    const cairn_op *op = net->op;
    while (op->weight != parameter && op->bias != parameter && op->mean != parameter &&
           op->variance != parameter)
        op++;
    return op;
}

/* Every parameter becomes quarters in [-1/2, 1/2]. With inputs of -1 and 1, what ReLU and
 * max-pooling compare is then an exact sum in every precision. Batch normalisation's bias is moved
 * by 1/8, away from ties, and its running variance is in [1/2, 3/2]. */
static inline void set_weights(cairn_executor *executor, uint64_t seed) {
    const cairn_net *net = executor->net;
    for (int k = 0; k < net->parameter_count; k++) {
        const cairn_op *op = owner_of(net, k);
        bool norm = op->kind == CAIRN_OP_BATCHNORM;
        float shift = !norm ? 0 : k == op->variance ? 1 : k == op->bias ? 0.125f : 0;
        float *values = get_tensor(executor, CAIRN_PARAMETER, k);
        for (size_t i = 0; i < net->parameter[k].count; i++)
            values[i] =
                0.25f * ((float)cairn_rng_below(random_word(seed, 8 + (uint32_t)k, i), 5) - 2) +
                shift;
        must(cairn_executor_set(executor, CAIRN_PARAMETER, k, values));
        free(values);
    }
}

/* A backend in one precision. */
typedef struct {
    const cairn_backend *backend;
    cairn_precision precision;
    char name[32]; /* "cpu bf16" */
} subject;

enum { SUBJECTS_MAX = 16 };

/* Everything that can compute here but reference in float64, which is what it is compared with;
 * where CAIRN_TEST_BACKEND names a backend, only that one. */
static inline int find_subjects(subject *subjects) {
    const char *only = getenv("CAIRN_TEST_BACKEND");
    int count = 0;
    for (const cairn_backend *const *b = cairn_backends(); *b; b++)
        for (int p = 0; p < CAIRN_PRECISIONS; p++) {
            cairn_precision precision = (cairn_precision)p;
            bool oracle = *b == reference_backend() && precision == CAIRN_FLOAT64;
            if (only && strcmp(only, (*b)->name) != 0)
                continue;
            if (oracle || !(*b)->supports(precision) || (*b)->probe() || count == SUBJECTS_MAX)
                continue;
            subjects[count] = (subject){*b, precision, ""};
            snprintf(subjects[count].name, sizeof subjects[count].name, "%s %s", (*b)->name,
                     cairn_precision_name(precision));
            count++;
        }
    return count;
}

/* For main: where CAIRN_TEST_BACKEND names a backend that cannot run here, says why and returns
 * ctest's code for a skipped test; else 0. */
static inline int skip_code(void) {
    const char *only = getenv("CAIRN_TEST_BACKEND");
    const cairn_backend *backend = NULL;
    int ordinal = 0;
    if (!only || cairn_backend_find(&backend, &ordinal, only, CAIRN_FLOAT32) == CAIRN_OK)
        return 0;
    printf("skipped: %s\n", cairn_error_message());
    return 77;
}

/* What one op's result may be off by, as a relative error. */
static inline double op_tolerance(cairn_precision precision) {
    return precision == CAIRN_BF16 ? 3e-2 : precision == CAIRN_TF32 ? 2e-3 : 1e-5;
}

/* |got - want| / |want| in the Euclidean norm, where want counts as having a root mean square of at
 * least `scale`; NaN when either holds one. */
static inline double relative_error(size_t count, const float *got, const float *want,
                                    double scale) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)got[i] - (double)want[i];
        difference += d * d;
        size += (double)want[i] * (double)want[i];
    }
    double least = scale * scale * (double)count;
    return difference == 0 ? 0 : sqrt(difference / (size > least ? size : least));
}

/* Of the mean loss, absolute below 1; infinite when other samples were seen. */
static inline double loss_error(const cairn_stats *got, const cairn_stats *want) {
    if (got->seen != want->seen || want->seen == 0)
        return INFINITY;
    double size = fabs(want->loss) > (double)want->seen ? fabs(want->loss) : (double)want->seen;
    return fabs(got->loss - want->loss) / size;
}

#endif
