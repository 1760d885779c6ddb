/* The reference executor in float64. */
typedef double real;
#include "executor_impl.h"
#include "precisions.h"

cairn_status cairn_reference_create_float64(cairn_executor **made, const cairn_net *net,
                                            const cairn_executor_options *options) {
    return create(made, net, options);
}
