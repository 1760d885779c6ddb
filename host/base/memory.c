/* Reads /proc/meminfo, behind cairn/memory.h. */
#include "cairn/memory.h"

#include <stdint.h>
#include <stdio.h>

size_t cairn_memory_available(void) {
    char line[256];
    size_t kibibytes, available = 0, swap = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %zu", &kibibytes) == 1)
            available = kibibytes;
        if (sscanf(line, "SwapFree: %zu", &kibibytes) == 1)
            swap = kibibytes;
    }
    if (file)
        fclose(file);
    return available ? (available + swap) << 10 : SIZE_MAX;
}
