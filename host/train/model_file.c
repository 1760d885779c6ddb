/* Parameters in safetensors files, under PyTorch's names. */
#include "train.h"

#include "cairn/safetensors.h"

#include <string.h>

cairn_status cairn_tensors_add(cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *prefix) {
    const cairn_net *net = executor->net;
    for (int k = 0; k < net->parameter_count; k++) {
        const cairn_parameter *parameter = &net->parameter[k];
        char name[sizeof parameter->name + 32];
        float *values = NULL;
        cairn_status status = cairn_path_format(name, sizeof name, "%s%s", prefix, parameter->name);
        if (!status)
            status = cairn_safetensors_add(file, name, parameter->rank, parameter->dim, &values);
        if (!status)
            status = cairn_executor_get(executor, kind, k, values);
        if (status)
            return status;
    }
    return CAIRN_OK;
}

static bool same_shape(const cairn_tensor *tensor, const cairn_parameter *parameter) {
    return tensor->rank == parameter->rank &&
           memcmp(tensor->dim, parameter->dim, (size_t)tensor->rank * sizeof tensor->dim[0]) == 0;
}

cairn_status cairn_tensors_set(const cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *prefix, const char *path) {
    const cairn_net *net = executor->net;
    for (int k = 0; k < net->parameter_count; k++) {
        const cairn_parameter *parameter = &net->parameter[k];
        char name[sizeof parameter->name + 32];
        cairn_status status = cairn_path_format(name, sizeof name, "%s%s", prefix, parameter->name);
        if (status)
            return status;
        const cairn_tensor *tensor = cairn_safetensors_find(file, name);
        if (!tensor)
            return cairn_error_set(CAIRN_BAD_INPUT, "%s: has no tensor '%s', which the model needs",
                                   path, name);
        if (!same_shape(tensor, parameter))
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "%s: tensor '%s' has %zu values in another shape than the "
                                   "model's %zu",
                                   path, name, tensor->count, parameter->count);
        status = cairn_executor_set(executor, kind, k, tensor->values);
        if (status)
            return status;
    }
    return CAIRN_OK;
}

static bool is_parameter(const cairn_net *net, const char *name) {
    for (int k = 0; k < net->parameter_count; k++)
        if (strcmp(net->parameter[k].name, name) == 0)
            return true;
    return false;
}

/* What a checkpoint holds beside the parameters. */
static bool is_state(const char *name) {
    return strncmp(name, "adam.", 5) == 0 || strncmp(name, "sgd.", 4) == 0 ||
           strncmp(name, "ema.", 4) == 0;
}

cairn_status cairn_model_save(cairn_executor *executor, const char *path) {
    cairn_safetensors file = {0};
    cairn_status status = cairn_tensors_add(&file, executor, CAIRN_PARAMETER, "");
    if (!status)
        status = cairn_safetensors_write(&file, path);
    cairn_safetensors_free(&file);
    return status;
}

cairn_status cairn_model_load(cairn_executor *executor, const char *path) {
    cairn_safetensors file = {0};
    cairn_status status = cairn_safetensors_read(&file, path);
    for (size_t i = 0; i < file.tensor_count && !status; i++) {
        const char *name = file.tensor[i].name;
        if (!is_parameter(executor->net, name) && !is_state(name))
            status = cairn_error_set(CAIRN_BAD_INPUT, "%s: tensor '%s' is none of the model's",
                                     path, name);
    }
    if (!status)
        status = cairn_tensors_set(&file, executor, CAIRN_PARAMETER, "", path);
    cairn_safetensors_free(&file);
    return status;
}
