/* `cairn gradcheck`: the configured model's gradients against difference quotients. */
#include "cli.h"

#include "cairn/gradcheck.h"
#include "cairn/session.h"

#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "usage: cairn gradcheck [--params FILE] [-S key=value]... [--device D] [--samples N]\n"
    "                       [--batch N] [--seed N]\n"
    "\n"
    "Trains the configured model one step at rate 0 on random images, dropout and crop included,\n"
    "and compares its gradients with central difference quotients of the loss, which `reference`\n"
    "measures in float64. Prints a row for each parameter, with its worst entry.\n"
    "\n"
    "  --samples N     entries that are checked in each parameter, at random (default 16)\n"
    "  --batch N       images in the batch (default 3)\n"
    "  --seed N        of the images and the choice of entries (default: the configuration's)\n"
    "  --params FILE   the configuration (default params.yaml)\n"
    "  -S key=value    override one key; `cairn params` lists them\n"
    "  --device D      whose gradients to check, in train.precision; unless given, those of\n"
    "                  reference in float64\n"
    "\n"
    "An entry's error is relative to the larger of gradient and quotient, or to the root mean\n"
    "square of the parameter's gradient where that is larger. It may be 1e-5 in float64, 1e-3 in\n"
    "float32, 5e-1 in bf16. Kinks are entries where the loss bends (a ReLU or a max-pool changes\n"
    "its mind nearby); the gradient must then lie between the quotients of the two sides, and at\n"
    "most a quarter of a parameter's entries may be such.\n"
    "\n"
    "Exit codes: 0 all agree; 1 a parameter fails; 2 wrong usage or configuration.\n";

static const char *shape_text(const cairn_parameter *parameter, char *out, size_t size) {
    int used = 0;
    for (int i = 0; i < parameter->rank; i++)
        used += snprintf(out + used, size - (size_t)used, "%s%d", i ? "," : "[", parameter->dim[i]);
    snprintf(out + used, size - (size_t)used, "]");
    return out;
}

/* Prints the table; CAIRN_FAILED names the parameters that are not ok. */
static cairn_status print_rows(const cairn_net *net, const cairn_gradcheck_row *rows) {
    char shape[64], failed[512];
    int used = 0;
    printf("%-22s %-16s %7s %5s %10s %13s %13s\n", "parameter", "shape", "checked", "kinks",
           "error", "gradient", "quotient");
    for (int k = 0; k < net->parameter_count; k++) {
        const cairn_gradcheck_row *row = &rows[k];
        if (!cairn_parameter_group_trains(&net->parameter[k].group, 0))
            continue;
        printf("%-22s %-16s %7d %5d %10.2e %13.6e %13.6e %s\n", net->parameter[k].name,
               shape_text(&net->parameter[k], shape, sizeof shape), row->checked, row->kinks,
               row->error, row->gradient, row->quotient, row->ok ? "ok" : "FAIL");
        if (!row->ok && used < (int)sizeof failed)
            used += snprintf(failed + used, sizeof failed - (size_t)used, "%s%s", used ? ", " : "",
                             net->parameter[k].name);
    }
    return used ? cairn_error_set(CAIRN_FAILED, "gradients are wrong: %s", failed) : CAIRN_OK;
}

/* The images are random, and so `synthetic` tells their shape and classes. */
static cairn_status plan(cairn_session *session, cairn_config *config, bool device_named,
                         int batch) {
    if (!device_named) {
        snprintf(config->device, sizeof config->device, "reference");
        config->train.precision = CAIRN_FLOAT64;
    }
    snprintf(config->data.name, sizeof config->data.name, "synthetic");
    cairn_status status = cairn_session_describe(session, config, NULL);
    for (int c = 0; c < CAIRN_CHANNELS_MAX && !status; c++) {
        session->data->mean[c] = 0.5f; /* random bytes, to mean 0 and a variance near 1 */
        session->data->std[c] = 0.25f;
    }
    if (!status)
        status = cairn_session_plan(session, config, batch);
    session->options.optimizer = cairn_optimizer_defaults(); /* no step changes anything */
    return status;
}

static cairn_status check(cairn_config *config, bool device_named,
                          const cairn_gradcheck_options *options) {
    cairn_session session = {0};
    cairn_gradcheck_row *rows = NULL;
    cairn_status status = plan(&session, config, device_named, options->batch);
    const cairn_net *net = session.net;
    if (!status && !(rows = calloc((size_t)net->parameter_count + 1, sizeof *rows)))
        status = cairn_error_set(CAIRN_FAILED, "out of memory for the results");
    if (!status)
        status = cairn_gradcheck(net, session.backend, &session.options, options, rows);
    if (!status) {
        cairn_precision precision = session.options.precision;
        printf("%s on %s, %s, a batch of %d; tolerance %.0e\n", config->model.name,
               session.backend->name, cairn_precision_name(precision), options->batch,
               cairn_gradcheck_tolerance(precision));
        status = print_rows(net, rows);
    }
    free(rows);
    cairn_session_close(&session);
    return status;
}

static cairn_status run(int argc, char **argv) {
    const char *samples_text = "16", *batch_text = "3", *seed_text = NULL;
    const cairn_option options[] = {
        {"samples", NULL, &samples_text}, {"batch", NULL, &batch_text}, {"seed", NULL, &seed_text}};
    cairn_common_arguments common;
    const char **positionals = calloc((size_t)argc, sizeof *positionals);
    size_t positional_count = 0;
    if (!positionals)
        return cairn_error_set(CAIRN_FAILED, "out of memory for arguments");
    cairn_config *config = calloc(1, sizeof *config);
    long samples = 0, batch = 0, seed = 0;
    cairn_status status =
        cairn_arguments_parse(argc, argv, options, 3, &common, positionals, &positional_count);
    if (!status && positional_count)
        status = cairn_error_set(CAIRN_BAD_INPUT, "unexpected '%s'; see `cairn gradcheck --help`",
                                 positionals[0]);
    if (!status)
        status = cairn_argument_integer("--samples", samples_text, 1, 1000000, &samples);
    if (!status)
        status = cairn_argument_integer("--batch", batch_text, 1, 1024, &batch);
    if (!status && seed_text)
        status = cairn_argument_integer("--seed", seed_text, 0, 0x7fffffff, &seed);
    if (!status && !config)
        status = cairn_error_set(CAIRN_FAILED, "out of memory for the configuration");
    if (!status)
        status = cairn_common_config(config, &common);
    if (!status) {
        cairn_gradcheck_options chosen = {.batch = (int)batch,
                                          .samples = (int)samples,
                                          .seed = seed_text ? (uint64_t)seed : config->seed};
        status = check(config, common.device != NULL, &chosen);
    }
    free(config);
    free(positionals);
    return status;
}

const cairn_command cairn_command_gradcheck = {
    "gradcheck", "check gradients against difference quotients", help, run};
