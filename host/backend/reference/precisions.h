/* What the files of this folder share: the executor, compiled once for each precision. */
#ifndef CAIRN_REFERENCE_PRECISIONS_H
#define CAIRN_REFERENCE_PRECISIONS_H

#include "cairn/executor.h"

cairn_status cairn_reference_create_float32(cairn_executor **made, const cairn_net *net,
                                            const cairn_executor_options *options);
cairn_status cairn_reference_create_float64(cairn_executor **made, const cairn_net *net,
                                            const cairn_executor_options *options);

#endif
