/* Arena allocation: a linked list of aligned blocks. */
#include "cairn/arena.h"

#include "cairn/memory.h"
#include "cairn/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct block {
    struct block *next;
    void *memory; /* as malloc's family gave it */
} block;

struct cairn_arena {
    block *blocks;
    size_t bytes; /* of all blocks */
    size_t room;  /* what there was for them before the first that counts; 0: none does yet */
};

static const size_t huge_page = (size_t)2 << 20, large = (size_t)64 << 20;

cairn_arena *cairn_arena_create(void) {
    return calloc(1, sizeof(cairn_arena));
}

/* Linux promises memory that it does not have and kills who then uses it. So all that is asked for,
 * used or not yet, is held against what there was at first: a plan that does not fit as a whole is
 * refused before it fills the machine. */
static bool fits(cairn_arena *arena, size_t bytes) {
    if (arena->bytes < large && bytes < large - arena->bytes)
        return true;
    const size_t available = cairn_memory_available();
    if (arena->room == 0)
        arena->room = available < SIZE_MAX - arena->bytes ? available + arena->bytes : SIZE_MAX;
    return bytes <= available && bytes <= arena->room && arena->bytes <= arena->room - bytes;
}

/* Zeroed; *whole is what to free. Of a large one the kernel makes the pages, as zeros, when they
 * are used. Whether pages are to be huge is said before the first is. */
static void *allocate(size_t bytes, size_t alignment, void **whole) {
    *whole = bytes < large ? aligned_alloc(alignment, bytes) : calloc(1, bytes + alignment);
    if (!*whole)
        return NULL;
    const uintptr_t begin = (uintptr_t)*whole;
    void *memory = (char *)*whole + (alignment - begin % alignment) % alignment;
    if (alignment == huge_page)
        (void)madvise(memory, bytes, MADV_HUGEPAGE); /* advice: refusal costs only speed */
    return bytes < large ? memset(memory, 0, bytes) : memory;
}

void *cairn_arena_alloc(cairn_arena *arena, size_t bytes) {
    const size_t alignment = bytes >= huge_page ? huge_page : 64;
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    bool possible = rounded >= bytes && rounded <= SIZE_MAX - huge_page && fits(arena, rounded);
    if (rounded == 0)
        rounded = alignment;
    block *entry = malloc(sizeof *entry);
    void *whole = NULL, *memory = entry && possible ? allocate(rounded, alignment, &whole) : NULL;
    if (!memory) {
        free(entry);
        cairn_error_set(
            CAIRN_FAILED,
            "out of memory: a buffer of %.1f MiB is asked for, %.1f MiB are held already; "
            "a smaller train.batch_size needs less",
            (double)bytes * 0x1p-20, (double)arena->bytes * 0x1p-20);
        return NULL;
    }
    *entry = (block){arena->blocks, whole};
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
