/* params.yaml: what is accepted, written and read again is the same configuration. */
#include "cairn/config.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cairn_config config, again;
    char *text = NULL;
    cairn_status status =
        cairn_config_parse(&config, (const char *)data, size, "params.yaml", NULL, 0);
    fuzz_check_status(status);
    if (status)
        return 0;
    fuzz_check(!cairn_config_format(&config, &text), "a configuration can be written");
    fuzz_check(!cairn_config_parse(&again, text, strlen(text), "written", NULL, 0),
               "a written configuration is accepted");
    fuzz_check(!cairn_config_difference(&config, &again), "it is the same configuration");
    free(text);
    return 0;
}
