/* `cairn model`: what a network is made of: its ops, shapes, parameters, FLOPs and memory. */
#include "cli.h"

#include "cairn/dataset.h"
#include "cairn/executor.h"
#include "cairn/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *shape_text(cairn_shape shape, char *out, size_t size) {
    if (shape.h == 1 && shape.w == 1)
        snprintf(out, size, "%d", shape.c);
    else
        snprintf(out, size, "%dx%dx%d", shape.c, shape.h, shape.w);
    return out;
}

/* What an op reads, where that is not the op before it. */
static const char *sources_text(const cairn_net *net, int ordinal, char *out, size_t size) {
    const cairn_op *op = &net->op[ordinal];
    const char *input = op->input == CAIRN_NET_INPUT ? "the image" : net->op[op->input].name;
    const char *other = op->other == CAIRN_NET_INPUT  ? "the image"
                        : op->other == CAIRN_NET_NONE ? NULL
                                                      : net->op[op->other].name;
    *out = '\0';
    if (other)
        snprintf(out, size, "%s + %s", input, other);
    else if (op->input != ordinal - 1)
        snprintf(out, size, "of %s", input);
    return out;
}

static size_t trained_count(const cairn_net *net, int parameter) {
    return parameter < 0 || net->parameter[parameter].group.frozen
               ? 0
               : net->parameter[parameter].count;
}

/* Names are as long as they are. */
static int name_width(const cairn_net *net) {
    int width = 4;
    for (int i = 0; i < net->op_count; i++)
        if ((int)strlen(net->op[i].name) > width)
            width = (int)strlen(net->op[i].name);
    return width;
}

static void print_op(const cairn_net *net, int ordinal, int width, double bytes) {
    const cairn_op *op = &net->op[ordinal];
    char shape[48], kernel[32] = "", sources[128];
    size_t trained = trained_count(net, op->weight) + trained_count(net, op->bias);
    if (op->kernel)
        snprintf(kernel, sizeof kernel, "%dx%d/%d", op->kernel, op->kernel, op->stride);
    sources_text(net, ordinal, sources, sizeof sources);
    printf("%-*s  %-9s %-6s %-11s %10zu %10.3f %8.1f%s%s\n", width, op->name,
           cairn_op_kind_name(op->kind), kernel, shape_text(op->out, shape, sizeof shape), trained,
           1e-6 * cairn_op_flops(op, 0), bytes * (double)cairn_shape_count(op->out) / 1024,
           *sources ? "  " : "", sources);
}

/* A flatten's output is its input, and a fused ReLU's its op's: what a backend keeps is less. */
static double activation_bytes(const cairn_net *net, double bytes) {
    double total = bytes * (double)cairn_shape_count(net->input);
    for (int i = 0; i < net->op_count; i++)
        if (!cairn_op_is_view(&net->op[i]))
            total += bytes * (double)cairn_shape_count(net->op[i].out);
    return total;
}

/* What training keeps of every parameter, as a list; returns the number of tensors. */
static int list_kept(const cairn_config *config, char *out, size_t size) {
    const cairn_optimizer optimizer = cairn_optimizer_configure(config);
    const cairn_optimizer_rule *rule = cairn_optimizer_rule_of(optimizer.name);
    const bool sum = config->train.accumulate > 1;
    char state[64] = "";
    int tensors = sum;
    for (int kind = 0; kind < CAIRN_TENSOR_KINDS; kind++)
        tensors += cairn_optimizer_keeps(&optimizer, (cairn_tensor_kind)kind);
    if (cairn_optimizer_keeps(&optimizer, CAIRN_STATE_0))
        snprintf(state, sizeof state, ", %s's %s", rule->title, rule->kept);
    snprintf(out, size, "values, gradients%s%s%s", state, sum ? ", their sum over a step" : "",
             cairn_optimizer_keeps(&optimizer, CAIRN_AVERAGE) ? ", the values' average" : "");
    return tensors;
}

static void print_totals(const cairn_config *config, const cairn_net *net, double bytes) {
    const double mega = 1024 * 1024;
    double trained = (double)cairn_net_parameter_total(net), values = 0;
    for (int k = 0; k < net->parameter_count; k++)
        values += (double)net->parameter[k].count;
    double activations = activation_bytes(net, bytes);
    printf("\n%.0f parameters are trained, %.0f more values are kept (running statistics, frozen "
           "weights)\n",
           trained, values - trained);
    printf("an image costs %.1f MFLOP to classify and %.1f to train on\n",
           1e-6 * cairn_net_flops(net, 0), 1e-6 * cairn_net_flops(net, 1));
    char kept[160];
    const int tensors = list_kept(config, kept, sizeof kept);
    printf("memory: the model file %.1f MiB; %s %.1f MiB; outputs in %s\n%.2f MiB an image, %.0f "
           "MiB a batch of %lld, and in training as much "
           "again for their gradients\n",
           4 * values / mega, kept, 4 * (values + (tensors - 1) * trained) / mega,
           cairn_precision_name(config->train.precision), activations / mega,
           (double)config->train.batch_size * activations / mega,
           (long long)config->train.batch_size);
}

