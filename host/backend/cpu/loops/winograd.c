/* Winograd's F(4x4, 3x3) over blocks of channels: tiles are read and transformed, multiplied, and
 * transformed back, some at a time. winograd_transforms.h has the method's matrices. */
#include "winograd.h"

#include "winograd_transforms.h"

#include <omp.h>
#include <string.h>

enum {
    BLOCK = CHANNEL_BLOCK,
    PLACES = INPUT * INPUT,
    TILES = CHANNEL_BLOCK == 16 ? 16 : 12, /* go through all steps together */
    GRADIENT_TILES = 32, /* the same for the weight gradient, whose sums lie in memory */
    /* The sums that are held in registers: of so many places of a column, for so many tiles.
     * AVX-512 has registers enough for a whole column. */
    PLACES_HELD = CHANNEL_BLOCK == 16 ? INPUT : 1,
    TILES_HELD = CHANNEL_BLOCK == 16 ? 4 : 12,
    /* From place to place. Odd, so that a tile's places do not meet in few sets of the cache. */
    PITCH = TILES + 1,
    GRADIENT_PITCH = GRADIENT_TILES + 1
};

static int tiles_across(int side, const conv_shape *shape) {
    return (conv_side(side, shape) + OUTPUT - 1) / OUTPUT;
}

static size_t tile_count(const conv_shape *shape) {
    return (size_t)shape->count * (size_t)tiles_across(shape->height, shape) *
           (size_t)tiles_across(shape->width, shape);
}

static size_t weight_count(const conv_shape *shape) {
    return (size_t)PLACES * (size_t)shape->in * (size_t)(channel_blocks(shape->out) * BLOCK);
}

/* To [blocks of out][place][in][block of out]. */
static void transform_weights(const conv_shape *shape, const float *weights, bool turned,
                              float *transformed) {
    float g[INPUT][KERNEL];
    size_t in = (size_t)shape->in, out = (size_t)shape->out;
    kernel_matrix(g);
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < in * (size_t)channel_blocks(shape->out); n++) {
        size_t block = n / in, i = n % in;
        vector kernel[KERNEL * KERNEL] = {{0}};
        for (size_t k = 0; k < KERNEL * KERNEL; k++)
            for (size_t o = 0; o < BLOCK && block * BLOCK + o < out; o++) {
                size_t pair = turned ? i * out + block * BLOCK + o : (block * BLOCK + o) * in + i;
                size_t at = turned ? KERNEL * KERNEL - 1 - k : k;
                kernel[k][o] = weights[pair * (KERNEL * KERNEL) + at];
            }
        transform_kernel((const float(*)[KERNEL])g, kernel,
                         (vector *)transformed + block * PLACES * in + i, in);
    }
}

/* Tiles ---------------------------------------------------------------------------------------- */

typedef struct {
    int sample, y, x; /* of its first output */
} tile;

static tile locate(const conv_shape *shape, size_t index) {
    size_t across = (size_t)tiles_across(shape->width, shape);
    size_t down = (size_t)tiles_across(shape->height, shape);
    return (tile){(int)(index / (across * down)), (int)(index / across % down) * OUTPUT,
                  (int)(index % across) * OUTPUT};
}

static int lower(int a, int b) {
    return a < b ? a : b;
}

static int higher(int a, int b) {
    return a > b ? a : b;
}

/* A plane [height][width] of blocks; of a square of it from row y and column x on, the rows, from
 * column `left` of the square to `right`, which are inside. A row outside is of zeros. */
typedef struct {
    const char *row[INPUT];
    int left, right;
} square;

INLINE square locate_square(const char *plane, int height, int width, int y, int x, int side,
                            bool bf16) {
    static const vector zeros[INPUT];
    square found = {.left = higher(0, -x), .right = lower(side, width - x)};
    for (int i = 0; i < side; i++)
        found.row[i] = y + i >= 0 && y + i < height
                           ? plane + (size_t)((y + i) * width + x + found.left) * block_bytes(bf16)
                           : (const char *)zeros;
    return found;
}

