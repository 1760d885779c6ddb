/* The texts of choices, a table beside each enum of cairn/choices.h. */
#include "keys.h"

#include <string.h>

/* A key stores a choice through an int. */
_Static_assert(sizeof(cairn_precision) == sizeof(int), "enums are ints here");

const cairn_choice cairn_precision_choices[] = {
    {CAIRN_FLOAT32, "float32"},
    {CAIRN_BF16, "bf16"},
    {CAIRN_FLOAT64, "float64"},
    {CAIRN_TF32, "tf32"},
    {0, NULL},
};

const cairn_choice cairn_on_nan_choices[] = {
    {CAIRN_NAN_STOP, "stop"},
    {CAIRN_NAN_CONTINUE, "continue"},
    {0, NULL},
};

const cairn_choice cairn_resize_choices[] = {
    {CAIRN_RESIZE_STRETCH, "stretch"},
    {CAIRN_RESIZE_CROP, "crop"},
    {0, NULL},
};

#define OPTIMIZER(id, name, ...) {CAIRN_##id, name},
const cairn_choice cairn_optimizer_choices[] = {
#include "cairn/optimizers.def"
    {0, NULL},
};
#undef OPTIMIZER

const cairn_choice cairn_decay_exclude_choices[] = {
    {CAIRN_EXCLUDE_NONE, "none"},
    {CAIRN_EXCLUDE_NORMS_AND_BIASES, "norms_and_biases"},
    {0, NULL},
};

const cairn_choice cairn_schedule_choices[] = {
    {CAIRN_SCHEDULE_CONSTANT, "constant"},     {CAIRN_SCHEDULE_STEP, "step"},
    {CAIRN_SCHEDULE_MULTISTEP, "multistep"},   {CAIRN_SCHEDULE_EXPONENTIAL, "exponential"},
    {CAIRN_SCHEDULE_COSINE, "cosine"},         {CAIRN_SCHEDULE_LINEAR, "linear"},
    {CAIRN_SCHEDULE_POLYNOMIAL, "polynomial"}, {CAIRN_SCHEDULE_ONECYCLE, "onecycle"},
    {CAIRN_SCHEDULE_PLATEAU, "plateau"},       {0, NULL},
};

const cairn_choice cairn_schedule_per_choices[] = {
    {CAIRN_PER_STEP, "step"},
    {CAIRN_PER_EPOCH, "epoch"},
    {0, NULL},
};

const cairn_choice cairn_padding_choices[] = {
    {CAIRN_PADDING_ZERO, "zero"},
    {CAIRN_PADDING_REFLECT, "reflect"},
    {0, NULL},
};

const cairn_choice cairn_flip_choices[] = {
    {CAIRN_FLIP_NONE, "none"},
    {CAIRN_FLIP_RANDOM, "random"},
    {CAIRN_FLIP_ALTERNATING, "alternating"},
    {0, NULL},
};

const cairn_choice cairn_tta_choices[] = {
    {CAIRN_TTA_NONE, "none"},
    {CAIRN_TTA_FLIP, "flip"},
    {CAIRN_TTA_CROPS, "crops"},
    {0, NULL},
};

/* ------------------------------------------------------------------------------------------- */

const char *cairn_choice_text(const cairn_choice *choices, int value) {
    while (choices->text && choices->value != value)
        choices++;
    return choices->text;
}

const cairn_choice *cairn_choice_find(const cairn_choice *choices, const char *text) {
    while (choices->text && strcmp(choices->text, text) != 0)
        choices++;
    return choices->text ? choices : NULL;
}

const char *cairn_precision_name(cairn_precision precision) {
    return cairn_choice_text(cairn_precision_choices, (int)precision);
}
