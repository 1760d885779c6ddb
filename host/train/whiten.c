/* Whitening filters: second moments of patches, their eigenvectors by Jacobi's rotations. */
#include "cairn/whiten.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = CAIRN_WHITEN_MAX, SWEEPS_MAX = 60 };

/* Of the bytes of all patches: their number, sums, and sums of products. */
typedef struct {
    int size; /* values in a patch, in the order of [c][i][j] */
    uint64_t patches, sum[D], product[D][D];
} moments;

/* Second moments --------------------------------------------------------------------------------*/

/* 32 bits hold a row of 66,000 products. */
static uint32_t dot(const uint8_t *a, const uint8_t *b, int count) {
    uint32_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += (uint32_t)a[i] * b[i];
    return sum;
}

static uint32_t sum_of(const uint8_t *a, int count) {
    uint32_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += a[i];
    return sum;
}

/* Adds the patches of an image whose upper rows are row `y`: value p of all of them is a stretch of
 * `across` bytes, from at[p] on. */
static void add_row(moments *m, const uint8_t *const *at, int across) {
    m->patches += (uint64_t)across;
    for (int p = 0; p < m->size; p++) {
        m->sum[p] += sum_of(at[p], across);
        for (int q = p; q < m->size; q++)
            m->product[p][q] += dot(at[p], at[q], across);
    }
}

static void add_image(moments *m, const cairn_split *like, const uint8_t *image, int kernel) {
    const int across = like->width - kernel + 1, down = like->height - kernel + 1;
    const uint8_t *at[D];
    for (int y = 0; y < down; y++) {
        for (int p = 0; p < m->size; p++) {
            int c = p / (kernel * kernel), i = p / kernel % kernel, j = p % kernel;
            at[p] = image + (size_t)(c * like->height + y + i) * (size_t)like->width + j;
        }
        add_row(m, at, across);
    }
}

/* The mean of x_p x_q, x = (byte / 255 - mean) / std. */
static double second_moment(const moments *m, int p, int q, const double *mean, const double *std) {
    double count = (double)m->patches;
    double product = (double)m->product[p][q] / (255.0 * 255.0);
    double crossed = mean[q] * (double)m->sum[p] / 255 + mean[p] * (double)m->sum[q] / 255;
    return ((product - crossed) / count + mean[p] * mean[q]) / (std[p] * std[q]);
}

/* Eigenvectors ----------------------------------------------------------------------------------*/

/* Turns rows and columns p and q of the symmetric matrix a so that a[p][q] becomes 0 (Golub and Van
 * Loan, Matrix Computations, 8.5); the columns of v go with them. */
static void rotate(int size, double a[D][D], double v[D][D], int p, int q) {
    double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
    double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    double cosine = 1 / sqrt(t * t + 1), sine = t * cosine;
    for (int k = 0; k < size; k++) {
        double x = a[k][p], y = a[k][q];
        a[k][p] = cosine * x - sine * y;
        a[k][q] = sine * x + cosine * y;
    }
    for (int k = 0; k < size; k++) {
        double x = a[p][k], y = a[q][k];
        a[p][k] = cosine * x - sine * y;
        a[q][k] = sine * x + cosine * y;
    }
    a[p][q] = a[q][p] = 0;
    for (int k = 0; k < size; k++) {
        double x = v[k][p], y = v[k][q];
        v[k][p] = cosine * x - sine * y;
        v[k][q] = sine * x + cosine * y;
    }
}

/* a's diagonal becomes its eigenvalues, v's columns the eigenvectors. */
static void diagonalise(int size, double a[D][D], double v[D][D]) {
    for (int p = 0; p < size; p++)
        for (int q = 0; q < size; q++)
            v[p][q] = p == q;
    for (int sweep = 0; sweep < SWEEPS_MAX; sweep++) {
        double off = 0, all = 0;
        for (int p = 0; p < size; p++)
            for (int q = 0; q < size; q++) {
                all += a[p][q] * a[p][q];
                off += p == q ? 0 : a[p][q] * a[p][q];
            }
        if (off <= 1e-30 * all)
            return;
        for (int p = 0; p < size; p++)
            for (int q = p + 1; q < size; q++)
                if (a[p][q] != 0)
                    rotate(size, a, v, p, q);
    }
}

