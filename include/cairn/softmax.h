/* Probabilities from logits. */
#ifndef CAIRN_SOFTMAX_H
#define CAIRN_SOFTMAX_H

/* Softmax of one sample's logits; returns the most probable class (the first of equals). */
int cairn_softmax(const float *logits, int classes, double *probabilities);

#endif