static size_t plane_offset(const conv_shape *shape, int sample, int channels, int block, int height,
                           int width) {
    size_t ordinal = (size_t)sample * (size_t)channel_blocks(channels) + (size_t)block;
    return ordinal * (size_t)height * (size_t)width * block_bytes(shape->bf16);
}

INLINE void read_input_as(const conv_shape *shape, const char *x, tile at, int block, vector *to,
                          int pitch, bool bf16) {
    vector once[INPUT][INPUT]; /* [column][row], transformed by columns */
    const char *plane =
        x + plane_offset(shape, at.sample, shape->in, block, shape->height, shape->width);
    square d = locate_square(plane, shape->height, shape->width, at.y - shape->padding,
                             at.x - shape->padding, INPUT, bf16);
    if (d.right - d.left < INPUT)
        memset(once, 0, sizeof once);
    for (int j = 0; j < d.right - d.left; j++) {
        vector column[INPUT];
        for (int i = 0; i < INPUT; i++)
            column[i] = load(d.row[i] + (size_t)j * block_bytes(bf16), bf16);
        transform_input(column, once[d.left + j], 1);
    }
    for (int i = 0; i < INPUT; i++) {
        vector row[INPUT];
        for (int j = 0; j < INPUT; j++)
            row[j] = once[j][i];
        transform_input(row, to + i * INPUT * pitch, pitch);
    }
}

/* A tile of one block of channels, transformed: place p goes to to[p * pitch]. */
static __attribute__((noinline)) void read_input(const conv_shape *shape, const void *x, tile at,
                                                 int block, vector *to, int pitch) {
    if (shape->bf16)
        read_input_as(shape, x, at, block, to, pitch, true);
    else
        read_input_as(shape, x, at, block, to, pitch, false);
}

INLINE void read_gradient_as(const conv_shape *shape, const char *dy, tile at, int block,
                             vector *to, vector *sum, bool bf16) {
    vector once[OUTPUT][INPUT];
    int height = conv_side(shape->height, shape), width = conv_side(shape->width, shape);
    const char *plane = dy + plane_offset(shape, at.sample, shape->out, block, height, width);
    square d = locate_square(plane, height, width, at.y, at.x, OUTPUT, bf16);
    if (d.right - d.left < OUTPUT)
        memset(once, 0, sizeof once);
    for (int j = 0; j < d.right - d.left; j++) {
        vector column[OUTPUT];
        for (int i = 0; i < OUTPUT; i++)
            *sum += column[i] = load(d.row[i] + (size_t)j * block_bytes(bf16), bf16);
        transform_gradient(column, once[d.left + j], 1);
    }
    for (int i = 0; i < INPUT; i++) {
        vector row[OUTPUT];
        for (int j = 0; j < OUTPUT; j++)
            row[j] = once[j][i];
        transform_gradient(row, to + i * INPUT * GRADIENT_PITCH, GRADIENT_PITCH);
    }
}

/* The same of the output's gradient, which is added to *sum. */
static __attribute__((noinline)) void read_gradient(const conv_shape *shape, const void *dy,
                                                    tile at, int block, vector *to, vector *sum) {
    if (shape->bf16)
        read_gradient_as(shape, dy, at, block, to, sum, true);
    else
        read_gradient_as(shape, dy, at, block, to, sum, false);
}

/* A tile's products, transformed by columns: [column][row]. */
typedef vector halfway[INPUT][OUTPUT];

INLINE void write_output_as(const conv_shape *shape, const halfway once, tile at, int block,
                            const vector *bias, winograd_after after, char *y, bool bf16) {
    int height = conv_side(shape->height, shape), width = conv_side(shape->width, shape);
    char *plane = y + plane_offset(shape, at.sample, shape->out, block, height, width);
    int rows = lower(OUTPUT, height - at.y), columns = lower(OUTPUT, width - at.x);
    for (int i = 0; i < rows; i++) {
        char *to = plane + (size_t)((at.y + i) * width + at.x) * block_bytes(bf16);
        vector made[OUTPUT];
        transform_output(&once[0][i], OUTPUT, made);
        for (int j = 0; j < columns; j++, to += block_bytes(bf16)) {
            vector value = made[j] + *bias;
            if (after.sum)
                value += load(to, bf16);
            if (after.relu)
                value = rectify(value);
            store(to, value, bf16);
        }
    }
}

