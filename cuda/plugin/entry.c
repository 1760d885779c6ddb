/* The one symbol that the plugin libcairn_cuda.so shows. host/backend/plugin opens it. */
#include "../backend.h"

#include <string.h>

__attribute__((visibility("default"))) const cairn_backend *cairn_cuda_plugin(const char *version,
                                                                              size_t executor_size);

/* NULL when the program is another version than this file. */
const cairn_backend *cairn_cuda_plugin(const char *version, size_t executor_size) {
    bool same = strcmp(version, CAIRN_VERSION) == 0 && executor_size == sizeof(cairn_executor);
    return same ? &cairn_backend_cuda : NULL;
}
