/* Configuration: what params.yaml and the command line's -S overrides say, checked and resolved.
 *
 * Everything that can be set is one row of the schema table in host/config/schema.c; the struct
 * below holds the values. A cairn_config owns nothing and may be copied. */
#ifndef CAIRN_CONFIG_H
#define CAIRN_CONFIG_H

#include "cairn/choices.h"
#include "cairn/digest.h"
#include "cairn/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CAIRN_TEXT_MAX = 1024 }; /* bytes of a text value, with its zero */

typedef struct {
    uint64_t seed;
    char device[CAIRN_TEXT_MAX]; /* auto, cpu, reference, cuda, cuda:N */
    struct {
        char name[CAIRN_TEXT_MAX]; /* cifar10, cifar100, folder or synthetic */
        char dir[CAIRN_TEXT_MAX];
        int64_t image_size; /* folder: pixels a side; 0: as the files have it */
        cairn_resize resize;
        int64_t num_workers; /* read for the reference's files; Cairn has no loader processes */
        int64_t train_limit; /* 0: all */
        int64_t test_limit;
        int64_t validation; /* so many training images are held out and evaluated; 0: none */
        int64_t
            crop_padding; /* zero pixels added on each side before the random crop; 0: no crop */
    } data;
    struct {
        char name[CAIRN_TEXT_MAX];
        double dropout;
        char widths[CAIRN_TEXT_MAX]; /* "default", or whole numbers with blanks between */
        int64_t depth, hidden;
        int64_t whiten_bias_epochs;
    } model;
    struct {
        int64_t epochs;
        int64_t batch_size;
        double lr;
        cairn_precision precision;
        int64_t threads; /* 0: one for every core that the process may use */
        bool deterministic;
        cairn_on_nan on_nan;
        double label_smoothing;
        double clip_norm;   /* 0: no clipping */
        int64_t accumulate; /* batches a step */
    } train;
    struct {
        cairn_optimizer_name name;
        double beta1, beta2, epsilon, momentum;
        bool nesterov;
        double weight_decay;
        cairn_decay_exclude decay_exclude;
        double norm_bias_scale;
    } optimizer;
    struct {
        double decay; /* 0: no average of the weights */
    } ema;
    struct {
        cairn_schedule name;
        cairn_schedule_per per;
        int64_t warmup; /* units of `per` */
        double warmup_start;
        int64_t step_size;
        char milestones[CAIRN_TEXT_MAX]; /* rising whole numbers, with blanks between */
        double gamma, min_lr, end_factor, power, pct_start, div_factor, final_div_factor;
        int64_t patience;
        double threshold;
    } schedule;
    struct {
        cairn_padding padding;
        cairn_flip flip;
        int64_t cutout;               /* pixels a side */
        double erasing, erasing_area; /* probability; greatest share of the image */
        double brightness, contrast, saturation;
        double rotation, translation;    /* degrees; share of the side */
        int64_t randaugment, magnitude;  /* operations; of CAIRN_MAGNITUDE_MAX */
        double mixup, cutmix, mix_share; /* alpha of each (0: off); share of samples mixed */
        cairn_tta tta;
        int64_t tta_shift; /* pixels */
    } augment;
    struct {
        int64_t every_steps; /* 0: no matter how many */
        double every_seconds;
    } checkpoint;
    struct {
        bool enabled;
        int64_t every_steps, every_epochs;
    } tensorboard;
    struct {
        char name[CAIRN_TEXT_MAX];
        char out_dir[CAIRN_TEXT_MAX];
        char recorders[CAIRN_TEXT_MAX]; /* names with blanks between: cairn/record.h */
    } run;
} cairn_config;

