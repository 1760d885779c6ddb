/* The reference backend's entry in the table of backends. */
#include "reference.h"

#include "precisions.h"

#include <stdio.h>

static cairn_status probe(void) {
    return CAIRN_OK;
}

static const char *describe(char *out, size_t size) {
    snprintf(out, size, "plain C and OpenMP");
    return out;
}

static bool supports(cairn_precision precision) {
    return precision == CAIRN_FLOAT32 || precision == CAIRN_FLOAT64;
}

static cairn_status create(cairn_executor **made, const cairn_net *net,
                           const cairn_executor_options *options) {
    return options->precision == CAIRN_FLOAT64 ? cairn_reference_create_float64(made, net, options)
                                               : cairn_reference_create_float32(made, net, options);
}

const cairn_backend cairn_backend_reference = {
    .name = "reference",
    .probe = probe,
    .describe = describe,
    .supports = supports,
    .immediate = true,
    .create = create,
};