INLINE void write_pooled_as(const conv_shape *shape, const halfway once, tile at, int block,
                            const vector *bias, winograd_after after, char *y, bool bf16) {
    int height = conv_pooled(shape->height, shape), width = conv_pooled(shape->width, shape);
    size_t plane = plane_offset(shape, at.sample, shape->out, block, height, width);
    after.chosen += plane / block_bytes(bf16) * BLOCK;
    for (int i = 0; i < OUTPUT / 2 && at.y / 2 + i < height; i++) {
        vector row[2][OUTPUT];
        for (int k = 0; k < 2; k++)
            transform_output(&once[0][2 * i + k], OUTPUT, row[k]);
        for (int j = 0; j < OUTPUT / 2 && at.x / 2 + j < width; j++) {
            const vector window[] = {row[0][2 * j], row[0][2 * j + 1], row[1][2 * j],
                                     row[1][2 * j + 1]};
            size_t place = (size_t)((at.y / 2 + i) * width + at.x / 2 + j);
            pool_window(window, *bias, after.relu, bf16, y + plane + place * block_bytes(bf16),
                        after.chosen + place * BLOCK);
        }
    }
}

static __attribute__((noinline)) void write_output(const conv_shape *shape, const halfway once,
                                                   tile at, int block, const vector *bias,
                                                   winograd_after after, void *y) {
    if (after.chosen && shape->bf16)
        write_pooled_as(shape, once, at, block, bias, after, y, true);
    else if (after.chosen)
        write_pooled_as(shape, once, at, block, bias, after, y, false);
    else if (shape->bf16)
        write_output_as(shape, once, at, block, bias, after, y, true);
    else
        write_output_as(shape, once, at, block, bias, after, y, false);
}

/* Asks for what such a tile will touch and those before it did not: memory is far away, and the
 * multiplications in between are many. */
static void prefetch(const conv_shape *shape, const void *tensor, int channels, int height,
                     int width, int overlap, tile at) {
    int y = at.y + (at.y > 0 ? overlap : 0), x = at.x + (at.x > 0 ? overlap : 0);
    int rows = lower(OUTPUT, height - y), columns = lower(OUTPUT, width - x);
    for (int block = 0; block < channel_blocks(channels); block++) {
        const char *plane =
            (const char *)tensor + plane_offset(shape, at.sample, channels, block, height, width);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                __builtin_prefetch(
                    plane + (size_t)((y + i) * width + x + j) * block_bytes(shape->bf16), 0, 2);
    }
}

/* The tiles of a group of `size`; returns how many there are. */
static int locate_group(const conv_shape *shape, int group, int size, tile *at) {
    size_t first = (size_t)group * (size_t)size, count = tile_count(shape);
    int found = first >= count ? 0 : lower(size, (int)(count - first));
    for (int t = 0; t < found; t++)
        at[t] = locate(shape, first + (size_t)t);
    return found;
}

static int group_count(const conv_shape *shape, int size) {
    return (int)((tile_count(shape) + (size_t)size - 1) / (size_t)size);
}

/* A group, of one block of channels. */
typedef vector tiles[PLACES][PITCH], gradient_tiles[PLACES][GRADIENT_PITCH];

static size_t scratch_floats(const conv_shape *shape, int threads) {
    size_t in = (size_t)channel_blocks(shape->in), out = (size_t)channel_blocks(shape->out);
    size_t transformed = PLACES * GRADIENT_PITCH * (in + out);
    size_t sums = PLACES * in * BLOCK * out + in + out; /* as many for the turned shape */
    return (size_t)threads * (transformed + sums) * BLOCK;
}

/* Forward -------------------------------------------------------------------------------------- */

/* The sum over the input channels of inputs [in / BLOCK][place][tile], from `place` and tile
 * `first` on, times weights [place][in]. */
