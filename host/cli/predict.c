/* `cairn predict`: what a saved model sees in image files. Images go through in blocks, so that a
 * folder of any size takes no more memory than a block. */
#include "cli.h"

#include "cairn/file.h"
#include "cairn/image.h"
#include "cairn/json.h"
#include "cairn/session.h"
#include "cairn/softmax.h"
#include "cairn/text.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1024 }; /* images at a time */

typedef struct {
    const char *model; /* its file */
    int top;
    bool json;
} request;

/* The model, ready to run, and a block of images. */
typedef struct {
    const request *request;
    cairn_session session; /* its data are described only: they have no images */
    cairn_split split;     /* [block] */
    cairn_image_outcome outcomes[BLOCK];
    float *logits;  /* [block, classes] */
    cJSON *answers; /* with --json: printed at the end */
    size_t failed;
} predictor;

static cairn_status open_predictor(predictor *p, const cairn_config *config, int block) {
    cairn_session *session = &p->session;
    cairn_status status = cairn_session_describe(session, config, p->request->model);
    if (!status)
        status = cairn_session_plan(session, config, block);
    if (!status)
        status = cairn_session_start(session, p->request->model);
    if (status)
        return status;
    p->split = session->data->test;
    p->split.images = calloc((size_t)block, cairn_shape_count(session->net->input));
    p->split.labels = calloc((size_t)block, 1); /* unknown; only the logits are wanted */
    p->logits = calloc((size_t)block * (size_t)session->data->classes, sizeof p->logits[0]);
    p->answers = cJSON_CreateArray();
    if (!p->split.images || !p->split.labels || !p->logits || !p->answers)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %d %s", block,
                               cairn_noun(block, "image", "images"));
    return CAIRN_OK;
}

static void close_predictor(predictor *p) {
    cairn_session_close(&p->session); /* first: it may read the images in place */
    free(p->split.images);
    free(p->split.labels);
    free(p->logits);
    cJSON_Delete(p->answers);
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
        int label = order[best];
        memmove(order + place + 1, order + place, (size_t)(best - place) * sizeof order[0]);
        order[place] = label;
    }
}

/* One image's answer as {"file", "predictions": [{"class", "label", "confidence", "logit"}]}. */
static cJSON *describe_image(const char *name, const cairn_dataset *data, const int *order, int top,
                             const double *probabilities, const float *logits) {
    cJSON *image = cJSON_CreateObject();
    char *shown = malloc(4 * strlen(name) + 1); /* JSON has no other bytes than UTF-8 */
    if (shown)
        cJSON_AddStringToObject(image, "file", cairn_text_show(shown, 4 * strlen(name) + 1, name));
    free(shown);
    cJSON *list = cJSON_AddArrayToObject(image, "predictions");
    for (int i = 0; i < top; i++) {
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "class", data->class_names[order[i]]);
        cairn_json_integer(row, "label", order[i]);
        cairn_json_number(row, "confidence", probabilities[order[i]]);
        cairn_json_number(row, "logit", (double)logits[order[i]]);
        cJSON_AddItemToArray(list, row);
    }
    return image;
}

static void answer(predictor *p, const char *name, const float *logits) {
    double probabilities[CAIRN_CLASSES_MAX];
    int order[CAIRN_CLASSES_MAX], classes = p->session.data->classes;
    int top = p->request->top < classes ? p->request->top : classes;
    cairn_softmax(logits, classes, probabilities);
    rank_classes(probabilities, classes, top, order);
    if (p->request->json)
        cJSON_AddItemToArray(
            p->answers, describe_image(name, p->session.data, order, top, probabilities, logits));
    for (int k = 0; k < top && !p->request->json; k++) {
        cairn_text_put(stdout, name);
        printf(": %s %.4f\n", p->session.data->class_names[order[k]], probabilities[order[k]]);
    }
}

/* The images into the split; "-" is the standard input. */
static void read_block(predictor *p, const char *const *names, int count, int threads) {
    cairn_shape shape = p->session.net->input;
    cairn_image_fit fit = (cairn_image_fit)p->session.data->resize;
    cairn_images_read(names, count, shape, fit, threads, NULL, p->split.images, p->outcomes);
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], "-") == 0) {
            cairn_image_outcome *outcome = &p->outcomes[i];
            free(outcome->message);
            outcome->status =
                cairn_image_read_stream(STDIN_FILENO, "standard input", shape, fit,
                                        p->split.images + (size_t)i * cairn_shape_count(shape));
            outcome->message = outcome->status ? strdup(cairn_error_message()) : NULL;
        }
}

/* Reads what can be read; complains about the rest, one line a file. */
static cairn_status predict_block(predictor *p, const char *const *names, int count, int threads) {
    read_block(p, names, count, threads);
    p->split.count = count;
    cairn_status status = cairn_executor_upload(p->session.executor, CAIRN_SPLIT_TEST, &p->split);
    if (!status)
        status = cairn_executor_logits(p->session.executor, CAIRN_SPLIT_TEST, 0, count, p->logits);
    for (int i = 0; i < count; i++) {
        cairn_image_outcome *outcome = &p->outcomes[i];
        if (!status && outcome->status) {
            fflush(stdout);
            fprintf(stderr, "cairn: %s\n", outcome->message ? outcome->message : names[i]);
            p->failed++;
        } else if (!status) {
            answer(p, names[i], p->logits + (size_t)i * (size_t)p->session.data->classes);
        }
        free(outcome->message);
    }
    return status;
}

