/* `cairn eval`: a saved model on the test split, or on held-out training images. */
#include "cli.h"

#include "cairn/file.h"
#include "cairn/json.h"
#include "cairn/metrics.h"
#include "cairn/session.h"
#include "cairn/text.h"

#include <limits.h>
#include <stdio.h>

/* Loss and accuracy of the model in `path`, over the configured test split. */
static cairn_status evaluate(const cairn_config *config, const char *path, cairn_stats *stats) {
    cairn_session s = {0};
    cairn_status status = cairn_session_read(&s, config, path, NULL);
    if (!status) /* one batch may hold them all */
        status = cairn_session_plan(&s, config, s.data->test.count);
    if (!status)
        status = cairn_session_start(&s, path);
    if (!status)
        status = cairn_executor_upload(s.executor, CAIRN_SPLIT_TEST, &s.data->test);
    if (!status)
        status = cairn_executor_evaluate(s.executor, CAIRN_SPLIT_TEST, 0, s.data->test.count);
    if (!status)
        status = cairn_executor_get_stats(s.executor, stats);
    cairn_session_close(&s);
    return status;
}

static cairn_status print_result(const cairn_stats *stats, bool held_out, const char *path,
                                 bool json) {
    double loss = stats->loss / (double)stats->seen;
    double accuracy = (double)stats->correct / (double)stats->seen;
    if (!json) {
        printf("%s: %s loss %.4f acc %.4f (%lld %s)\n", path, cairn_split_name(held_out), loss,
               accuracy, (long long)stats->seen, cairn_noun(stats->seen, "image", "images"));
        return CAIRN_OK;
    }
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", path);
    cairn_json_number(root, held_out ? "val_loss" : "test_loss", loss);
    cairn_json_number(root, held_out ? "val_acc" : "test_acc", accuracy);
    cairn_json_integer(root, "images", stats->seen);
    char *text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    if (!text)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the result");
    puts(text);
    cJSON_free(text);
    return CAIRN_OK;
}

static cairn_status run(int argc, char **argv) {
    const char *positionals[argc], *model = NULL, *run_dir = NULL;
    size_t positional_count = 0;
    bool json = false;
    char path[PATH_MAX], params[PATH_MAX];
    cairn_common_arguments common;
    cairn_config config;
    cairn_stats stats;
    const cairn_option options[] = {
        {"model", NULL, &model}, {"run-dir", NULL, &run_dir}, {"json", &json, NULL}};
    cairn_status status =
        cairn_arguments_parse(argc, argv, options, 3, &common, positionals, &positional_count);
    if (!status && positional_count == 1 && !run_dir && cairn_folder_exists(positionals[0])) {
        run_dir = positionals[0];
        positional_count = 0;
    }
    if (!status)
        status = cairn_params_positional(&common, positionals, positional_count);
    if (!status)
        status = cairn_run_params(&common, run_dir, params, sizeof params);
    if (!status)
        status = cairn_common_config(&config, &common);
    if (!status)
        status = cairn_model_path(path, sizeof path, &config, model, run_dir);
    if (!status)
        status = evaluate(&config, path, &stats);
    return status ? status : print_result(&stats, config.data.validation > 0, path, json);
}

const cairn_command cairn_command_eval = {
    "eval", "measure a saved model on the test split",
    "usage: cairn eval [RUN | params.yaml] [-S key=value]... [--device D]\n"
    "                  [--model FILE | --run-dir DIR] [--json]\n"
    "\n"
    "Prints loss and accuracy on the test split of the configured data set. The model is\n"
    "model.safetensors in the configured run folder unless another is named. A checkpoint can be\n"
    "measured too, and a file that PyTorch saved with\n"
    "safetensors.torch.save_file(model.state_dict(), ...).\n"
    "\n"
    "A run with data.validation is measured on the training images that it held out (`val`);\n"
    "-S data.validation=0 measures it on the test split.\n"
    "\n"
    "  --model FILE    the safetensors file to read\n"
    "  --run-dir DIR   the run folder, instead of <run.out_dir>/<run.name>; its own params.yaml\n"
    "                  is read unless another is given; RUN is the same\n"
    "  --json          print one JSON object instead of text\n" CAIRN_HELP_COMMON "\n"
    "  cairn eval runs/exp1_baseline\n"
    "  cairn eval --model from_pytorch.safetensors --json\n",
    run};
