/* A net as an ONNX file. Every op of a net becomes a node or some, by the table of emitters below;
 * a value of the graph bears the name of the op that makes it. Operators are those of ONNX's set
 * 17 (docs/Operators.md in ONNX's repository), the widest understood that has all that is needed;
 * GELU, which came with set 20, is put together from them. */
#include "cairn/onnx.h"

#include "cairn/file.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnx.pb-c.h"

enum {
    NODES_AN_OP = 8, /* the most that one becomes */
    NODES_MAX = NODES_AN_OP * (CAIRN_NET_OPS_MAX + 1),
    TENSORS_MAX = CAIRN_NET_PARAMETERS_MAX + 8,
    INPUTS_MAX = 5, /* of a node */
    ATTRIBUTES_MAX = 3,
};

/* A model under construction. Everything that the messages point to lies in `room`. */
typedef struct {
    cairn_executor *executor;
    const cairn_net *net;
    const cairn_dataset *data;
    uint8_t *room;
    size_t size, used;                    /* bytes */
    cairn_status status;                  /* of getting the parameters */
    const char *value[CAIRN_NET_OPS_MAX]; /* what an op's result is called */
    bool flat[CAIRN_NET_OPS_MAX];         /* it is [batch, c], not [batch, c, h, w] */
    const char *input;                    /* what the net's input is called */
    bool halves;                          /* the constants of GELU are there */
    Onnx__NodeProto *node[NODES_MAX];
    Onnx__TensorProto *tensor[TENSORS_MAX];
    size_t node_count, tensor_count;
} builder;

/* Parts of messages ---------------------------------------------------------------------------- */

/* The most that a node and a constant take beside values; a text is at most TEXT_MAX. */
enum { TEXT_MAX = 128, NODE_BYTES = 4096, TENSOR_BYTES = 1024, MODEL_BYTES = 16384 };

/* What the messages of a model take in all: allocated once, so that only that can fail. */
static size_t room_for(const cairn_net *net) {
    size_t bytes = MODEL_BYTES + (size_t)(net->op_count + 1) * NODES_AN_OP * NODE_BYTES;
    for (int k = 0; k < net->parameter_count; k++)
        bytes += TENSOR_BYTES + net->parameter[k].count * sizeof(float);
    return bytes;
}

/* The next bytes of it, zeroed. */
static void *take(builder *b, size_t bytes) {
    const size_t alignment = 16, taken = (bytes + alignment - 1) / alignment * alignment;
    void *memory = b->room + b->used;
    b->used += taken;
    assert(b->used <= b->size);
    return memory;
}

/* Room for so many pointers. */
static void *take_list(builder *b, size_t count) {
    return take(b, count * sizeof(void *));
}

__attribute__((format(printf, 2, 3))) static char *text(builder *b, const char *format, ...) {
    char *out = take(b, TEXT_MAX);
    va_list args;
    va_start(args, format);
    int length = vsnprintf(out, TEXT_MAX, format, args);
    va_end(args);
    assert(length < TEXT_MAX); /* names of ops and parameters are shorter */
    (void)length;
    return out;
}

/* A node of one output, which is named by it; `inputs` end with NULL. */
static Onnx__NodeProto *add_node(builder *b, const char *op_type, const char *output,
                                 const char *const inputs[]) {
    Onnx__NodeProto *node = take(b, sizeof *node);
    onnx__node_proto__init(node);
    node->op_type = text(b, "%s", op_type);
    node->name = text(b, "%s", output);
    node->output = take_list(b, 1);
    node->output[0] = node->name;
    node->n_output = 1;
    node->input = take_list(b, INPUTS_MAX);
    while (inputs[node->n_input]) {
        assert(node->n_input < INPUTS_MAX);
        node->input[node->n_input] = text(b, "%s", inputs[node->n_input]);
        node->n_input++;
    }
    node->attribute = take_list(b, ATTRIBUTES_MAX);
    assert(b->node_count < NODES_MAX);
    b->node[b->node_count++] = node;
    return node;
}
#define INPUTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static Onnx__AttributeProto *add_attribute(builder *b, Onnx__NodeProto *node, const char *name) {
    Onnx__AttributeProto *attribute = take(b, sizeof *attribute);
    onnx__attribute_proto__init(attribute);
    attribute->name = text(b, "%s", name);
    assert(node->n_attribute < ATTRIBUTES_MAX);
    node->attribute[node->n_attribute++] = attribute;
    return attribute;
}

static void add_integer(builder *b, Onnx__NodeProto *node, const char *name, int value) {
    Onnx__AttributeProto *attribute = add_attribute(b, node, name);
    attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    attribute->i = value;
}

