/* The reference backend: the oracle, in plain C loops; float32 and float64. */
#ifndef CAIRN_BACKEND_REFERENCE_H
#define CAIRN_BACKEND_REFERENCE_H

#include "cairn/executor.h"

extern const cairn_backend cairn_backend_reference;

#endif