typedef enum {
    CAIRN_KEY_INTEGER, /* uint64_t or int64_t */
    CAIRN_KEY_NUMBER,  /* double */
    CAIRN_KEY_BOOLEAN, /* bool */
    CAIRN_KEY_CHOICE,  /* an enum */
    CAIRN_KEY_TEXT,    /* char[CAIRN_TEXT_MAX] */
    CAIRN_KEY_LIST,    /* char[CAIRN_TEXT_MAX]: its words with a blank between */
} cairn_key_type;

/* One row of the schema. */
typedef struct {
    const char *name; /* dotted path: "train.lr" */
    cairn_key_type type;
    size_t offset;               /* of the value in cairn_config */
    const char *fallback;        /* the default as YAML text; NULL: required */
    double low, high;            /* the inclusive range of numbers */
    bool low_open;               /* the lower end itself is out of range */
    const cairn_choice *choices; /* of a CHOICE; of a TEXT, whose values do not matter; or NULL */
    bool idle;            /* changes nothing that a run computes: its digest leaves it out, and a
                             resumed run may have another value */
    bool always_digested; /* also at its default, where the digest leaves other keys out: those are
                             newer than the first recorded digests */
    const char *help;
    bool (*accepts)(const char *text); /* TEXT or LIST of a special form; NULL: any */
    const char *form;                  /* that form, for people */
    bool (*hint)(const char *text, char *out, size_t size); /* "; write x", where that is plain */
} cairn_key;

/* The table, in the order in which files are written; `*count` rows. */
const cairn_key *cairn_config_keys(size_t *count);

/* Reads the YAML file at `path`, then applies `override_count` texts "key=value" in order.
 * What is wrong in the file is CAIRN_BAD_INPUT and reads `file:line:column: key: what was found;
 * what would be right`; a file that is missing is, too; one that cannot be read, or too little
 * memory, is CAIRN_FAILED. */
cairn_status cairn_config_read(cairn_config *config, const char *path, const char *const *overrides,
                               size_t override_count);

/* The same from memory; `name` stands for the file in messages. */
cairn_status cairn_config_parse(cairn_config *config, const char *text, size_t size,
                                const char *name, const char *const *overrides,
                                size_t override_count);

/* The resolved configuration as YAML (libyaml's emitter): every key, defaults included, such that
 * reading it gives the same configuration. `*text` is the caller's to free. */
cairn_status cairn_config_format(const cairn_config *config, char **text);

/* SHA-256 over what shapes the results, in the schema's order. */
cairn_status cairn_config_digest(const cairn_config *config, char hex[CAIRN_DIGEST_HEX]);

/* The first key, of those that are not idle, whose values differ, or NULL. */
const cairn_key *cairn_config_difference(const cairn_config *a, const cairn_config *b);

/* One value as text ("0.0005"). Returns `out`. */
const char *cairn_config_value(const cairn_config *config, const cairn_key *key, char *out,
                               size_t size);

/* What a key takes, for people: "a whole number from 1 to 10000". Returns `out`. */
const char *cairn_config_expected(const cairn_key *key, char *out, size_t size);

/* A model as the configuration knows it: a line of cairn/models.def. */
typedef struct {
    const char *name;
    const char *widths; /* what model.widths stands for at its default; "": the model reads none */
    const char *help;
} cairn_model_line;

/* The model of that name, or NULL. */
const cairn_model_line *cairn_model_find(const char *name);

/* model.widths, or at its default the model's own. */
const char *cairn_config_widths(const cairn_config *config);

/* All of them, in their order; `*count` lines. */
const cairn_model_line *cairn_model_lines(size_t *count);

/* What a value of a table is called; NULL when it is not there. */
const char *cairn_choice_text(const cairn_choice *choices, int value);

/* The choice of that name, or NULL. */
const cairn_choice *cairn_choice_find(const cairn_choice *choices, const char *text);

/* The known name that an unknown one most probably means; NULL when none is near. */
const char *cairn_name_suggest(const char *name, const char *const *known, size_t count);

/* "float32", "bf16", "float64", "tf32". */
const char *cairn_precision_name(cairn_precision precision);

#endif