static void add_number(builder *b, Onnx__NodeProto *node, const char *name, float value) {
    Onnx__AttributeProto *attribute = add_attribute(b, node, name);
    attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    attribute->f = value;
}

/* The same number `count` times: for both directions, or all four edges. */
static void add_integers(builder *b, Onnx__NodeProto *node, const char *name, int value,
                         size_t count) {
    Onnx__AttributeProto *attribute = add_attribute(b, node, name);
    attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
    attribute->ints = take(b, count * sizeof *attribute->ints);
    for (attribute->n_ints = 0; attribute->n_ints < count; attribute->n_ints++)
        attribute->ints[attribute->n_ints] = value;
}

/* A constant, its values to be filled. */
static float *add_tensor(builder *b, const char *name, int rank, const int *dim) {
    Onnx__TensorProto *tensor = take(b, sizeof *tensor);
    size_t count = 1;
    onnx__tensor_proto__init(tensor);
    tensor->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->name = text(b, "%s", name);
    tensor->dims = take(b, (size_t)rank * sizeof *tensor->dims + 1); /* a number has no dims */
    for (int i = 0; i < rank; i++) {
        tensor->dims[tensor->n_dims++] = dim[i];
        count *= (size_t)dim[i];
    }
    tensor->raw_data.len = count * sizeof(float);
    tensor->raw_data.data = take(b, tensor->raw_data.len);
    assert(b->tensor_count < TENSORS_MAX);
    b->tensor[b->tensor_count++] = tensor;
    return (float *)(void *)tensor->raw_data.data;
}

static void add_parameter(builder *b, int ordinal) {
    const cairn_parameter *parameter = &b->net->parameter[ordinal];
    float *values = add_tensor(b, parameter->name, parameter->rank, parameter->dim);
    if (!b->status)
        b->status = cairn_executor_get(b->executor, CAIRN_PARAMETER, ordinal, values);
}

/* Ops ------------------------------------------------------------------------------------------ */

static const char *value_of(const builder *b, int ordinal) {
    return ordinal == CAIRN_NET_INPUT ? b->input : b->value[ordinal];
}

/* The name of a parameter, or NULL: there is none, and a list of inputs ends. */
static const char *parameter_name(const builder *b, int ordinal) {
    return ordinal < 0 ? NULL : b->net->parameter[ordinal].name;
}

/* An op's input as [batch, c]: its own value where that is flat, else flattened for this reader. */
static const char *flat_value(builder *b, int ordinal, const char *reader) {
    const char *value = value_of(b, ordinal);
    if (ordinal != CAIRN_NET_INPUT && b->flat[ordinal])
        return value;
    const char *flattened = text(b, "%s.flat.%s", value, reader);
    add_integer(b, add_node(b, "Flatten", flattened, INPUTS(value)), "axis", 1);
    return flattened;
}

static void emit_conv2d(builder *b, const cairn_op *op) {
    Onnx__NodeProto *node = add_node(
        b, "Conv", op->name,
        INPUTS(value_of(b, op->input), parameter_name(b, op->weight), parameter_name(b, op->bias)));
    add_integers(b, node, "kernel_shape", op->kernel, 2);
    add_integers(b, node, "strides", op->stride, 2);
    add_integers(b, node, "pads", op->padding, 4);
}

static void emit_pool(builder *b, const cairn_op *op) {
    const char *op_type = op->kind == CAIRN_OP_MAXPOOL ? "MaxPool" : "AveragePool";
    Onnx__NodeProto *node = add_node(b, op_type, op->name, INPUTS(value_of(b, op->input)));
    add_integers(b, node, "kernel_shape", op->kernel, 2);
    add_integers(b, node, "strides", op->stride, 2);
}

static void emit_relu(builder *b, const cairn_op *op) {
    add_node(b, "Relu", op->name, INPUTS(value_of(b, op->input)));
}

static void emit_flatten(builder *b, const cairn_op *op) {
    Onnx__NodeProto *node = add_node(b, "Flatten", op->name, INPUTS(value_of(b, op->input)));
    add_integer(b, node, "axis", 1);
}

/* y = scale x W' + b */
static void emit_linear(builder *b, const cairn_op *op) {
    const char *input = flat_value(b, op->input, op->name);
    Onnx__NodeProto *node =
        add_node(b, "Gemm", op->name,
                 INPUTS(input, parameter_name(b, op->weight), parameter_name(b, op->bias)));
    add_integer(b, node, "transB", 1);
    if (op->scale != 1)
        add_number(b, node, "alpha", op->scale);
}

/* In evaluation dropout changes nothing. */
static void emit_nothing(builder *b, const cairn_op *op) {
    (void)b;
    (void)op;
}

