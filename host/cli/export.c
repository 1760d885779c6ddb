/* `cairn export`: a saved model as a file for other programs. */
#include "cli.h"

#include "cairn/file.h"
#include "cairn/model_file.h"
#include "cairn/onnx.h"
#include "cairn/session.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static cairn_status write_onnx(cairn_executor *executor, const cairn_dataset *data,
                               const char *path) {
#ifdef CAIRN_WITH_PROTOBUF
    return cairn_onnx_write(executor, data, path);
#else
    (void)executor;
    (void)data;
    return cairn_error_set(
        CAIRN_FAILED, "%s: this cairn was built without libprotobuf-c and cannot write ONNX", path);
#endif
}

static const struct format {
    const char *name, *ending;
    cairn_status (*write)(cairn_executor *, const cairn_dataset *, const char *);
} formats[] = {
    {"safetensors", ".safetensors", cairn_model_save},
    {"onnx", ".onnx", write_onnx},
};

/* The format of that name; without one, by the file's ending. */
static cairn_status find_format(const struct format **found, const char *name, const char *path) {
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (name ? strcmp(name, formats[i].name) == 0
                 : dot && strcmp(dot, formats[i].ending) == 0) {
            *found = &formats[i];
            return CAIRN_OK;
        }
    if (name)
        return cairn_error_set(CAIRN_BAD_INPUT, "--format: '%s' is neither safetensors nor onnx",
                               name);
    return cairn_error_set(CAIRN_BAD_INPUT,
                           "--out: '%s' ends in neither .safetensors nor .onnx; choose with "
                           "--format",
                           path);
}

/* The model's file, and the configuration that tells its net: of a run folder, its own two; of a
 * file, the params.yaml beside it where there is one. `params` may end up in `arguments`. */
static cairn_status find_model(const char *given, cairn_common_arguments *arguments,
                               char model[PATH_MAX], char params[PATH_MAX]) {
    bool run = cairn_folder_exists(given);
    cairn_status status =
        cairn_path_format(model, PATH_MAX, run ? "%s/model.safetensors" : "%s", given);
    const char *slash = strrchr(given, '/');
    if (!status && run)
        status = cairn_path_format(params, PATH_MAX, "%s/params.yaml", given);
    else if (!status)
        status = cairn_path_format(params, PATH_MAX, "%.*sparams.yaml",
                                   slash ? (int)(slash - given) + 1 : 0, given);
    if (!status && !arguments->params && (run || cairn_file_exists(params)))
        arguments->params = params;
    return status;
}

/* The parameters pass through an executor of the plainest backend: all checks are made there. */
static cairn_status export_model(cairn_config *config, const char *model,
                                 const struct format *format, const char *out) {
    cairn_session s = {0};
    cairn_status status = cairn_session_describe(&s, config, model);
    snprintf(config->device, sizeof config->device, "reference");
    config->train.precision = CAIRN_FLOAT32;
    if (!status)
        status = cairn_session_plan(&s, config, 1);
    if (!status)
        status = cairn_session_start(&s, model);
    if (!status)
        status = format->write(s.executor, s.data, out);
    cairn_session_close(&s);
    return status;
}

static cairn_status run(int argc, char **argv) {
    const char *positionals[argc], *format_name = NULL, *out = NULL, *run_dir = NULL;
    size_t count = 0;
    char model[PATH_MAX], params[PATH_MAX];
    const struct format *format = NULL;
    cairn_common_arguments common;
    cairn_config config;
    const cairn_option options[] = {
        {"format", NULL, &format_name}, {"out", NULL, &out}, {"run-dir", NULL, &run_dir}};
    cairn_status status =
        cairn_arguments_parse(argc, argv, options, 3, &common, positionals, &count);
    if (!status && run_dir)
        positionals[count++] = run_dir; /* in the option's own place */
    if (!status && (count != 1 || !out))
        status = cairn_error_set(CAIRN_BAD_INPUT, "export needs a run folder or a model's file, "
                                                  "and --out; see `cairn export --help`");
    if (!status)
        status = find_format(&format, format_name, out);
    if (!status)
        status = find_model(positionals[0], &common, model, params);
    if (!status)
        status = cairn_common_config(&config, &common);
    return status ? status : export_model(&config, model, format, out);
}

const cairn_command cairn_command_export = {
    "export", "write a saved model for other programs",
    "usage: cairn export RUN|MODEL --out FILE [--format safetensors|onnx]\n"
    "                    [--params FILE] [-S key=value]...\n"
    "\n"
    "Writes the weights of a run folder's best epoch, or those in a model's or a checkpoint's\n"
    "file.\n"
    "\n"
    "  --out FILE      the file to write; it is replaced if it exists\n"
    "  --run-dir DIR   the run folder; the same as RUN\n"
    "  --format safetensors|onnx\n"
    "                  unless given, the ending of FILE decides\n"
    "  --params FILE   the configuration that names the network; unless given, the params.yaml\n"
    "                  beside the model, or the one in this folder\n"
    "  -S key=value    override one key; `cairn params` lists them\n"
    "  --device D      accepted, and not used\n"
    "\n"
    "safetensors has the tensors under PyTorch's names and, in its metadata, the shape and\n"
    "statistics of the images and the names of the classes.\n"
    "\n"
    "onnx (operator set 17) has one input, `images`: float32 [batch, channels, height, width],\n"
    "levels from 0 to 255; the normalisation is inside. Its output is `logits`: float32 [batch,\n"
    "classes]. The batch may have any size. The metadata `class_names` is a JSON list.\n"
    "\n"
    "  cairn export runs/exp1_baseline --out cifar10.onnx\n"
    "  cairn export runs/exp1_baseline/checkpoint.safetensors --format safetensors --out last.st\n",
    run};
