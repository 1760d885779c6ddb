/* The arithmetic of the emulator's convolutions. */
#ifndef CAIRN_EMULATOR_CONVOLVE_H
#define CAIRN_EMULATOR_CONVOLVE_H

#include "cudnn_state.h"

namespace emulator {
namespace dnn {

/* One convolution of x [n,c,h,w] with w [k,c,r,s] to y [n,k,p,q], whichever of them is computed. */
struct problem {
    tensor x, y;
    filter w;
    cudnnConvolutionStruct conv;
};

/* Writes sums as alpha * sum + beta * what is there; one that wavers, with other last bits each
 * time. */
struct writer {
    void *data;
    element type;
    scales by;
    bool wavers;
    uint32_t state;
    void write(ptrdiff_t at, double sum);
};

/* Every place of a tensor's channel 0, pixel by pixel. */
std::vector<ptrdiff_t> pixels(const tensor &of);

/* y = x * w. `tf32`: float32 is rounded to it. */
void convolve_forward(const problem &of, bool tf32, const void *x, const void *w, writer y);
void convolve_data(const problem &of, bool tf32, const void *dy, const void *w, writer dx);
void convolve_filter(const problem &of, bool tf32, const void *x, const void *dy, writer dw);

} // namespace dnn
} // namespace emulator

#endif
