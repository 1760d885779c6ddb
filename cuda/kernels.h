/* Cairn's own kernels: what cuDNN and cuBLAS do badly at this size, or do not do at all. Each call
 * enqueues one or two kernels on a stream and returns at once; cudaGetLastError tells whether the
 * launch was accepted. All of them can be captured in a CUDA graph: what changes from step to step
 * is read from device memory (cuda_ring, cuda_state), never passed as an argument.
 *
 * Sums run in a fixed order, without atomics: the same input gives the same bytes.
 *
 * Activations have element type `cuda_type` and one of two layouts. Under CUDA_NHWC the channels of
 * every tensor are padded to a multiple of what the tensor cores want (4 for tf32, 8 for bf16) and
 * the padded ones hold zeros, always: kernels may treat them like the others, and keep them zero.
 */
#ifndef CAIRN_CUDA_KERNELS_H
#define CAIRN_CUDA_KERNELS_H

#include "cairn/augment.h"
#include "cairn/optimizer.h"

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { CUDA_F32, CUDA_BF16 } cuda_type;
typedef enum { CUDA_NCHW, CUDA_NHWC } cuda_layout;

/* An activation [count, c, h, w]: `c` true channels, `pitch` of them in memory (pitch == c under
 * CUDA_NCHW). Flat features are h = w = 1. */
typedef struct {
    cuda_type type;
    cuda_layout layout;
    int count, c, h, w, pitch;
} cuda_tensor;

/* What a step does to the parameters of a group: cairn_update's numbers, rounded, the first and the
 * third by the group's lr_scale. */
enum { CUDA_GROUPS_MAX = 8 };
typedef struct {
    float rate, correction, decay, shrink;
} cuda_group;

/* What the host tells a step. Slots lie in pinned host memory that the device reads in place. An
 * array of no size is C's, not C++'s, though its compilers know it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
typedef struct {
    uint32_t epoch, step;       /* cairn_step's */
    uint32_t micro_batch, last; /* its number in its step; whether it ends it */
    float share;                /* of the step's samples */
    uint32_t trained;           /* bit by group: the epoch trains it */
    float take;                 /* cairn_update's */
    cuda_group group[CUDA_GROUPS_MAX];
    int32_t first;              /* evaluation: sample n of the batch is first + n, */
    cairn_evaluation_view view; /* seen so */
    int32_t indices[];          /* training: [count] */
} cuda_slot;
#pragma GCC diagnostic pop

/* The ring of slots. The step under way reads slot state->cursor % count. */
typedef struct {
    const unsigned char *slots; /* the device's address */
    size_t stride;              /* bytes from slot to slot */
    uint32_t count;
} cuda_ring;

/* One in device memory. The gather kernel copies its slot's scalars here; the cross-entropy kernel
 * adds to the sums and moves the cursor on; kernel_clip sets the factor. */
typedef struct {
    uint64_t cursor; /* slots consumed */
    uint32_t epoch, step, micro_batch, last, trained;
    float share, take;
    cuda_group group[CUDA_GROUPS_MAX];
    float clip;  /* what gradients are multiplied by */
    double loss; /* sum over samples; NaN stays NaN */
    unsigned long long correct, seen;
} cuda_state;

/* What a batch's loss is taken against, [count] each: `share` of `label`, the rest of `other`.
 * Without mixing the last two are NULL. */
typedef struct {
    uint8_t *label, *other;
    float *share;
} cuda_targets;

/* The first kernel of a step: gathers the slot's samples from the uint8 split on the device, crops,
 * normalises, converts, and copies labels. cairn/rng.h's CROP rule; a pixel outside the image is
 * the byte 0 before normalising. Padded channels become 0. With an augmenter the bytes are those of
 * cairn_transform_level instead, in evaluation as the slot's view has it. */
typedef struct {
    const uint8_t *images, *labels; /* the split: [samples, c, h, w], [samples] */
    const float *table;             /* [4][256]: a byte's normalised value in channel c % 4 */
    uint64_t seed;
    int crop_padding;                 /* 0: no crop, as in evaluation */
    int by_index;                     /* 1: slot->indices (training); 0: slot->first + n */
    const cairn_augmenter *augmenter; /* on the device; NULL: nothing but the crop */
} cuda_gather;
void kernel_gather(cudaStream_t stream, const cuda_gather *gather, cuda_ring ring,
                   cuda_state *state, cuda_tensor shape, void *x, cuda_targets targets);

