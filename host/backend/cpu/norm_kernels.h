/* Batch normalisation's loops, and those of the activation behind it, for the layouts that
 * convolutions leave: channels in blocks of 8 or 16, [n][channels / block][area][block], or in one
 * block of all of them, channels last. */
#ifndef CAIRN_BACKEND_CPU_NORM_KERNELS_H
#define CAIRN_BACKEND_CPU_NORM_KERNELS_H

#include "cpu_kernels.h"

typedef enum { LINEAR, RELU, GELU } activation;

typedef struct {
    int count, channels, block;
    size_t area; /* pixels of a sample */
    bool bf16;   /* tensors are of bfloat16 */
    activation activation;
    float epsilon;
} norm_shape;

/* All [channels]. */
typedef struct {
    const float *weight, *shift, *mean, *variance;
} norm_parameters;

/* Bytes of scratch that each of the first four below wants. */
size_t norm_scratch(const norm_shape *shape);

/* The batch's mean and biased variance. */
void norm_measure(const norm_shape *shape, const void *x, void *scratch, float *mean,
                  float *variance);

/* y = weight * (x - mean) / sqrt(variance + epsilon) + shift, then the activation. */
void norm_apply(const norm_shape *shape, const norm_parameters *norm, const void *x, void *scratch,
                void *y);

/* From x, as norm_apply had it, and dy: dweight, dshift, and dx. */
void norm_backward(const norm_shape *shape, const norm_parameters *norm, const void *x,
                   const void *dy, void *scratch, float *dweight, float *dshift, void *dx);

/* sums [channels]: of the gradients of x + bias, where y = activation(x + bias) has the gradient dy
 * and x, which has its bias in it already, is given. */
void bias_gradient(const norm_shape *shape, const void *x, const void *dy, void *scratch,
                   float *sums);

/* Running statistics [channels]: moved by `momentum` towards the batch's, of whose variance over m
 * values the unbiased form counts. */
void norm_move(const float *mean, const float *variance, float *running_mean,
               float *running_variance, int channels, float momentum, double m);

/* Normalisation by running statistics folded into the weights [channels, size] and the bias (NULL:
 * none) of what comes before: W' x + b' = norm(W x + b). */
void norm_fold(const norm_parameters *norm, float epsilon, const float *weights, const float *bias,
               int channels, size_t size, float *folded_weights, float *folded_bias);

#endif
