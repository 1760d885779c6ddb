/* Backends and executors.
 *
 * A backend compiles a net for one batch size and precision into an executor, which owns every
 * buffer: data, parameters, gradients, the optimiser's moments, activations. A batch crosses this
 * line as sample indices, never as pixels; gathering, cropping and normalising happen inside,
 * beside the data. Parameters, gradients and moments cross it as float32 in PyTorch's layouts.
 *
 * An executor belongs to one thread at a time. Work may be asynchronous: only the calls marked
 * "waits" wait for it, and an asynchronous failure is reported by the next call that waits. */
#ifndef CAIRN_EXECUTOR_H
#define CAIRN_EXECUTOR_H

#include "cairn/augment.h"
#include "cairn/config.h"
#include "cairn/dataset.h"
#include "cairn/net.h"
#include "cairn/optimizer.h"
#include "cairn/status.h"
#include "cairn/timing.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int batch;      /* the most samples that are computed at once, at least 1 */
    int accumulate; /* the most such batches, its micro-batches, of one training step, at least 1 */
    cairn_precision
        precision; /* of activations; parameters and moments are float32 between steps */
    int threads;   /* CPU backends; 0: all that the process may use, which create resolves */
    int device;    /* ordinal among the backend's devices */
    bool deterministic;
    uint64_t seed;          /* for crops and dropout */
    int crop_padding;       /* training: pad by so many zero pixels, crop back at random */
    cairn_augment augment;  /* training, beside the crop: cairn/augment.h */
    double label_smoothing; /* training: share of the target spread over all classes */
    cairn_tta tta;          /* evaluation of the test split; shifts by tta_shift pixels */
    int tta_shift;
    cairn_optimizer optimizer;
    /* x -> (x / 255 - mean) / std by channel, after cropping; channel c takes entry c % 4. */
    float mean[CAIRN_CHANNELS_MAX], std[CAIRN_CHANNELS_MAX];
} cairn_executor_options;

/* Batch 128, one a step, float32, all threads, deterministic, seed 42, PyTorch's Adam; no crop,
 * mean 0, std 1.
 */
cairn_executor_options cairn_executor_defaults(void);

/* What `config` says, with the data set's statistics. */
cairn_executor_options cairn_executor_configure(const cairn_config *config,
                                                const cairn_dataset *dataset);

typedef enum { CAIRN_SPLIT_TRAIN, CAIRN_SPLIT_TEST } cairn_split_id;

typedef enum {
    CAIRN_PARAMETER,
    CAIRN_GRADIENT, /* of the last step's mean loss, before clipping and decay */
    CAIRN_STATE_0,  /* the optimiser's, CAIRN_STATES of them: cairn_optimizer_rule's state */
    CAIRN_STATE_1,
    CAIRN_AVERAGE, /* of the parameters over the steps */
} cairn_tensor_kind;
enum { CAIRN_TENSOR_KINDS = CAIRN_AVERAGE + 1 };

/* Whether such a tensor is kept of some parameter; others are neither got nor set. */
bool cairn_optimizer_keeps(const cairn_optimizer *optimizer, cairn_tensor_kind kind);

/* One training step: forward, mean cross-entropy over all its samples, backward, the optimiser.
 * Samples beyond options.batch are computed in further micro-batches, one after the other, whose
 * gradients add up before the one update: the gradient is that of the mean over all `count`
 * samples, whatever the size of the last. Sample i's random crop has offsets
 * dy = below(word 0, 2 * padding + 1), dx = below(word 1, ...) of (seed, CROP, epoch, 0,
 * indices[i]). Its target is its label; where mixup or cutmix mixed it, both labels in proportion;
 * label smoothing s makes that (1 - s) target + s / classes. A guess is correct when it names the
 * label with the larger share, at a tie the sample's own. The optimiser's t is step + 1. With lr =
 * 0 parameters keep their values (moments and gradients do not), which is how gradients are
 * checked.
 */
typedef struct {
    const int32_t *indices; /* [count], into the training split; read before the call returns */
    int count;              /* 1..options.batch * options.accumulate */
    uint32_t epoch;         /* from 0 */
    uint32_t step;          /* from 0, over the whole run */
    double lr;
} cairn_step;

