/* What cuDNN's manual says of every convolution algorithm. */
#ifndef CAIRN_EMULATOR_ALGORITHMS_H
#define CAIRN_EMULATOR_ALGORITHMS_H

#include "convolve.h"

namespace emulator {
namespace dnn {

enum direction { forward_pass, data_pass, filter_pass };
enum workspace { no_space, index_space, partial_space, large_space };

/* One row of the table. */
struct algorithm {
    direction pass;
    int number;
    bool deterministic;
    bool nhwc;         /* also for NHWC filters and tensors */
    bool bf16;         /* also for bf16 */
    bool tensor_cores; /* float32 becomes tf32 unless the descriptor says FMA */
    int filter_limit;  /* 3: 3x3, 5: also 5x5, 32: up to that, all with stride 1; 0: any */
    bool undilated;
    workspace space;
};

/* All of them, the fastest of a pass first. */
extern const std::vector<algorithm> algorithms;

/* NULL where there is none. */
const algorithm *find(direction pass, int number);

bool on_tensor_cores(const algorithm &algo, const problem &of);

/* What the manual's tables say of an algorithm and a convolution. */
cudnnStatus_t check_support(const algorithm &algo, const problem &of);

/* The workspace that it needs, in bytes. */
size_t space_of(const algorithm &algo, const problem &of);

} // namespace dnn
} // namespace emulator

#endif
