/* Convolution of the reference backend; included after a typedef of `real`.
 *
 * y[n,o,i,j] = b[o] + sum over (c,u,v) of w[o,c,u,v] * x[n,c,i*s+u-p,j*s+v-p], where pixels outside
 * x are 0.
 *
 * Everything happens on the padded grid of H x W pixels, H = h+2p, W = w+2p, read as one long row:
 * output (i,j) sits at t = i*s*W + j*s, and the pixel under weight (u,v) at t + u*W + v. So with
 * `padded` = x inside a border of zeros, and `spread` = dy with zeros between,
 *     y at t       = b + sum over (c,u,v) of w[o,c,u,v] * padded[n,c][t + u*W + v]
 *     dw[o,c,u,v] += sum over (n,t) of spread[n,o][t] * padded[n,c][t + u*W + v]
 *     dx at t     += sum over (o,u,v) of w[o,c,u,v] * spread[n,o][t - u*W - v]
 * which costs some idle places and spares every edge case. A spread plane begins with a margin of
 * zeros, so that t - u*W - v may be negative. */
#include "work_impl.h"

typedef struct {
    size_t width, plane; /* W, H * W */
    size_t span;         /* one more than the last output's t */
    size_t margin;       /* the greatest u*W + v */
} conv2d_grid;

static conv2d_grid conv2d_grid_of(const cairn_op *op) {
    size_t height = (size_t)(op->in.h + 2 * op->padding);
    size_t width = (size_t)(op->in.w + 2 * op->padding);
    size_t stride = (size_t)op->stride;
    size_t last = (size_t)(op->out.h - 1) * stride * width + (size_t)(op->out.w - 1) * stride;
    return (conv2d_grid){width, height * width, last + 1, (size_t)(op->kernel - 1) * (width + 1)};
}

typedef struct {
    real *padded; /* [n,c,H,W]: the input; its border is zero from the start */
    real *spread; /* [n,o,margin + H*W]: dy, and zero between from the start */
    real *planes; /* [threads,H,W]: scratch */
} conv2d_memory;

static void *conv2d_take(op_memory *memory, const cairn_op *op) {
    conv2d_grid grid = conv2d_grid_of(op);
    size_t ins = memory->batch * (size_t)op->in.c, outs = memory->batch * (size_t)op->out.c;
    conv2d_memory *own = take(memory, sizeof *own);
    if (!own)
        return NULL;
    own->padded = take(memory, ins * grid.plane * sizeof(real));
    own->spread = take(memory, outs * (grid.margin + grid.plane) * sizeof(real));
    own->planes = take(memory, (size_t)memory->threads * grid.plane * sizeof(real));
    return own;
}

/* Where pixel (0,0) of x sits. */
static size_t conv2d_corner(const cairn_op *op, const conv2d_grid *grid) {
    return (size_t)op->padding * grid->width + (size_t)op->padding;
}

/* Fills the inside of `padded`. */
static void conv2d_pad(const op_work *at) {
    const cairn_op *op = at->op;
    const conv2d_memory *own = at->own;
    conv2d_grid grid = conv2d_grid_of(op);
    size_t height = (size_t)op->in.h, width = (size_t)op->in.w;
#pragma omp parallel for num_threads(at->threads)
    for (size_t plane = 0; plane < (size_t)(at->count * op->in.c); plane++) {
        const real *from = at->x + plane * height * width;
        real *to = own->padded + plane * grid.plane + conv2d_corner(op, &grid);
        for (size_t i = 0; i < height; i++)
            memcpy(to + i * grid.width, from + i * width, width * sizeof *to);
    }
}