/* Sums over the samples seen since they were last set. NaN losses stay NaN. */
typedef struct {
    double loss; /* sum of the samples' losses */
    int64_t correct;
    int64_t seen;
} cairn_stats;

/* What the device can do at best, measured, and what a training step asks of it. */
typedef struct {
    double flops; /* a second, of a large matrix product in the executor's precision */
    double bytes; /* a second, read and written by a copy */
    int launches; /* kernels and copies of a whole batch's training step */
} cairn_roofline;

typedef struct cairn_executor cairn_executor;
typedef struct cairn_backend cairn_backend;

/* What a backend implements; every entry is required but those from measure on. */
typedef struct {
    void (*destroy)(cairn_executor *executor);
    /* Makes a split the executor's data; replaces an earlier one. Its shape must be the net's
     * input. CPU backends read the caller's arrays in place: they stay valid and unchanged as long
     * as the executor, or until another split takes their place. */
    cairn_status (*upload)(cairn_executor *executor, cairn_split_id id, const cairn_split *split);
    cairn_status (*train_step)(cairn_executor *executor, const cairn_step *step);
    /* Samples first..first+count-1 of a split, any count, as executor->view has it: no crop, no
     * dropout, no smoothing; adds to the stats. */
    cairn_status (*evaluate)(cairn_executor *executor, cairn_split_id id, int first, int count);
    /* Waits. The same samples' logits [count, classes]; leaves the stats alone. */
    cairn_status (*logits)(cairn_executor *executor, cairn_split_id id, int first, int count,
                           float *logits);
    /* Wait. One parameter's values [parameter.count] out or in. A set gradient has no use. */
    cairn_status (*get)(cairn_executor *executor, cairn_tensor_kind kind, int ordinal,
                        float *values);
    cairn_status (*set)(cairn_executor *executor, cairn_tensor_kind kind, int ordinal,
                        const float *values);
    /* Exchanges every parameter and its average. */
    cairn_status (*exchange)(cairn_executor *executor);
    /* Wait. The running sums out or in; set to zeros to begin, to saved sums to resume. */
    cairn_status (*get_stats)(cairn_executor *executor, cairn_stats *stats);
    cairn_status (*set_stats)(cairn_executor *executor, const cairn_stats *stats);
    /* Waits. A training step with each part timed apart, in order: fills rows[*count], at most
     * `capacity`; of a step of several micro-batches, the last. */
    cairn_status (*profile_step)(cairn_executor *executor, const cairn_step *step,
                                 cairn_timing *rows, int capacity, int *count);
    /* Waits. Optional. */
    cairn_status (*measure)(cairn_executor *executor, cairn_roofline *roofline);
    /* Lines about the device that it runs on, with libraries; and about algorithms that it chose.
     * They return `out`. Optional. */
    const char *(*device)(const cairn_executor *executor, char *out, size_t size);
    const char *(*choices)(const cairn_executor *executor, char *out, size_t size);
    /* Waits. Parts that both the backend's own kernels and a library could do, each timed forward
     * and backward over a whole batch: the own row first, then the library's where it has one.
     * Optional. */
    cairn_status (*compare)(cairn_executor *executor, cairn_timing *rows, int capacity, int *count);
} cairn_executor_ops;

/* The head of every backend's own executor struct. */
struct cairn_executor {
    const cairn_executor_ops *ops;
    const cairn_backend *backend;
    const cairn_net *net; /* the caller's; outlives the executor */
    cairn_executor_options options;
    int split_count[2]; /* samples uploaded, by cairn_split_id; 0: none yet */
    bool averaged;      /* the average is in the parameters' place */
    uint32_t trained;   /* steps that the parameters have gone through, as far as is known */
    cairn_evaluation_view view; /* how evaluate and logits look at samples */
    uint8_t *test_labels;       /* a copy, where options.tta wants one */
};

