/* `cairn predict`: what a saved model sees in image files. */
#include "cli.h"

#include "cairn/dataset.h"
#include "cairn/executor.h"
#include "cairn/file.h"
#include "cairn/image.h"
#include "cairn/model.h"
#include "cairn/record.h"
#include "cairn/train.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The model, ready to run, and what its classes are called. */
typedef struct {
    cairn_dataset *data; /* described only: it has no images */
    cairn_net *net;
    cairn_executor *executor;
} predictor;

/* The files that could be read, in the order given. */
typedef struct {
    const char **names;
    cairn_split split;
    float *logits; /* [split.count, classes] */
} image_list;

static cairn_status open_predictor(predictor *made, const cairn_config *config, const char *path,
                                   int count) {
    const cairn_backend *backend = NULL;
    cairn_status status = cairn_dataset_describe(&made->data, config);
    if (status)
        return status;
    const cairn_split *like = &made->data->test;
    cairn_executor_options options = cairn_executor_configure(config, made->data);
    if (options.batch > count)
        options.batch = count;
    status = cairn_backend_find(&backend, &options.device, config->device, options.precision);
    if (!status)
        status = cairn_model_build(&made->net, config,
                                   (cairn_shape){like->channels, like->height, like->width},
                                   made->data->classes);
    if (!status)
        status = cairn_executor_create(&made->executor, backend, made->net, &options);
    return status ? status : cairn_model_load(made->executor, path);
}

static void close_predictor(predictor *made) {
    cairn_executor_destroy(made->executor);
    cairn_net_destroy(made->net);
    cairn_dataset_destroy(made->data);
}

/* Reads what can be read; complains about the rest, one line a file. */
static cairn_status read_images(image_list *images, cairn_shape shape, int classes,
                                const char *const *files, size_t count) {
    size_t size = cairn_shape_count(shape);
    images->split = (cairn_split){.channels = shape.c, .height = shape.h, .width = shape.w};
    images->names = malloc(count * sizeof images->names[0]);
    images->split.images = malloc(count * size);
    images->split.labels = calloc(count, 1); /* unknown; only the logits are wanted */
    images->logits = malloc(count * (size_t)classes * sizeof images->logits[0]);
    if (!images->names || !images->split.images || !images->split.labels || !images->logits)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %zu images", count);
    for (size_t i = 0; i < count; i++) {
        cairn_status status = cairn_image_read(
            files[i], shape, images->split.images + (size_t)images->split.count * size);
        if (status == CAIRN_OK)
            images->names[images->split.count++] = files[i];
        else if (status == CAIRN_BAD_INPUT)
            fprintf(stderr, "cairn: %s\n", cairn_error_message());
        else
            return status;
    }
    return CAIRN_OK;
}

static void free_images(image_list *images) {
    free(images->names);
    free(images->split.images);
    free(images->split.labels);
    free(images->logits);
}

/* Moves the `top` most probable classes to the front of order[classes]; the first of equals. */
static void rank_classes(const double *probabilities, int classes, int top, int *order) {
    assert(classes > 0 && top <= classes);
    for (int i = 0; i < classes; i++)
        order[i] = i;
    for (int place = 0; place < top; place++) {
        int best = place;
        for (int i = place + 1; i < classes; i++)
            if (probabilities[order[i]] > probabilities[order[best]])
                best = i;
        int class = order[best];
        memmove(order + place + 1, order + place, (size_t)(best - place) * sizeof order[0]);
        order[place] = class;
    }
}

/* One image's answer as {"file", "predictions": [{"class", "label", "confidence"}]}. */
static cJSON *describe_image(const char *name, const cairn_dataset *data, const int *order, int top,
                             const double *probabilities) {
    cJSON *image = cJSON_CreateObject();
    cJSON_AddStringToObject(image, "file", name);
    cJSON *list = cJSON_AddArrayToObject(image, "predictions");
    for (int i = 0; i < top; i++) {
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "class", data->class_names[order[i]]);
        cJSON_AddNumberToObject(row, "label", order[i]);
        cJSON_AddNumberToObject(row, "confidence", probabilities[order[i]]);
        cJSON_AddItemToArray(list, row);
    }
    return image;
}