static cairn_status print_answers(const predictor *p) {
    char *text = cairn_json_format(p->answers);
    if (!text)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the result");
    fputs(text, stdout);
    free(text);
    return CAIRN_OK;
}

static cairn_status predict(const cairn_config *config, const request *wanted,
                            const cairn_image_paths *files) {
    static predictor p;
    const int count = (int)files->count, block = count < BLOCK ? count : BLOCK;
    p = (predictor){.request = wanted};
    cairn_status status = open_predictor(&p, config, block);
    for (int first = 0; first < count && !status; first += block)
        status = predict_block(&p, (const char *const *)files->path + first,
                               count - first < block ? count - first : block,
                               (int)config->train.threads);
    if (!status && wanted->json)
        status = print_answers(&p);
    if (!status && p.failed)
        status = cairn_error_set(CAIRN_BAD_INPUT, "%zu of %d %s could not be read", p.failed, count,
                                 cairn_noun(count, "image", "images"));
    close_predictor(&p);
    return status;
}

/* The files that the arguments mean: a folder's images, "-" once, and anything else as it is. */
static cairn_status find_files(cairn_image_paths *files, const char *const *arguments,
                               size_t count) {
    cairn_status status = CAIRN_OK;
    bool piped = false;
    for (size_t i = 0; i < count && !status; i++) {
        bool pipe = strcmp(arguments[i], "-") == 0;
        if (pipe && piped)
            return cairn_error_set(CAIRN_BAD_INPUT, "'-' twice: the standard input is one image");
        piped = piped || pipe;
        if (!pipe && cairn_folder_exists(arguments[i]))
            status = cairn_image_paths_find(files, arguments[i]);
        else
            status = cairn_image_paths_add(files, arguments[i]);
    }
    char left_out[2048];
    if (!status && *cairn_left_out_describe(&files->left_out, left_out, sizeof left_out))
        fprintf(stderr, "cairn: %s\n", left_out);
    if (!status && files->count > INT_MAX)
        status = cairn_error_set(CAIRN_BAD_INPUT, "more than %d images", INT_MAX);
    return status;
}

static cairn_status run(int argc, char **argv) {
    const char *arguments[argc], *model = NULL, *run_dir = NULL, *top_text = "1";
    size_t count = 0;
    long top = 1;
    char path[PATH_MAX], params[PATH_MAX];
    cairn_common_arguments common;
    cairn_config config;
    cairn_image_paths files = {0};
    request wanted = {.model = path};
    const cairn_option options[] = {{"model", NULL, &model},
                                    {"run-dir", NULL, &run_dir},
                                    {"top", NULL, &top_text},
                                    {"json", &wanted.json, NULL}};
    cairn_status status = cairn_arguments_parse(argc, argv, options, 4, &common, arguments, &count);
    if (!status && count == 0)
        status = cairn_error_set(CAIRN_BAD_INPUT, "predict needs an image file, a folder or -; "
                                                  "see `cairn predict --help`");
    if (!status)
        status = cairn_argument_integer("--top", top_text, 1, CAIRN_CLASSES_MAX, &top);
    wanted.top = (int)top;
    if (!status)
        status = cairn_run_params(&common, run_dir, params, sizeof params);
    if (!status)
        status = cairn_common_config(&config, &common);
    if (!status)
        status = cairn_model_path(path, sizeof path, &config, model, run_dir);
    if (!status)
        status = find_files(&files, arguments, count);
    if (!status)
        status = predict(&config, &wanted, &files);
    cairn_image_paths_free(&files);
    return status;
}

const cairn_command cairn_command_predict = {
    "predict", "say what a saved model sees in image files",
    "usage: cairn predict [--model FILE | --run-dir DIR] [--top K] [--json]\n"
    "                     [--params FILE] [-S key=value]... [--device D] IMAGE...\n"
    "\n"
    "Prints `file: class confidence` for every PNG, JPEG, BMP or WebP image. An IMAGE is a\n"
    "file, a folder (its images and those below it, in the order of their names), or - for\n"
    "the standard input. An image that cannot be read is reported on stderr, and the others are "
    "still done.\n"
    "\n"
    "An image of another size is resized as the training images were: stretched, or, with\n"
    "data.resize=crop, cut to the largest part in its middle that has the right proportions.\n"
    "\n"
    "The model is model.safetensors in the run folder that params.yaml names, unless another is\n"
    "given. It knows the names of its classes; for one that does not, such as PyTorch's,\n"
    "data.name tells them.\n"
    "\n"
    "  --model FILE    the safetensors file to read\n"
    "  --run-dir DIR   the run folder; its own params.yaml is read unless --params is given\n"
    "  --top K         print the K most probable classes, each on a line (default 1)\n"
    "  --json          print one JSON list instead: file, and predictions of class, label,\n"
    "                  confidence and logit\n" CAIRN_HELP_COMMON "\n"
    "  cairn predict --run-dir runs/exp1_baseline --top 3 cat.png\n"
    "  cairn predict --run-dir runs/exp1_baseline photos/ - <dog.jpg\n"
    "  cairn predict --model from_pytorch.safetensors --json photos/*.jpg\n",
    run};