static void emit_batchnorm(builder *b, const cairn_op *op) {
    Onnx__NodeProto *node = add_node(
        b, "BatchNormalization", op->name,
        INPUTS(value_of(b, op->input), parameter_name(b, op->weight), parameter_name(b, op->bias),
               parameter_name(b, op->mean), parameter_name(b, op->variance)));
    add_number(b, node, "epsilon", op->epsilon);
}

/* Both as [batch, c] where one of them is: of different ranks the smaller would be spread. */
static void emit_add(builder *b, const cairn_op *op) {
    bool flat = b->flat[op - b->net->op];
    const char *one = flat ? flat_value(b, op->input, op->name) : value_of(b, op->input);
    const char *other = op->other == op->input ? one
                        : flat                 ? flat_value(b, op->other, op->name)
                                               : value_of(b, op->other);
    add_node(b, "Add", op->name, INPUTS(one, other));
}

/* x/2 (1 + erf(x / sqrt(2))) */
static void emit_gelu(builder *b, const cairn_op *op) {
    const char *x = value_of(b, op->input), *half = "gelu.half", *root = "gelu.sqrt_half";
    const char *scaled = text(b, "%s.scaled", op->name), *erf = text(b, "%s.erf", op->name);
    const char *weighted = text(b, "%s.weighted", op->name);
    const char *halved = text(b, "%s.halved", op->name);
    if (!b->halves) {
        *add_tensor(b, half, 0, NULL) = 0.5f;
        *add_tensor(b, root, 0, NULL) = (float)sqrt(0.5);
        b->halves = true;
    }
    add_node(b, "Mul", scaled, INPUTS(x, root));
    add_node(b, "Erf", erf, INPUTS(scaled));
    add_node(b, "Mul", halved, INPUTS(x, half));
    add_node(b, "Mul", weighted, INPUTS(halved, erf));
    add_node(b, "Add", op->name, INPUTS(halved, weighted));
}

static void emit_silu(builder *b, const cairn_op *op) {
    const char *x = value_of(b, op->input), *share = text(b, "%s.share", op->name);
    add_node(b, "Sigmoid", share, INPUTS(x));
    add_node(b, "Mul", op->name, INPUTS(x, share));
}

/* What becomes of an op, and whether its result is flat: always, never, or as its inputs are. */
typedef enum { FLAT, NOT_FLAT, AS_INPUT } flatness;

static const struct {
    void (*emit)(builder *, const cairn_op *);
    flatness result;
} emitters[CAIRN_OP_KINDS] = {
    [CAIRN_OP_CONV2D] = {emit_conv2d, NOT_FLAT}, [CAIRN_OP_RELU] = {emit_relu, AS_INPUT},
    [CAIRN_OP_MAXPOOL] = {emit_pool, NOT_FLAT},  [CAIRN_OP_FLATTEN] = {emit_flatten, FLAT},
    [CAIRN_OP_LINEAR] = {emit_linear, FLAT},     [CAIRN_OP_DROPOUT] = {emit_nothing, AS_INPUT},
    [CAIRN_OP_AVGPOOL] = {emit_pool, NOT_FLAT},  [CAIRN_OP_ADD] = {emit_add, AS_INPUT},
    [CAIRN_OP_GELU] = {emit_gelu, AS_INPUT},     [CAIRN_OP_BATCHNORM] = {emit_batchnorm, AS_INPUT},
    [CAIRN_OP_SILU] = {emit_silu, AS_INPUT},
};

static void emit_op(builder *b, int ordinal) {
    const cairn_op *op = &b->net->op[ordinal];
    bool flat_input = op->input >= 0 && b->flat[op->input];
    bool flat_other = op->kind == CAIRN_OP_ADD && op->other >= 0 && b->flat[op->other];
    assert(emitters[op->kind].emit); /* every kind of op has its row */
    b->flat[ordinal] = emitters[op->kind].result == AS_INPUT ? flat_input || flat_other
                                                             : emitters[op->kind].result == FLAT;
    b->value[ordinal] = emitters[op->kind].emit == emit_nothing ? value_of(b, op->input) : op->name;
    emitters[op->kind].emit(b, op);
}

/* The model ------------------------------------------------------------------------------------ */

static const char images[] = "images", logits[] = "logits";

/* (x / 255 - mean) / std = (x - 255 mean) / (255 std), by channel. */
static void add_normalisation(builder *b) {
    const int channels = b->net->input.c, dim[] = {1, channels, 1, 1};
    float *mean = add_tensor(b, "normalise.mean", 4, dim);
    float *deviation = add_tensor(b, "normalise.deviation", 4, dim);
    for (int c = 0; c < channels; c++) {
        mean[c] = 255 * b->data->mean[c % CAIRN_CHANNELS_MAX];
        deviation[c] = 255 * b->data->std[c % CAIRN_CHANNELS_MAX];
    }
    add_node(b, "Sub", "normalise.centred", INPUTS(images, "normalise.mean"));
    add_node(b, "Div", "normalise", INPUTS("normalise.centred", "normalise.deviation"));
    b->input = "normalise";
}

