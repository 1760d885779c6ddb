/* What a model reads and tells apart, kept in the metadata of its file, so that it can be used away
 * from its data:
 *
 *     "data": {"name": "cifar10", "shape": [3, 32, 32], "mean": [..], "std": [..],
 *              "classes": ["airplane", ..]}
 *
 * and "resize": "crop", where images were not stretched. */
#include "cairn/model_file.h"

#include "model_tensors.h"

#include "cairn/text.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char key[] = "data", crop[] = "crop";

/* Writing -------------------------------------------------------------------------------------- */

/* Nine digits bring a float back. */
static bool add_floats(cJSON *object, const char *name, const float *values, int count) {
    cJSON *list = cJSON_AddArrayToObject(object, name);
    char digits[32];
    bool whole = list != NULL;
    for (int i = 0; i < count && whole; i++) {
        snprintf(digits, sizeof digits, "%.9g", (double)values[i]);
        whole = cJSON_AddItemToArray(list, cJSON_CreateRaw(digits));
    }
    return whole;
}

static char *format(const cairn_dataset *data) {
    const cairn_split *like = &data->test;
    const int shape[] = {like->channels, like->height, like->width};
    cJSON *object = cJSON_CreateObject();
    bool whole = cJSON_AddStringToObject(object, "name", data->name) &&
                 cJSON_AddItemToObject(object, "shape", cJSON_CreateIntArray(shape, 3)) &&
                 add_floats(object, "mean", data->mean, like->channels) &&
                 add_floats(object, "std", data->std, like->channels);
    if (whole && data->resize == CAIRN_RESIZE_CROP)
        whole = cJSON_AddStringToObject(object, "resize", crop);
    cJSON *classes = whole ? cJSON_AddArrayToObject(object, "classes") : NULL;
    for (int i = 0; i < data->classes && classes; i++)
        if (!cJSON_AddItemToArray(classes, cJSON_CreateString(data->class_names[i])))
            classes = NULL;
    char *text = classes ? cJSON_PrintUnformatted(object) : NULL;
    cJSON_Delete(object);
    return text;
}

cairn_status cairn_description_add(cairn_safetensors *file, const cairn_dataset *data) {
    char *text = format(data);
    if (!text)
        return cairn_error_set(CAIRN_FAILED, "out of memory for the names of %d classes",
                               data->classes);
    cairn_status status = cairn_safetensors_add_metadata(file, key, text);
    free(text);
    return status;
}

/* Reading -------------------------------------------------------------------------------------- */

static bool read_text(const cJSON *item, char *out, size_t size) {
    const char *text = cJSON_GetStringValue(item);
    if (!text || strlen(text) >= size || !cairn_text_is_plain(text))
        return false;
    strcpy(out, text);
    return true;
}

static bool read_whole(const cJSON *item, int high, int *value) {
    double number = cJSON_IsNumber(item) ? item->valuedouble : 0;
    if (!(number >= 1 && number <= high && number == floor(number)))
        return false;
    *value = (int)number;
    return true;
}

static bool read_shape(const cJSON *list, cairn_split *like) {
    return cJSON_GetArraySize(list) == 3 &&
           read_whole(cJSON_GetArrayItem(list, 0), CAIRN_CHANNELS_MAX, &like->channels) &&
           read_whole(cJSON_GetArrayItem(list, 1), CAIRN_SIDE_MAX, &like->height) &&
           read_whole(cJSON_GetArrayItem(list, 2), CAIRN_SIDE_MAX, &like->width);
}

static bool read_floats(const cJSON *list, float *values, int count, double low) {
    int i = 0;
    const cJSON *item;
    if (cJSON_GetArraySize(list) != count)
        return false;
    cJSON_ArrayForEach(item, list) {
        double number = cJSON_IsNumber(item) ? item->valuedouble : NAN;
        if (!(number >= low && number <= 1e6))
            return false;
        values[i++] = (float)number;
    }
    return true;
}

