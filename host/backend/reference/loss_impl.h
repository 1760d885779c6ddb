/* The loss of the reference backend; included after a typedef of `real`. */
#include "../target.h"

#include <math.h>
#include <stdbool.h>

/* Softmax cross-entropy of one sample's logits z with wanted probabilities q: loss = log(sum of
 * exp(z)) - sum of q z, in double, shifted by the greatest logit. Any NaN logit makes the loss NaN
 * and the guess wrong. dz (NULL: not wanted) += (softmax(z) - q) * scale. */
static double cross_entropy(int classes, const real *z, const loss_target *target, double smoothing,
                            double scale, real *dz, bool *correct) {
    int guess = 0;
    bool valid = true;
    for (int c = 0; c < classes; c++) {
        valid = valid && !isnan(z[c]);
        if (z[c] > z[guess])
            guess = c;
    }
    double sum = 0, at_target = 0, top = (double)z[guess];
    for (int c = 0; c < classes; c++) {
        double q = target_probability(target, smoothing, classes, c);
        sum += exp((double)z[c] - top);
        if (q > 0) /* 0 times an infinite logit would be no number */
            at_target += q * ((double)z[c] - top);
    }
    for (int c = 0; c < classes && dz; c++)
        dz[c] += (real)((exp((double)z[c] - top) / sum -
                         target_probability(target, smoothing, classes, c)) *
                        scale);
    *correct = valid && guess == target_label(target);
    return log(sum) - at_target;
}