/* Filters ---------------------------------------------------------------------------------------*/

static double largest_element(int size, double v[D][D], int column) {
    double largest = 0;
    for (int k = 0; k < size; k++)
        if (fabs(v[k][column]) > fabs(largest))
            largest = v[k][column];
    return largest;
}

/* The column of the n-th largest eigenvalue; of equals the earlier comes first. */
static int column_of(int size, double a[D][D], int n) {
    for (int column = 0; column < size; column++) {
        int before = 0;
        for (int k = 0; k < size; k++)
            before += a[k][k] > a[column][column] || (k < column && a[k][k] == a[column][column]);
        if (before == n)
            return column;
    }
    return n; /* where one is no number */
}

void cairn_whiten_filters(const cairn_split *images, const float *mean, const float *std,
                          int kernel, float *weights) {
    static const double epsilon = 5e-4;
    const size_t bytes = (size_t)images->channels * (size_t)images->height * (size_t)images->width;
    const int count = images->count < CAIRN_WHITEN_IMAGES ? images->count : CAIRN_WHITEN_IMAGES;
    moments m = {.size = images->channels * kernel * kernel};
    double a[D][D], v[D][D], means[D], stds[D];
    for (int n = 0; n < count; n++)
        add_image(&m, images, images->images + (size_t)n * bytes, kernel);
    for (int p = 0; p < m.size; p++) {
        means[p] = (double)mean[p / (kernel * kernel) % CAIRN_CHANNELS_MAX];
        stds[p] = (double)std[p / (kernel * kernel) % CAIRN_CHANNELS_MAX];
    }
    for (int p = 0; p < m.size; p++)
        for (int q = p; q < m.size; q++)
            a[p][q] = a[q][p] = second_moment(&m, p, q, means, stds);
    diagonalise(m.size, a, v);
    for (int n = 0; n < m.size; n++) {
        int column = column_of(m.size, a, n);
        double spread = a[column][column] > 0 ? a[column][column] : 0; /* below by rounding */
        double scale = (largest_element(m.size, v, column) < 0 ? -1 : 1) / sqrt(spread + epsilon);
        for (int k = 0; k < m.size; k++) {
            float value = (float)(scale * v[k][column]);
            weights[n * m.size + k] = value;
            weights[(m.size + n) * m.size + k] = -value;
        }
    }
}

cairn_status cairn_whiten(cairn_executor *executor, const cairn_dataset *data) {
    const cairn_net *net = executor->net;
    float weights[2 * D * D];
    cairn_status status = CAIRN_OK;
    for (int k = 0; k < net->parameter_count && !status; k++) {
        const cairn_parameter *parameter = &net->parameter[k];
        const int *dim = parameter->dim;
        if (parameter->initial != CAIRN_INITIAL_WHITENING)
            continue;
        int size = dim[1] * dim[2] * dim[3];
        if (size > D || dim[0] != 2 * size || dim[1] != data->train.channels)
            return cairn_error_set(CAIRN_FAILED,
                                   "%s: %d filters of %d values do not whiten images "
                                   "of %d channels",
                                   parameter->name, dim[0], size, data->train.channels);
        cairn_whiten_filters(&data->train, data->mean, data->std, dim[2], weights);
        status = cairn_executor_set(executor, CAIRN_PARAMETER, k, weights);
        if (!status && cairn_optimizer_keeps(&executor->options.optimizer, CAIRN_AVERAGE))
            status = cairn_executor_set(executor, CAIRN_AVERAGE, k, weights);
    }
    return status;
}
