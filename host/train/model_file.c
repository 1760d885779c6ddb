/* Parameters in safetensors files, under PyTorch's names, and in a checkpoint what is kept beside
 * them: the optimiser's state as <its name>.<parameter>, averages as ema.<parameter>. A model's
 * file also has, for each batch normalisation, the counter of its training steps that PyTorch's
 * state-dict has, and Cairn does not need. */
#include "cairn/model_file.h"

#include "cairn/file.h"
#include "model_tensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char text[sizeof((cairn_parameter *)NULL)->name + 32];
} tensor_name;

#define AVERAGE "ema"

/* What a file calls a parameter's tensor of that kind; false where it has none. */
static bool name_tensor(const cairn_executor *executor, cairn_tensor_kind kind,
                        const cairn_parameter *parameter, tensor_name *name) {
    const cairn_optimizer *optimizer = &executor->options.optimizer;
    const char *of = NULL;
    if (kind != CAIRN_PARAMETER &&
        (parameter->group.frozen || !cairn_optimizer_keeps(optimizer, kind)))
        return false;
    switch (kind) {
    case CAIRN_PARAMETER:
    case CAIRN_GRADIENT:
        snprintf(name->text, sizeof name->text, "%s", parameter->name);
        return true;
    case CAIRN_STATE_0:
    case CAIRN_STATE_1:
        of = cairn_optimizer_state(optimizer, parameter, (int)kind - CAIRN_STATE_0);
        break;
    case CAIRN_AVERAGE:
        of = AVERAGE;
        break;
    }
    if (of)
        snprintf(name->text, sizeof name->text, "%s.%s", of, parameter->name);
    return of != NULL;
}

cairn_status cairn_tensors_add(cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *prefix) {
    const cairn_net *net = executor->net;
    for (int k = 0; k < net->parameter_count; k++) {
        const cairn_parameter *parameter = &net->parameter[k];
        tensor_name name;
        char whole[sizeof name + 16];
        float *values = NULL;
        if (!name_tensor(executor, kind, parameter, &name))
            continue;
        cairn_status status = cairn_path_format(whole, sizeof whole, "%s%s", prefix, name.text);
        if (!status)
            status = cairn_safetensors_add(file, whole, parameter->rank, parameter->dim, &values);
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

/* "[32, 3, 3, 3]" */
static const char *format_shape(char out[96], const int *dim, int rank) {
    int used = snprintf(out, 96, "[");
    for (int i = 0; i < rank && used < 80; i++)
        used += snprintf(out + used, 96 - (size_t)used, "%s%d", i ? ", " : "", dim[i]);
    snprintf(out + used, 96 - (size_t)used, "]");
    return out;
}

cairn_status cairn_tensors_set(const cairn_safetensors *file, cairn_executor *executor,
                               cairn_tensor_kind kind, const char *path) {
    const cairn_net *net = executor->net;
    for (int k = 0; k < net->parameter_count; k++) {
        const cairn_parameter *parameter = &net->parameter[k];
        tensor_name name;
        if (!name_tensor(executor, kind, parameter, &name))
            continue;
        const cairn_tensor *tensor = cairn_safetensors_find(file, name.text);
        if (!tensor)
            return cairn_error_set(CAIRN_BAD_INPUT, "%s: has no tensor '%s', which the model needs",
                                   path, name.text);
        if (!same_shape(tensor, parameter)) {
            char found[96], wanted[96];
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "%s: tensor '%s' has the shape %s, the model's is %s", path,
                                   name.text, format_shape(found, tensor->dim, tensor->rank),
                                   format_shape(wanted, parameter->dim, parameter->rank));
        }
        cairn_status status = cairn_executor_set(executor, kind, k, tensor->values);
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
    return cairn_optimizer_names(name) || strncmp(name, AVERAGE ".", sizeof AVERAGE) == 0;
}

/* "<op>.num_batches_tracked" */
static void counter_name(const cairn_op *op, char *name, size_t size) {
    snprintf(name, size, "%s.num_batches_tracked", op->name);
}

static bool is_counter(const cairn_net *net, const char *name) {
    for (int i = 0; i < net->op_count; i++) {
        char counter[sizeof net->op[i].name + 32];
        counter_name(&net->op[i], counter, sizeof counter);
        if (net->op[i].kind == CAIRN_OP_BATCHNORM && strcmp(counter, name) == 0)
            return true;
    }
    return false;
}

static cairn_status add_counters(cairn_safetensors *file, const cairn_executor *executor) {
    const cairn_net *net = executor->net;
    for (int i = 0; i < net->op_count; i++) {
        char counter[sizeof net->op[i].name + 32];
        float *value = NULL;
        counter_name(&net->op[i], counter, sizeof counter);
        if (net->op[i].kind != CAIRN_OP_BATCHNORM)
            continue;
        cairn_status status = cairn_safetensors_add(file, counter, 0, NULL, &value);
        if (status)
            return status;
        *value = (float)executor->trained;
    }
    return CAIRN_OK;
}

cairn_status cairn_model_gather(cairn_safetensors *file, cairn_executor *executor,
                                const cairn_dataset *data) {
    cairn_status status = data ? cairn_description_add(file, data) : CAIRN_OK;
    if (!status)
        status = cairn_tensors_add(file, executor, CAIRN_PARAMETER, "");
    return status ? status : add_counters(file, executor);
}

cairn_status cairn_model_save(cairn_executor *executor, const cairn_dataset *data,
                              const char *path) {
    cairn_safetensors file = {0};
    cairn_status status = cairn_model_gather(&file, executor, data);
    if (!status)
        status = cairn_safetensors_write_output(&file, path);
    cairn_safetensors_free(&file);
    return status;
}

cairn_status cairn_model_load(cairn_executor *executor, const char *path) {
    cairn_safetensors file = {0};
    cairn_status status = cairn_safetensors_read(&file, path);
    for (size_t i = 0; i < file.tensor_count && !status; i++) {
        const char *name = file.tensor[i].name;
        if (is_counter(executor->net, name) && file.tensor[i].count == 1)
            cairn_executor_set_trained(
                executor, (uint32_t)fminf(fmaxf(file.tensor[i].values[0], 0), 0x1p31f));
        else if (!is_parameter(executor->net, name) && !is_state(name))
            status = cairn_error_set(CAIRN_BAD_INPUT, "%s: tensor '%s' is none of the model's",
                                     path, name);
    }
    if (!status)
        status = cairn_tensors_set(&file, executor, CAIRN_PARAMETER, path);
    cairn_safetensors_free(&file);
    return status;
}