/* An input or output: float32 [batch, dim...]. */
static Onnx__ValueInfoProto **describe_value(builder *b, const char *name, int rank,
                                             const int *dim) {
    Onnx__ValueInfoProto **list = take_list(b, 1), *info = take(b, sizeof *info);
    Onnx__TypeProto *type = take(b, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = take(b, sizeof *tensor);
    Onnx__TensorShapeProto *shape = take(b, sizeof *shape);
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    list[0] = info;
    info->name = text(b, "%s", name);
    info->type = type;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->shape = shape;
    shape->dim = take_list(b, (size_t)rank + 1);
    for (int i = 0; i <= rank; i++) {
        Onnx__TensorShapeProto__Dimension *size = take(b, sizeof *size);
        onnx__tensor_shape_proto__dimension__init(size);
        size->value_case = i ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
                             : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        if (i)
            size->dim_value = dim[i - 1];
        else
            size->dim_param = text(b, "batch");
        shape->dim[shape->n_dim++] = size;
    }
    return list;
}

static void build_graph(builder *b, Onnx__GraphProto *graph) {
    const cairn_net *net = b->net;
    const int shape[] = {net->input.c, net->input.h, net->input.w};
    const int classes = cairn_net_classes(net);
    for (int k = 0; k < net->parameter_count; k++)
        add_parameter(b, k);
    add_normalisation(b);
    for (int i = 0; i < net->op_count; i++)
        emit_op(b, i);
    add_node(b, "Identity", logits, INPUTS(flat_value(b, net->op_count - 1, logits)));
    graph->name = text(b, "cairn");
    graph->node = b->node;
    graph->n_node = b->node_count;
    graph->initializer = b->tensor;
    graph->n_initializer = b->tensor_count;
    graph->input = describe_value(b, images, 3, shape);
    graph->input[0]->doc_string =
        text(b, "levels from 0 to 255; %s", net->input.c == 3 ? "red, green, blue" : "grey");
    graph->output = describe_value(b, logits, 1, &classes);
    graph->n_input = graph->n_output = 1;
}

static char *list_classes(const cairn_dataset *data) {
    cJSON *list = cJSON_CreateArray();
    bool whole = list != NULL;
    for (int i = 0; i < data->classes && whole; i++)
        whole = cJSON_AddItemToArray(list, cJSON_CreateString(data->class_names[i]));
    char *names = whole ? cJSON_PrintUnformatted(list) : NULL;
    cJSON_Delete(list);
    return names;
}

static cairn_status write_model(const Onnx__ModelProto *model, const char *path) {
    size_t size = onnx__model_proto__get_packed_size(model);
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
    onnx__model_proto__pack(model, bytes);
    cairn_status status = cairn_file_write_output(path, bytes, size);
    free(bytes);
    return status;
}

cairn_status cairn_onnx_write(cairn_executor *executor, const cairn_dataset *data,
                              const char *path) {
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = {&opset};
    Onnx__StringStringEntryProto classes = ONNX__STRING_STRING_ENTRY_PROTO__INIT,
                                 name = ONNX__STRING_STRING_ENTRY_PROTO__INIT,
                                 *entries[] = {&classes, &name};
    const size_t size = room_for(executor->net);
    builder *b = calloc(1, sizeof *b);
    uint8_t *room = calloc(1, size);
    char *class_names = list_classes(data);
    cairn_status status = CAIRN_OK;
    if (!b || !room || !class_names) {
        status = cairn_error_set(CAIRN_FAILED, "out of memory for %s", path);
        goto done;
    }
    *b = (builder){
        .executor = executor, .net = executor->net, .data = data, .room = room, .size = size};
    build_graph(b, &graph);
    opset.version = CAIRN_ONNX_OPSET;
    model.ir_version = CAIRN_ONNX_IR;
    model.producer_name = text(b, "cairn");
    model.producer_version = text(b, "%s", CAIRN_VERSION);
    model.graph = &graph;
    model.opset_import = opsets;
    model.n_opset_import = 1;
    classes.key = text(b, "class_names");
    classes.value = class_names;
    name.key = text(b, "data");
    name.value = text(b, "%s", data->name);
    model.metadata_props = entries;
    model.n_metadata_props = 2;
    status = b->status ? b->status : write_model(&model, path);
done:
    cJSON_free(class_names);
    free(room);
    free(b);
    return status;
}