/* y = max(x + bias, 0), or without the maximum; y may be x. bias [pitch] or NULL. NaN passes. */
void kernel_bias_relu(cudaStream_t stream, cuda_tensor shape, const void *x, const float *bias,
                      int relu, void *y);

/* dx = dy where y > 0 (or y is NaN), else 0; dx may be dy. */
void kernel_relu_backward(cudaStream_t stream, cuda_tensor shape, const void *y, const void *dy,
                          void *dx);

/* Max-pooling of x + bias, with or without ReLU, window `kernel` <= 15, no padding; `out` is y's
 * shape. chosen [like y]: the winner's place u * kernel + v in its window, or 255 where the ReLU
 * lets nothing through. The first of equals wins; NaN wins as in host/backend/reference. The 2x2,
 * stride 2 case is the one that has to be fast. */
typedef struct {
    int kernel, stride, relu;
} cuda_pool;
void kernel_pool(cudaStream_t stream, cuda_pool pool, cuda_tensor in, cuda_tensor out,
                 const void *x, const float *bias, void *y, uint8_t *chosen);

/* Every element of dx: the sum of dy over the windows that chose it. */
void kernel_pool_backward(cudaStream_t stream, cuda_pool pool, cuda_tensor in, cuda_tensor out,
                          const void *dy, const uint8_t *chosen, void *dx);

/* sums[channel] = sum of dy over samples and places, [pitch], 0 for padded channels; where `chosen`
 * is not NULL, of the elements whose chosen is not 255. Two launches; `scratch` holds
 * kernel_bias_gradient_scratch(shape) bytes. */
size_t kernel_bias_gradient_scratch(cuda_tensor shape);
void kernel_bias_gradient(cudaStream_t stream, cuda_tensor shape, const void *dy,
                          const uint8_t *chosen, void *scratch, float *sums);

/* Batch normalisation over samples and places: z = (x - mean) weight / sqrt(variance + epsilon) +
 * bias, to which another tensor may be added, and y = activation(z). Arrays are [pitch]. */
typedef enum { CUDA_LINEAR, CUDA_RELU, CUDA_GELU } cuda_activation;
typedef struct {
    const float *mean, *variance; /* the batch's, or in evaluation the running ones */
    const float *weight, *bias;
    float epsilon, momentum;
    cuda_activation activation;
} cuda_norm;

/* The batch's mean and (biased) variance, and the running ones, which move by `momentum` towards
 * the mean and the unbiased variance. Two launches; norm's arrays are not read. The same scratch of
 * kernel_batchnorm_scratch(shape) bytes serves forward and backward. */
size_t kernel_batchnorm_scratch(cuda_tensor shape);
void kernel_batchnorm_statistics(cudaStream_t stream, const cuda_norm *norm, cuda_tensor shape,
                                 const void *x, void *scratch, float *mean, float *variance,
                                 float *running_mean, float *running_variance);

/* y = activation(z + other); other: NULL, nothing. */
void kernel_batchnorm(cudaStream_t stream, const cuda_norm *norm, cuda_tensor shape, const void *x,
                      const void *other, void *y);

/* The sums that the gradients are made of, into sums [2][pitch], and the parameters' gradients,
 * NULL where unwanted. Where y is not NULL the activation is a ReLU that y shows, as behind a sum
 * of tensors: dy without what it blocks goes to `undone`, which may be dy. Two launches. */
void kernel_batchnorm_backward_sums(cudaStream_t stream, const cuda_norm *norm, cuda_tensor shape,
                                    const void *x, const void *dy, const void *y, void *undone,
                                    void *scratch, float *sums, float *dweight, float *dbias);

/* dx, added to `before` unless NULL, which may be dx. `g` is dy; or what was undone, and then
 * norm's activation is CUDA_LINEAR. */
void kernel_batchnorm_backward(cudaStream_t stream, const cuda_norm *norm, cuda_tensor shape,
                               const float *sums, const void *x, const void *g, const void *before,
                               void *dx);

/* y = activation(a + b), of like tensors; y may be one of them. */
void kernel_add(cudaStream_t stream, cuda_tensor shape, cuda_activation activation, const void *a,
                const void *b, void *y);

/* y = f(x) of an activation that is an op of its own and a function of its input, and dx from the x
 * of the forward pass; dx may be dy. */
