/* Winograd's F(4x4, 3x3) at the points 0, A, -A, B, -B and infinity:
 *
 *     y = Z' [(G g G') * (D' d D)] Z
 *
 * of a tile d [6, 6] and a kernel g [3, 3], the product in the middle element by element. By the
 * Toom-Cook construction (Lavin and Gray, section 4; Barabasz et al., "Error Analysis and Improving
 * the Accuracy of Winograd Convolution for Deep Neural Networks", ACM TOMS 46, 2020, section 2),
 * row i of D' has the coefficients of the product of (x - p) over all finite points p but the i-th,
 * row i of G is [1, p, p^2] over that product's value at p, and row k of Z' is p^k. Seen from the
 * loss, the gradient of g is G' [(Z dy Z') * (D' d D)] G.
 *
 * With A = 5/8 and B = 3/2 the matrices' entries lie closer together than with the usual 1 and 2,
 * which leaves about a third of the rounding error. */
#ifndef CAIRN_BACKEND_CPU_WINOGRAD_TRANSFORMS_H
#define CAIRN_BACKEND_CPU_WINOGRAD_TRANSFORMS_H

#include "vectors.h"

enum { OUTPUT = 4, INPUT = 6, KERNEL = 3 }; /* of a tile, in each direction */

static const float A = 0.625f, B = 1.5f;
#define A2 (A * A)
#define B2 (B * B)

/* Transforms of one column or row; `step`: between values that lie apart. ---------------------- */

INLINE void transform_input(const vector d[INPUT], vector *to, int step) {
    vector even_a = d[4] - B2 * d[2], odd_a = A * (d[3] - B2 * d[1]);
    vector even_b = d[4] - A2 * d[2], odd_b = B * (d[3] - A2 * d[1]);
    to[0] = A2 * B2 * d[0] - (A2 + B2) * d[2] + d[4];
    to[step] = even_a + odd_a;
    to[2 * step] = even_a - odd_a;
    to[3 * step] = even_b + odd_b;
    to[4 * step] = even_b - odd_b;
    to[5 * step] = A2 * B2 * d[1] - (A2 + B2) * d[3] + d[5];
}

INLINE void transform_output(const vector *m, int step, vector to[OUTPUT]) {
    vector sum_a = m[step] + m[2 * step], difference_a = m[step] - m[2 * step];
    vector sum_b = m[3 * step] + m[4 * step], difference_b = m[3 * step] - m[4 * step];
    to[0] = m[0] + sum_a + sum_b;
    to[1] = A * difference_a + B * difference_b;
    to[2] = A2 * sum_a + B2 * sum_b;
    to[3] = A2 * A * difference_a + B2 * B * difference_b + m[5 * step];
}

/* The transpose of transform_output. */
INLINE void transform_gradient(const vector dy[OUTPUT], vector *to, int step) {
    vector even_a = dy[0] + A2 * dy[2], odd_a = A * (dy[1] + A2 * dy[3]);
    vector even_b = dy[0] + B2 * dy[2], odd_b = B * (dy[1] + B2 * dy[3]);
    to[0] = dy[0];
    to[step] = even_a + odd_a;
    to[2 * step] = even_a - odd_a;
    to[3 * step] = even_b + odd_b;
    to[4 * step] = even_b - odd_b;
    to[5 * step] = dy[3];
}

static void kernel_matrix(float g[INPUT][KERNEL]) {
    double a = A, b = B, point[INPUT - 1] = {0, a, -a, b, -b};
    for (int i = 0; i < INPUT - 1; i++) {
        double value = 1;
        for (int j = 0; j < INPUT - 1; j++)
            value *= j == i ? 1 : point[i] - point[j];
        for (int k = 0; k < KERNEL; k++)
            g[i][k] = (float)((k > 0 ? point[i] : 1) * (k > 1 ? point[i] : 1) / value);
    }
    for (int k = 0; k < KERNEL; k++)
        g[INPUT - 1][k] = k == KERNEL - 1;
}

/* Of one input channel and a block of output channels, in place order, `step` apart. */
static void transform_kernel(const float g[INPUT][KERNEL], const vector kernel[KERNEL * KERNEL],
                             vector *to, size_t step) {
    vector once[INPUT][KERNEL];
    for (int i = 0; i < INPUT; i++)
        for (int k = 0; k < KERNEL; k++)
            once[i][k] = g[i][0] * kernel[k] + g[i][1] * kernel[KERNEL + k] +
                         g[i][2] * kernel[2 * KERNEL + k];
    for (int i = 0; i < INPUT; i++)
        for (int j = 0; j < INPUT; j++, to += step)
            *to = g[j][0] * once[i][0] + g[j][1] * once[i][1] + g[j][2] * once[i][2];
}

#endif