static void conv2d_forward(const op_work *at) {
    const cairn_op *op = at->op;
    const conv2d_memory *own = at->own;
    conv2d_grid grid = conv2d_grid_of(op);
    size_t k = (size_t)op->kernel, s = (size_t)op->stride, channels = (size_t)op->in.c;
    size_t outs = (size_t)op->out.c, height = (size_t)op->out.h, width = (size_t)op->out.w;
    conv2d_pad(at);
#pragma omp parallel for collapse(2) num_threads(at->threads)
    for (size_t n = 0; n < (size_t)at->count; n++)
        for (size_t o = 0; o < outs; o++) {
            real *sum = own->planes + (size_t)omp_get_thread_num() * grid.plane;
            const real *w = at->weight + o * channels * k * k;
            real bias = at->bias ? at->bias[o] : 0;
            for (size_t t = 0; t < grid.span; t++)
                sum[t] = bias;
            for (size_t c = 0; c < channels; c++) {
                const real *x = own->padded + (n * channels + c) * grid.plane;
                for (size_t u = 0; u < k; u++)
                    for (size_t v = 0; v < k; v++)
                        add_scaled(grid.span, *w++, x + u * grid.width + v, sum);
            }
            real *to = at->y + (n * outs + o) * height * width;
            for (size_t i = 0; i < height; i++)
                for (size_t j = 0; j < width; j++)
                    *to++ = sum[i * s * grid.width + j * s];
        }
}

/* Lays dy [n,o,h,w] out on `spread`. */
static void conv2d_spread(const op_work *at) {
    const cairn_op *op = at->op;
    const conv2d_memory *own = at->own;
    conv2d_grid grid = conv2d_grid_of(op);
    size_t height = (size_t)op->out.h, width = (size_t)op->out.w, s = (size_t)op->stride;
#pragma omp parallel for num_threads(at->threads)
    for (size_t plane = 0; plane < (size_t)(at->count * op->out.c); plane++) {
        const real *from = at->dy + plane * height * width;
        real *to = own->spread + plane * (grid.margin + grid.plane) + grid.margin;
        for (size_t i = 0; i < height; i++)
            for (size_t j = 0; j < width; j++)
                to[i * s * grid.width + j * s] = *from++;
    }
}

static void conv2d_backward_parameters(const op_work *at) {
    const cairn_op *op = at->op;
    const conv2d_memory *own = at->own;
    conv2d_grid grid = conv2d_grid_of(op);
    size_t k = (size_t)op->kernel, channels = (size_t)op->in.c, outs = (size_t)op->out.c;
#pragma omp parallel for num_threads(at->threads)
    for (size_t o = 0; o < outs; o++)
        for (size_t n = 0; n < (size_t)at->count; n++) {
            const real *d = own->spread + (n * outs + o) * (grid.margin + grid.plane) + grid.margin;
            if (at->dbias)
                at->dbias[o] += sum_of(grid.span, d);
            if (!at->dweight)
                continue;
            real *dw = at->dweight + o * channels * k * k;
            for (size_t c = 0; c < channels; c++) {
                const real *x = own->padded + (n * channels + c) * grid.plane;
                for (size_t u = 0; u < k; u++)
                    for (size_t v = 0; v < k; v++)
                        *dw++ += dot(grid.span, d, x + u * grid.width + v);
            }
        }
}

static void conv2d_backward_input(const op_work *at) {
    const cairn_op *op = at->op;
    const conv2d_memory *own = at->own;
    conv2d_grid grid = conv2d_grid_of(op);
    size_t k = (size_t)op->kernel, channels = (size_t)op->in.c, outs = (size_t)op->out.c;
    size_t height = (size_t)op->in.h, width = (size_t)op->in.w;
#pragma omp parallel for collapse(2) num_threads(at->threads)
    for (size_t n = 0; n < (size_t)at->count; n++)
        for (size_t c = 0; c < channels; c++) {
            real *sum = own->planes + (size_t)omp_get_thread_num() * grid.plane;
            memset(sum, 0, grid.plane * sizeof *sum);
            for (size_t o = 0; o < outs; o++) {
                const real *d =
                    own->spread + (n * outs + o) * (grid.margin + grid.plane) + grid.margin;
                const real *w = at->weight + (o * channels + c) * k * k;
                for (size_t u = 0; u < k; u++)
                    for (size_t v = 0; v < k; v++)
                        add_scaled(grid.plane, *w++, d - u * grid.width - v, sum);
            }
            const real *from = sum + conv2d_corner(op, &grid);
            real *to = at->dx + (n * channels + c) * height * width;
            for (size_t i = 0; i < height; i++)
                add_scaled(width, 1, from + i * grid.width, to + i * width);
        }
}

static void conv2d_backward(const op_work *at) {
    conv2d_spread(at);
    conv2d_backward_parameters(at);
    if (at->dx)
        conv2d_backward_input(at);
}