struct cairn_backend {
    const char *name; /* "reference", "cpu", "cuda" */
    /* CAIRN_OK when it can run here; else the error text says why not. */
    cairn_status (*probe)(void);
    /* A line about device and libraries: "oneDNN 2.6.3, avx512_core_bf16". Returns `out`. */
    const char *(*describe)(char *out, size_t size);
    bool (*supports)(cairn_precision precision);
    /* The device's name that every process on this machine knows it by, such as its bus address,
     * into `name`; false beyond the last device. Optional: for devices that runs take turns on. */
    bool (*identify)(int ordinal, char *name, size_t size);
    bool immediate; /* train_step returns when its work is done, so get_stats never waits */
    /* Parameters and moments start at zero. */
    cairn_status (*create)(cairn_executor **executor, const cairn_net *net,
                           const cairn_executor_options *options);
    /* Where there may be several devices: how many there are, and a line about one. Optional. */
    int (*devices)(void);
    const char *(*describe_device)(int ordinal, char *out, size_t size);
};

/* Every backend compiled in, fastest first; NULL-terminated. */
const cairn_backend *const *cairn_backends(void);

/* The backend for a device text (auto, cpu, reference, cuda, cuda:N) and its device ordinal. `auto`
 * takes the first that can run in that precision, and leaves in the error text why those before it
 * cannot ("": none was passed over); a named one never falls back. */
cairn_status cairn_backend_find(const cairn_backend **backend, int *ordinal, const char *device,
                                cairn_precision precision);

/* What a training step draws from a split of so many samples. */
cairn_augmenter cairn_executor_augmenter(const cairn_executor *executor, cairn_split_id id);

/* The calls, checked against misuse (counts, ranges, missing split: CAIRN_FAILED), then passed on.
 * With options.tta, evaluation and logits of the test split are of the mean over several views
 * (host/backend/views.c). */
cairn_status cairn_executor_create(cairn_executor **executor, const cairn_backend *backend,
                                   const cairn_net *net, const cairn_executor_options *options);
void cairn_executor_destroy(cairn_executor *executor); /* NULL is allowed */

/* A line about the device that it runs on and its libraries. Returns `out`. */
const char *cairn_executor_describe(const cairn_executor *executor, char *out, size_t size);

/* Lines about algorithms that it chose; "" where it chooses none. Returns `out`. */
const char *cairn_executor_choices(const cairn_executor *executor, char *out, size_t size);

/* Whether it computes on a device that can be measured; waits, and measures it. */
bool cairn_executor_measures(const cairn_executor *executor);
cairn_status cairn_executor_measure(cairn_executor *executor, cairn_roofline *roofline);

/* Waits. Times the parts that both the backend's own kernels and a library could do, each by both:
 * fills rows[*count], at most `capacity`; none where there is no choice. */
cairn_status cairn_executor_compare(cairn_executor *executor, cairn_timing *rows, int capacity,
                                    int *count);

cairn_status cairn_executor_upload(cairn_executor *executor, cairn_split_id id,
                                   const cairn_split *split);
cairn_status cairn_executor_train_step(cairn_executor *executor, const cairn_step *step);
cairn_status cairn_executor_evaluate(cairn_executor *executor, cairn_split_id id, int first,
                                     int count);
cairn_status cairn_executor_logits(cairn_executor *executor, cairn_split_id id, int first,
                                   int count, float *logits);
cairn_status cairn_executor_get(cairn_executor *executor, cairn_tensor_kind kind, int ordinal,
                                float *values);
cairn_status cairn_executor_set(cairn_executor *executor, cairn_tensor_kind kind, int ordinal,
                                const float *values);

/* Puts the average in the parameters' place, for whatever reads or saves them, and back; steps want
 * it back. Nothing where no average is kept, or it is so already. */
cairn_status cairn_executor_use_average(cairn_executor *executor, bool use);

cairn_status cairn_executor_get_stats(cairn_executor *executor, cairn_stats *stats);
cairn_status cairn_executor_set_stats(cairn_executor *executor, const cairn_stats *stats);

cairn_status cairn_executor_profile_step(cairn_executor *executor, const cairn_step *step,
                                         cairn_timing *rows, int capacity, int *count);

/* The parameters that were set have gone through so many steps. */
void cairn_executor_set_trained(cairn_executor *executor, uint32_t steps);

/* Sets every parameter and its average to its initial values under `seed`, and the moments to zero.
 */
cairn_status cairn_executor_initialise(cairn_executor *executor, uint64_t seed);

/* For backends: the micro-batch of a step that begins at sample `first`, as a step of its own. */
cairn_step cairn_step_micro_batch(const cairn_executor *executor, const cairn_step *step,
                                  int first);

#endif
