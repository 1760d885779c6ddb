/* The cuda backend's place in the table: opens the plugin libcairn_cuda.so when somebody asks for
 * the backend, and passes everything on. cuDNN and cuBLAS are hundreds of megabytes; a program that
 * linked them would load them for `cairn params` too. Where there is no NVIDIA driver, nothing is
 * opened at all. */
#include "cuda/backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const cairn_backend *loaded;
static char why_not[512];

static void open_plugin(void) {
    if (!dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL)) {
        snprintf(why_not, sizeof why_not, "cuda: no NVIDIA driver (libcuda.so.1) is installed");
        return;
    }
    void *library = dlopen("libcairn_cuda.so", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(why_not, sizeof why_not, "cuda: %s", dlerror());
        return;
    }
    const cairn_backend *(*entry)(const char *, size_t);
    *(void **)&entry = dlsym(library, "cairn_cuda_plugin");
    loaded = entry ? entry(CAIRN_VERSION, sizeof(cairn_executor)) : NULL;
    if (!loaded)
        snprintf(why_not, sizeof why_not,
                 "cuda: libcairn_cuda.so belongs to another build of Cairn; build or install both "
                 "together");
}

/* NULL, with the error set, where it cannot be had. */
static const cairn_backend *backend(void) {
    pthread_once(&once, open_plugin);
    if (!loaded)
        cairn_error_set(CAIRN_FAILED, "%s", why_not);
    return loaded;
}

static cairn_status probe(void) {
    return backend() ? loaded->probe() : CAIRN_FAILED;
}

static const char *describe(char *out, size_t size) {
    if (backend())
        return loaded->describe(out, size);
    snprintf(out, size, "%s", why_not);
    return out;
}

/* Without the plugin, as if it could: so that a user learns why there is none. */
static bool supports(cairn_precision precision) {
    return backend() ? loaded->supports(precision) : precision != CAIRN_FLOAT64;
}

static cairn_status create(cairn_executor **executor, const cairn_net *net,
                           const cairn_executor_options *options) {
    return backend() ? loaded->create(executor, net, options) : CAIRN_FAILED;
}

static bool identify(int ordinal, char *name, size_t size) {
    return backend() && loaded->identify(ordinal, name, size);
}

static int devices(void) {
    return backend() ? loaded->devices() : 0;
}

static const char *describe_device(int ordinal, char *out, size_t size) {
    return backend() ? loaded->describe_device(ordinal, out, size) : describe(out, size);
}

const cairn_backend cairn_backend_cuda = {.name = "cuda",
                                          .probe = probe,
                                          .describe = describe,
                                          .supports = supports,
                                          .identify = identify,
                                          .create = create,
                                          .devices = devices,
                                          .describe_device = describe_device};