INLINE void multiply(int in, const tiles *inputs, int place, int first, const vector *weights,
                     vector to[PLACES_HELD][TILES_HELD]) {
    vector sum[PLACES_HELD][TILES_HELD] = {{{0}}};
    weights += place * in;
    for (int k = 0; k < in; k++, weights++) {
        const float *values = (const float *)&inputs[k / BLOCK][place][first] + k % BLOCK;
        for (int p = 0; p < PLACES_HELD; p++) {
            const vector weight = weights[p * INPUT * in];
            for (int t = 0; t < TILES_HELD; t++)
                sum[p][t] += values[(p * INPUT * PITCH + t) * BLOCK] * weight;
        }
    }
    memcpy(to, sum, sizeof sum);
}

/* A column's products, transformed. */
INLINE void multiply_column(int in, const tiles *inputs, int column, const vector *weights,
                            halfway to[TILES]) {
    for (int first = 0; first < TILES; first += TILES_HELD) {
        vector products[INPUT][TILES_HELD];
        for (int i = 0; i < INPUT; i += PLACES_HELD)
            multiply(in, inputs, i * INPUT + column, first, weights, &products[i]);
        for (int t = 0; t < TILES_HELD; t++)
            transform_output(&products[0][t], TILES_HELD, to[first + t][column]);
    }
}

static void convolve_group(const conv_shape *shape, int group, const void *x,
                           const float *transformed, winograd_after after, tiles *scratch,
                           void *y) {
    tile at[TILES], next[TILES];
    int blocks = channel_blocks(shape->in), count = locate_group(shape, group, TILES, at);
    int height = conv_side(shape->height, shape), width = conv_side(shape->width, shape);
    tiles *inputs = scratch;
    halfway *products = (halfway *)(scratch + blocks);
    for (int t = 0; t < count; t++)
        for (int block = 0; block < blocks; block++)
            read_input(shape, x, at[t], block, &inputs[block][0][t], PITCH);
    for (int t = 0; t < count && !after.chosen; t++)
        prefetch(shape, y, shape->out, height, width, 0, at[t]);
    for (int t = locate_group(shape, group + 1, TILES, next) - 1; t >= 0; t--)
        prefetch(shape, x, shape->in, shape->height, shape->width, 2 - shape->padding, next[t]);
    for (int block = 0; block < channel_blocks(shape->out); block++) {
        const vector *weights =
            (const vector *)transformed + (size_t)block * PLACES * (size_t)shape->in;
        for (int column = 0; column < INPUT; column++)
            multiply_column(shape->in, (const tiles *)inputs, column, weights, products);
        vector bias = {0};
        if (after.bias)
            memcpy(&bias, after.bias + block * BLOCK,
                   (size_t)lower(BLOCK, shape->out - block * BLOCK) * sizeof *after.bias);
        for (int t = 0; t < count; t++)
            write_output(shape, (const vector(*)[OUTPUT])products[t], at[t], block, &bias, after,
                         y);
    }
}

static void convolve(const conv_shape *shape, const void *x, const float *transformed,
                     winograd_after after, int threads, float *scratch, void *y) {
    size_t each = scratch_floats(shape, 1);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int group = 0; group < group_count(shape, TILES); group++)
        convolve_group(shape, group, x, transformed, after,
                       (tiles *)(scratch + (size_t)omp_get_thread_num() * each), y);
}

/* Weight gradient ------------------------------------------------------------------------------ */

/* A thread's sums: of the weights, [place][blocks of out][blocks of in][block of in][block of out],
 * and of the bias, [blocks of out][block]. */

/* Of one place: sums [block of in] += over a group's tiles, inputs times gradients. The sums of
 * wide layers fill the cache, so they are asked for before they are needed. */
INLINE void accumulate(const vector inputs[GRADIENT_TILES], const vector gradients[GRADIENT_TILES],
                       vector sums[BLOCK]) {
    vector sum[BLOCK] = {{0}};
    for (int k = 0; k < BLOCK; k++)
        __builtin_prefetch(&sums[k], 1, 3);
    for (int t = 0; t < GRADIENT_TILES; t++)
        for (int k = 0; k < BLOCK; k++)
            sum[k] += inputs[t][k] * gradients[t];
    for (int k = 0; k < BLOCK; k++)
        sums[k] += sum[k];
}

