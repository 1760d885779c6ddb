/* -S key=value: each line of the input is one override, applied to a sound configuration. */
#include "cairn/config.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char base[] = "{data: {dir: d}, train: {epochs: 1, batch_size: 8, lr: 0.1}, "
                               "run: {name: a}}";
    enum { OVERRIDES_MAX = 4 };
    const char *overrides[OVERRIDES_MAX];
    size_t count = 0;
    char *lines = malloc(size + 1), *rest = NULL, *text = NULL;
    if (!lines)
        return 0;
    memcpy(lines, data, size);
    lines[size] = '\0';
    for (char *line = strtok_r(lines, "\n", &rest); line && count < OVERRIDES_MAX;
         line = strtok_r(NULL, "\n", &rest))
        overrides[count++] = line;
    cairn_config config, again;
    cairn_status status =
        cairn_config_parse(&config, base, sizeof base - 1, "params.yaml", overrides, count);
    fuzz_check_status(status);
    if (!status) {
        fuzz_check(!cairn_config_format(&config, &text), "a configuration can be written");
        fuzz_check(!cairn_config_parse(&again, text, strlen(text), "written", NULL, 0),
                   "a written configuration is accepted");
        fuzz_check(!cairn_config_difference(&config, &again), "it is the same configuration");
    }
    free(text);
    free(lines);
    return 0;
}
