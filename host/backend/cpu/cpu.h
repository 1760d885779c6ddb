/* The cpu backend: the CPU's fast path, on oneDNN. */
#ifndef CAIRN_BACKEND_CPU_H
#define CAIRN_BACKEND_CPU_H

#include "cairn/executor.h"

extern const cairn_backend cairn_backend_cpu;

#endif