static cairn_status print_predictions(const image_list *images, const cairn_dataset *data, int top,
                                      bool json) {
    cJSON *root = cJSON_CreateArray();
    for (int i = 0; i < images->split.count; i++) {
        double probabilities[CAIRN_CLASSES_MAX];
        int order[CAIRN_CLASSES_MAX];
        cairn_softmax(images->logits + (size_t)i * (size_t)data->classes, data->classes,
                      probabilities);
        rank_classes(probabilities, data->classes, top, order);
        if (json)
            cJSON_AddItemToArray(root,
                                 describe_image(images->names[i], data, order, top, probabilities));
        for (int k = 0; k < top && !json; k++)
            printf("%s: %s %.4f\n", images->names[i], data->class_names[order[k]],
                   probabilities[order[k]]);
    }
    char *text = json ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    if (json && !text)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the result");
    if (json)
        puts(text);
    cJSON_free(text);
    return CAIRN_OK;
}

static cairn_status predict(const cairn_config *config, const char *path, const char *const *files,
                            size_t count, int top, bool json) {
    predictor model = {0};
    image_list images = {0};
    cairn_status status = open_predictor(&model, config, path, (int)count);
    if (!status)
        status = read_images(&images, model.net->input, model.data->classes, files, count);
    if (!status && images.split.count) {
        status = cairn_executor_upload(model.executor, CAIRN_SPLIT_TEST, &images.split);
        if (!status)
            status = cairn_executor_logits(model.executor, CAIRN_SPLIT_TEST, 0, images.split.count,
                                           images.logits);
    }
    if (!status)
        status = print_predictions(&images, model.data,
                                   top < model.data->classes ? top : model.data->classes, json);
    if (!status && images.split.count < (int)count)
        status = cairn_error_set(CAIRN_BAD_INPUT, "%d of %zu images could not be read",
                                 (int)count - images.split.count, count);
    close_predictor(&model); /* first: an executor may read the images in place */
    free_images(&images);
    return status;
}

static cairn_status run(int argc, char **argv) {
    const char *files[argc], *model = NULL, *run_dir = NULL, *top_text = "1";
    size_t count = 0;
    bool json = false;
    long top = 1;
    char path[PATH_MAX], params[PATH_MAX];
    cairn_common_arguments common;
    cairn_config config;
    const cairn_option options[] = {{"model", NULL, &model},
                                    {"run-dir", NULL, &run_dir},
                                    {"top", NULL, &top_text},
                                    {"json", &json, NULL}};
    cairn_status status = cairn_arguments_parse(argc, argv, options, 4, &common, files, &count);
    if (!status && count == 0)
        status = cairn_error_set(CAIRN_BAD_INPUT,
                                 "predict wants an image file or more; see `cairn predict --help`");
    if (!status)
        status = cairn_argument_integer("--top", top_text, 1, CAIRN_CLASSES_MAX, &top);
    if (!status)
        status = cairn_run_params(&common, run_dir, params, sizeof params);
    if (!status)
        status = cairn_common_config(&config, &common);
    if (!status)
        status = cairn_model_path(path, sizeof path, &config, model, run_dir);
    return status ? status : predict(&config, path, files, count, (int)top, json);
}

const cairn_command cairn_command_predict = {
    "predict", "say what a saved model sees in image files",
    "usage: cairn predict [--model FILE | --run-dir DIR] [--top K] [--json]\n"
    "                     [--params FILE] [-S key=value]... [--device D] IMAGE...\n\n"
    "Prints `file: class confidence` for every PNG, JPEG or BMP image, resized to what the model\n"
    "reads. The model is model.safetensors of the run folder that params.yaml names, unless "
    "given.\n"
    "An image that cannot be read is named on stderr; the others are still done.\n\n"
    "  --model FILE    the safetensors file\n"
    "  --run-dir DIR   the run folder; its own params.yaml is read unless --params is given\n"
    "  --top K         the K most probable classes, a line each (default 1)\n"
    "  --json          one JSON list: file, and predictions of class, label and confidence\n"
    "  --params FILE   instead of params.yaml\n"
    "  -S key=value    sets one parameter; `cairn params` lists them\n"
    "  --device D      auto, cpu, reference, cuda or cuda:N\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong usage, configuration or data, or a bad image.\n\n"
    "  cairn predict --run-dir runs/exp1_baseline --top 3 cat.png\n"
    "  cairn predict --model from_pytorch.safetensors --json photos/*.jpg\n",
    run};
