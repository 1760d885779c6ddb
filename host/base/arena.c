/* Arena allocation: a linked list of aligned blocks. */
#include "cairn/arena.h"

#include "cairn/status.h"

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

void *cairn_arena_alloc(cairn_arena *arena, size_t bytes) {
    const size_t huge_page = (size_t)2 << 20;
    size_t alignment = bytes >= huge_page ? huge_page : 64;
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    block *entry = malloc(sizeof *entry);
    void *memory = rounded < bytes ? NULL : aligned_alloc(alignment, rounded ? rounded : alignment);
    if (!entry || !memory) {
        free(entry);
        free(memory);
        cairn_error_set(CAIRN_FAILED, "out of memory: %zu bytes asked, %zu held", bytes,
                        arena->bytes);
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

size_t cairn_arena_bytes(const cairn_arena *arena) {
    return arena->bytes;
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
