/* safetensors: an accepted file's tensors have the memory that their shapes promise, and no more
 * values than the file has bytes for. */
#include "cairn/safetensors.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cairn_safetensors file;
    cairn_status status = cairn_safetensors_parse(&file, data, size, "file.safetensors");
    fuzz_check_status(status);
    size_t values = 0, ones = 0;
    for (size_t i = 0; i < file.tensor_count; i++) {
        const cairn_tensor *tensor = &file.tensor[i];
        size_t count = 1;
        for (int d = 0; d < tensor->rank; d++)
            count *= (size_t)tensor->dim[d];
        fuzz_check(count == tensor->count, "a tensor's count is its shape's");
        fuzz_check(cairn_safetensors_find(&file, tensor->name) == tensor, "names are unique");
        for (size_t k = 0; k < count; k++)
            ones += tensor->values[k] == 1.0f;
        values += count;
    }
    for (size_t i = 0; i < file.metadata_count; i++)
        fuzz_check(cairn_safetensors_metadata(&file, file.metadata[i].key) ==
                       file.metadata[i].value,
                   "metadata are unique");
    fuzz_check(ones <= values && values <= size / 2, "no value is made up");
    if (status)
        fuzz_check(!file.tensor_count && !file.metadata_count, "a refused file leaves nothing");
    cairn_safetensors_free(&file);
    return 0;
}

#ifdef CAIRN_FUZZ
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
    return fuzz_mutate_safetensors(data, size, capacity, seed);
}
#endif