static void accumulate_group(const conv_shape *shape, int group, const void *x, const void *dy,
                             gradient_tiles *scratch, vector *sums) {
    tile at[GRADIENT_TILES], next[GRADIENT_TILES];
    int in = channel_blocks(shape->in), out = channel_blocks(shape->out);
    int height = conv_side(shape->height, shape), width = conv_side(shape->width, shape);
    int count = locate_group(shape, group, GRADIENT_TILES, at);
    gradient_tiles *inputs = scratch, *gradients = scratch + in;
    if (count < GRADIENT_TILES)
        memset(scratch, 0, (size_t)(in + out) * sizeof *scratch);
    vector *bias = sums + (size_t)PLACES * (size_t)(out * in * BLOCK);
    /* Block by block: the places of one are enough for the cache and its pages. */
    for (int block = 0; block < in; block++)
        for (int t = 0; t < count; t++)
            read_input(shape, x, at[t], block, &inputs[block][0][t], GRADIENT_PITCH);
    for (int block = 0; block < out; block++)
        for (int t = 0; t < count; t++)
            read_gradient(shape, dy, at[t], block, &gradients[block][0][t], &bias[block]);
    for (int t = locate_group(shape, group + 1, GRADIENT_TILES, next) - 1; t >= 0; t--) {
        prefetch(shape, x, shape->in, shape->height, shape->width, 2 - shape->padding, next[t]);
        prefetch(shape, dy, shape->out, height, width, 0, next[t]);
    }
    for (int place = 0; place < PLACES; place++)
        for (int o = 0; o < out; o++)
            for (int i = 0; i < in; i++, sums += BLOCK)
                accumulate(inputs[i][place], gradients[o][place], sums);
}

/* dg = G' sums G, of the sums of all threads, which lie `each` floats apart. */
static void gather(const conv_shape *shape, const float *sums, int threads, size_t each,
                   float *dweights) {
    float g[INPUT][KERNEL];
    size_t in = (size_t)shape->in, out = (size_t)shape->out;
    size_t across = (size_t)channel_blocks(shape->in) * BLOCK;
    size_t groups = across * (size_t)channel_blocks(shape->out);
    kernel_matrix(g);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t n = 0; n < groups; n++) {
        size_t i = n % across, first = n / across * BLOCK;
        if (i >= in)
            continue;
        vector once[KERNEL][INPUT] = {{{0}}};
        for (size_t place = 0; place < PLACES; place++) {
            vector sum = {0};
            for (size_t t = 0; t < (size_t)threads; t++)
                sum += ((const vector *)(sums + t * each))[place * groups + n];
            for (int k = 0; k < KERNEL; k++)
                once[k][place % INPUT] += g[place / INPUT][k] * sum;
        }
        for (size_t k = 0; k < KERNEL * KERNEL; k++) {
            vector sum = {0};
            for (int j = 0; j < INPUT; j++)
                sum += once[k / KERNEL][j] * g[j][k % KERNEL];
            for (size_t o = 0; o < BLOCK && first + o < out; o++)
                dweights[((first + o) * in + i) * (KERNEL * KERNEL) + k] = sum[o];
        }
    }
}

static void weight_gradient(const conv_shape *shape, const void *x, const void *dy, int threads,
                            float *scratch, float *dweights, float *dbias) {
    size_t each = scratch_floats(shape, 1), out = (size_t)channel_blocks(shape->out) * BLOCK;
    size_t weights = PLACES * (size_t)channel_blocks(shape->in) * BLOCK * out, sums = weights + out;
    int groups = group_count(shape, GRADIENT_TILES);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; t++) {
        float *mine = scratch + (size_t)t * each;
        memset(mine, 0, sums * sizeof *mine);
        for (int group = groups * t / threads; group < groups * (t + 1) / threads; group++)
            accumulate_group(shape, group, x, dy, (gradient_tiles *)(mine + sums), (vector *)mine);
    }
    gather(shape, scratch, threads, each, dweights);
    for (int o = 0; o < shape->out && dbias; o++) {
        double sum = 0;
        for (int t = 0; t < threads; t++)
            sum += (double)scratch[(size_t)t * each + weights + (size_t)o];
        dbias[o] = (float)sum;
    }
}

const winograd_loops OF_ISA(winograd) = {weight_count, scratch_floats, transform_weights, convolve,
                                         weight_gradient};