static bool read_classes(const cJSON *list, cairn_dataset *data) {
    const cJSON *item;
    if (cJSON_GetArraySize(list) > CAIRN_CLASSES_MAX)
        return false;
    cJSON_ArrayForEach(item, list) {
        char *name = data->class_names[data->classes++];
        if (!read_text(item, name, sizeof data->class_names[0]))
            return false;
    }
    return data->classes > 0;
}

static bool read_resize(const cJSON *item, cairn_dataset *data) {
    const char *text = cJSON_GetStringValue(item);
    data->resize = item ? CAIRN_RESIZE_CROP : CAIRN_RESIZE_STRETCH;
    return !item || (text && strcmp(text, crop) == 0);
}

static bool parse(const char *text, cairn_dataset *data) {
    cJSON *object = cJSON_ParseWithOpts(text, NULL, 1);
    cairn_split *like = &data->test;
    bool sound = read_text(cJSON_GetObjectItemCaseSensitive(object, "name"), data->name,
                           sizeof data->name) &&
                 read_shape(cJSON_GetObjectItemCaseSensitive(object, "shape"), like) &&
                 read_floats(cJSON_GetObjectItemCaseSensitive(object, "mean"), data->mean,
                             like->channels, -1e6) &&
                 read_floats(cJSON_GetObjectItemCaseSensitive(object, "std"), data->std,
                             like->channels, 1e-6) &&
                 read_resize(cJSON_GetObjectItemCaseSensitive(object, "resize"), data) &&
                 read_classes(cJSON_GetObjectItemCaseSensitive(object, "classes"), data);
    data->train = data->test;
    cJSON_Delete(object);
    return sound;
}

/* The description in a model's file; NULL when it has none, as PyTorch's. */
static cairn_status read_description(cairn_dataset **data, const char *path) {
    cairn_safetensors file = {0};
    *data = NULL;
    cairn_status status = cairn_safetensors_read(&file, path);
    const char *text = status ? NULL : cairn_safetensors_metadata(&file, key);
    if (text) {
        cairn_dataset *made = calloc(1, sizeof *made);
        if (!made)
            status = cairn_error_set(CAIRN_FAILED, "out of memory for a data set");
        else if (!parse(text, made))
            status = cairn_error_set(CAIRN_BAD_INPUT,
                                     "%s: its description of the data is damaged: name, shape "
                                     "(sides of 1 to %d), mean, std and classes, in printable "
                                     "UTF-8, would be right",
                                     path, CAIRN_SIDE_MAX);
        if (status)
            cairn_dataset_destroy(made);
        else
            *data = made;
    }
    cairn_safetensors_free(&file);
    return status;
}

cairn_status cairn_model_describe(cairn_dataset **data, const cairn_config *config,
                                  const char *path) {
    cairn_status status = read_description(data, path);
    return status || *data ? status : cairn_dataset_describe(data, config);
}

cairn_status cairn_model_match(cairn_dataset *data, const char *path) {
    cairn_dataset *known = NULL;
    cairn_status status = read_description(&known, path);
    if (status || !known)
        return status;
    if (known->classes != data->classes)
        status = cairn_error_set(
            CAIRN_BAD_INPUT, "%s: the model tells %d %s apart, the data set has %d", path,
            known->classes, cairn_noun(known->classes, "class", "classes"), data->classes);
    for (int i = 0; i < data->classes && !status; i++)
        if (strcmp(known->class_names[i], data->class_names[i]) != 0)
            status = cairn_error_set(CAIRN_BAD_INPUT,
                                     "%s: class %d is '%s' to the model and '%s' in the data set",
                                     path, i, known->class_names[i], data->class_names[i]);
    memcpy(data->mean, known->mean, sizeof data->mean);
    memcpy(data->std, known->std, sizeof data->std);
    cairn_dataset_destroy(known);
    return status;
}