/* The net of that configuration, and what it is for. */
static cairn_status build_model(cairn_net **net, const cairn_config *config) {
    cairn_dataset *data = NULL; /* shape and classes: it has no images */
    cairn_status status = cairn_dataset_describe(&data, config);
    if (status)
        return status;
    const cairn_shape shape = {data->test.channels, data->test.height, data->test.width};
    status = cairn_model_build(net, config, shape, data->classes);
    cairn_dataset_destroy(data);
    return status;
}

static cairn_status print_model(const cairn_config *config) {
    cairn_net *net = NULL;
    cairn_status status = build_model(&net, config);
    if (status)
        return status;
    const cairn_shape shape = net->input;
    double bytes = config->train.precision == CAIRN_BF16      ? 2
                   : config->train.precision == CAIRN_FLOAT64 ? 8
                                                              : 4;
    int width = name_width(net);
    printf("%s, for images of %dx%dx%d and %d classes\n\n", config->model.name, shape.c, shape.h,
           shape.w, cairn_net_classes(net));
    printf("%-*s  %-9s %-6s %-11s %10s %10s %8s\n", width, "name", "op", "window", "output",
           "parameters", "MFLOP", "KiB");
    for (int i = 0; i < net->op_count; i++)
        print_op(net, i, width, bytes);
    print_totals(config, net, bytes);
    cairn_net_destroy(net);
    return CAIRN_OK;
}

/* The configuration of a model by name, with the common arguments' overrides and file. */
static cairn_status configure(cairn_config *config, const char *model,
                              const cairn_common_arguments *common) {
    /* The keys that have no default say nothing about a model. */
    static const char required[] = "data: {dir: data/raw}\n"
                                   "train: {epochs: 1, batch_size: 128, lr: 0.001}\n"
                                   "run: {name: model}\n";
    char name[CAIRN_TEXT_MAX];
    const char *overrides[CAIRN_OVERRIDES_MAX + 1] = {name};
    if ((size_t)snprintf(name, sizeof name, "model.name=%s", model) >= sizeof name)
        return cairn_error_set(CAIRN_BAD_INPUT, "the model's name is too long");
    memcpy(overrides + 1, common->overrides, common->override_count * sizeof *overrides);
    if (common->params)
        return cairn_config_read(config, common->params, overrides, common->override_count + 1);
    return cairn_config_parse(config, required, sizeof required - 1, "defaults", overrides,
                              common->override_count + 1);
}

static void list_models(void) {
    size_t count;
    const cairn_model_line *models = cairn_model_lines(&count);
    for (size_t i = 0; i < count; i++)
        printf("%-16s %s\n", models[i].name, models[i].help);
}

/* "11,173,962" */
static const char *group_digits(char *out, size_t size, double whole) {
    char digits[32];
    size_t used = 0;
    int length = snprintf(digits, sizeof digits, "%.0f", whole);
    for (int i = 0; i < length && used + 2 < size; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

static cairn_status print_markdown(const cairn_common_arguments *common) {
    size_t count;
    const cairn_model_line *models = cairn_model_lines(&count);
    puts("| name | parameters | MFLOP an image | what it is |\n| --- | ---: | ---: | --- |");
    for (size_t i = 0; i < count; i++) {
        char parameters[48], flops[48];
        cairn_config config;
        cairn_net *net = NULL;
        cairn_status status = configure(&config, models[i].name, common);
        if (!status)
            status = build_model(&net, &config);
        if (status)
            return status;
        printf("| `%s` | %s | %s | %s |\n", models[i].name,
               group_digits(parameters, sizeof parameters, (double)cairn_net_parameter_total(net)),
               group_digits(flops, sizeof flops, 1e-6 * cairn_net_flops(net, 0)), models[i].help);
        cairn_net_destroy(net);
    }
    return CAIRN_OK;
}

static cairn_status run(int argc, char **argv) {
    bool markdown = false;
    const cairn_option options[] = {{"markdown", &markdown, NULL}};
    const char *positionals[argc];
    size_t count = 0;
    cairn_common_arguments common;
    cairn_config config;
    cairn_status status =
        cairn_arguments_parse(argc, argv, options, 1, &common, positionals, &count);
    if (status)
        return status;
    if (count > (markdown ? 0 : 1))
        return cairn_error_set(CAIRN_BAD_INPUT, "unexpected '%s'; see `cairn model --help`",
                               positionals[count - 1]);
    if (markdown)
        return print_markdown(&common);
    if (count == 0) {
        list_models();
        return CAIRN_OK;
    }
    status = configure(&config, positionals[0], &common);
    return status ? status : print_model(&config);
}

const cairn_command cairn_command_model = {
    "model", "list the networks, or show the ops of one",
    "usage: cairn model [NAME | --markdown] [--params FILE] [-S key=value]...\n"
    "\n"
    "Without NAME, lists the networks, with a line that says what each is. With NAME, prints a "
    "line\n"
    "for each op: its name, its window and stride, its output for one image, the parameters that\n"
    "are trained, the FLOPs of its forward pass (a multiply-add counts as two), the memory of its\n"
    "output, and what it reads where that is not the op before it.\n"
    "\n"
    "  --markdown      the list as a Markdown table, with parameters and FLOPs\n"
    "  --params FILE   the configuration (default: the defaults, with CIFAR-10 as the data)\n"
    "  -S key=value    override one key, such as model.widths\n"
    "  --device D      accepted, and not used\n"
    "\n"
    "  cairn model simple_cnn -S model.depth=2\n",
    run};
