/* What keys of the configuration let one choose by name: an enum each, and the table of its texts,
 * in host/config/choices.c, which reading, writing and every message go by. Plain C11 and CUDA
 * C++. */
#ifndef CAIRN_CHOICES_H
#define CAIRN_CHOICES_H

/* A value and what it is called. A table of them ends with one that has no text. */
typedef struct {
    int value;
    const char *text;
} cairn_choice;

/* tf32: stored as float32, multiplied with 10 bits of mantissa. */
typedef enum { CAIRN_FLOAT32, CAIRN_BF16, CAIRN_FLOAT64, CAIRN_TF32 } cairn_precision;
enum { CAIRN_PRECISIONS = CAIRN_TF32 + 1 };
extern const cairn_choice cairn_precision_choices[];

/* What a run does when its loss is NaN or infinite. */
typedef enum { CAIRN_NAN_STOP, CAIRN_NAN_CONTINUE } cairn_on_nan;
extern const cairn_choice cairn_on_nan_choices[];

/* What an image of another size loses: its proportions; or what lies outside of the largest part in
 * its middle that has the right ones. */
typedef enum { CAIRN_RESIZE_STRETCH, CAIRN_RESIZE_CROP } cairn_resize;
extern const cairn_choice cairn_resize_choices[];

/* CAIRN_ADAM, CAIRN_ADAMW, ... */
#define OPTIMIZER(id, ...) CAIRN_##id,
typedef enum {
#include "cairn/optimizers.def"
    CAIRN_OPTIMIZERS
} cairn_optimizer_name;
#undef OPTIMIZER
extern const cairn_choice cairn_optimizer_choices[];

/* Which parameters the decay leaves out: those of rank 1 and less, which are all norms' and biases.
 */
typedef enum { CAIRN_EXCLUDE_NONE, CAIRN_EXCLUDE_NORMS_AND_BIASES } cairn_decay_exclude;
extern const cairn_choice cairn_decay_exclude_choices[];

/* How the learning rate moves: cairn/schedule.h. */
typedef enum {
    CAIRN_SCHEDULE_CONSTANT,
    CAIRN_SCHEDULE_STEP,
    CAIRN_SCHEDULE_MULTISTEP,
    CAIRN_SCHEDULE_EXPONENTIAL,
    CAIRN_SCHEDULE_COSINE,
    CAIRN_SCHEDULE_LINEAR,
    CAIRN_SCHEDULE_POLYNOMIAL,
    CAIRN_SCHEDULE_ONECYCLE,
    CAIRN_SCHEDULE_PLATEAU,
} cairn_schedule;
extern const cairn_choice cairn_schedule_choices[];

typedef enum { CAIRN_PER_STEP, CAIRN_PER_EPOCH } cairn_schedule_per;
extern const cairn_choice cairn_schedule_per_choices[];

/* What lies beyond an image's border. */
typedef enum { CAIRN_PADDING_ZERO, CAIRN_PADDING_REFLECT } cairn_padding;
extern const cairn_choice cairn_padding_choices[];

/* Alternating: every image in every other epoch, which ones first by a hash of the index (Jordan,
 * "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024). */
typedef enum { CAIRN_FLIP_NONE, CAIRN_FLIP_RANDOM, CAIRN_FLIP_ALTERNATING } cairn_flip;
extern const cairn_choice cairn_flip_choices[];

/* What a test image's logits are the mean of: the image; it and its mirror image; both also
 * shifted towards each corner. */
typedef enum { CAIRN_TTA_NONE, CAIRN_TTA_FLIP, CAIRN_TTA_CROPS } cairn_tta;
extern const cairn_choice cairn_tta_choices[];

#endif
