/* Arena allocation: a linked list of aligned blocks. */
#include "cairn/arena.h"

#include "cairn/memory.h"
#include "cairn/status.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct block {
    struct block *next;
    void *memory;
} block;

struct cairn_arena {
    block *blocks;
    size_t bytes;
};

cairn_arena *cairn_arena_create(void) {
    return calloc(1, sizeof(cairn_arena));
}

/* Linux promises memory that it does not have and kills who then uses it. So large blocks are held
 * against what there is; each is used at once, and the next one's check sees it gone. */
static bool fits(size_t bytes) {
    const size_t large = (size_t)64 << 20;
    return bytes < large || bytes <= cairn_memory_available();
}

void *cairn_arena_alloc(cairn_arena *arena, size_t bytes) {
    const size_t huge_page = (size_t)2 << 20;
    size_t alignment = bytes >= huge_page ? huge_page : 64;
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    block *entry = malloc(sizeof *entry);
    bool possible = rounded >= bytes && fits(rounded);
    void *memory = possible ? aligned_alloc(alignment, rounded ? rounded : alignment) : NULL;
    if (!entry || !memory) {
        free(entry);
        free(memory);
        cairn_error_set(
            CAIRN_FAILED,
            "out of memory: a buffer of %.1f MiB is asked for, %.1f MiB are held already; "
            "a smaller train.batch_size needs less",
            (double)bytes * 0x1p-20, (double)arena->bytes * 0x1p-20);
        return NULL;
    }
    if (alignment == huge_page)
        (void)madvise(memory, rounded, MADV_HUGEPAGE); /* advice: refusal costs only speed */
    memset(memory, 0, rounded);
    *entry = (block){arena->blocks, memory};
    arena->blocks = entry;
    arena->bytes += rounded;
    return memory;
}

void cairn_arena_destroy(cairn_arena *arena) {
    if (!arena)
        return;
    for (block *entry = arena->blocks; entry;) {
        block *next = entry->next;
        free(entry->memory);
        free(entry);
        entry = next;
    }
    free(arena);
}