void kernel_activate(cudaStream_t stream, cairn_op_kind kind, cuda_tensor shape, const void *x,
                     void *y);
void kernel_activate_backward(cudaStream_t stream, cairn_op_kind kind, cuda_tensor shape,
                              const void *x, const void *dy, void *dx);

/* The mean of each window, of any size, no padding; `out` is y's shape; pool.relu has no use. */
void kernel_average(cudaStream_t stream, cuda_pool pool, cuda_tensor in, cuda_tensor out,
                    const void *x, void *y);
void kernel_average_backward(cudaStream_t stream, cuda_pool pool, cuda_tensor in, cuda_tensor out,
                             const void *dy, void *dx);

/* y = x / (1 - p) where kept, else 0, by cairn/rng.h's rule for op `ordinal` in state->micro_batch
 * of state->step: the element's number counts [n][c][h][w] over true channels, whatever the layout.
 * Where `positive` is not NULL, 0 also where positive <= 0: the backward pass through ReLU and
 * dropout at once. */
typedef struct {
    uint64_t seed;
    float p;
    uint32_t ordinal;
} cuda_dropout;
void kernel_dropout(cudaStream_t stream, cuda_dropout dropout, const cuda_state *state,
                    cuda_tensor shape, const void *x, const void *positive, void *y);

/* [n,c,h,w] in CUDA_NHWC memory to CUDA_NCHW memory or back (pitch 0-filled); same type. */
void kernel_transpose(cudaStream_t stream, cuda_tensor from, cuda_tensor to, const void *x,
                      void *y);

/* Softmax cross-entropy, forward and backward, for logits [count][pitch] of which `classes` are
 * true: adds the losses, the correct guesses (the first of the largest; none where a logit is NaN)
 * and `count` to the state, writes gradient [count][pitch] = (softmax - target) / count (0 where
 * padded) unless NULL, and moves the cursor on. `smoothing` of the target is spread over all
 * classes. One block, any count. */
void kernel_cross_entropy(cudaStream_t stream, int count, int classes, int pitch,
                          const float *logits, cuda_targets targets, double smoothing,
                          cuda_type gradient_type, void *gradient, cuda_state *state);

/* The gradient of all parameters: element i in bf16_values[i] where i < bf16_count, else in
 * values[i]. A parameter begins at a multiple of CUDA_GRAIN; group[i / CUDA_GRAIN] is its group's
 * number; NULL: all are of group 0. */
enum { CUDA_GRAIN = 128 };
typedef struct {
    size_t count, bf16_count;
    const float *values;
    const void *bf16_values;
    const uint8_t *group;
} cuda_gradient;

/* sum [count] += state->share * the micro-batch's gradient, or = in a step's first. */
void kernel_accumulate(cudaStream_t stream, const cuda_gradient *gradient, float *sum,
                       const cuda_state *state);

/* state->clip becomes the factor of clipping to `clip_norm` (cairn/optimizer.h). Two launches,
 * which do nothing before the step's last micro-batch; `scratch` holds kernel_clip_scratch() bytes.
 */
size_t kernel_clip_scratch(void);
void kernel_clip(cudaStream_t stream, const cuda_gradient *gradient, double clip_norm,
                 void *scratch, cuda_state *state);

/* The optimiser over all parameters in one launch, in the order of operations of
 * host/backend/reference; nothing before the step's last micro-batch. `shadow` (NULL: none) gets
 * the new parameters in bf16; state tensors and the average are NULL where none are kept.
 * Parameters of groups that are not in `groups`, a bit for each, it leaves alone. */
typedef struct {
    cuda_gradient gradient;
    float *parameter, *state[CAIRN_STATES], *average;
    void *shadow;
    cairn_optimizer rule;
    uint32_t groups;
} cuda_update;
void kernel_update(cudaStream_t stream, const cuda_update *update, const cuda_state *state);

/* Parameters and their average change places; `shadow` (NULL: none) follows the parameters. */
void kernel_exchange(cudaStream_t stream, size_t count, float *parameter, float *average,
                     void *shadow);

/* y [count] bf16 = x [count] float32, to nearest even. */
void kernel_to_bf16(cudaStream_t stream, size_t count, const float *x, void *y);

/* y [count] float32 = x [count] bf16. */
void kernel_to_float32(cudaStream_t stream, size_t count, const void *x, float *y);

#ifdef __cplusplus
}
#endif
#endif
