/* An arena: many allocations, one owner, freed together. Executors take every buffer from one. */
#ifndef CAIRN_ARENA_H
#define CAIRN_ARENA_H

#include <stddef.h>

typedef struct cairn_arena cairn_arena;

/* NULL when memory is short. */
cairn_arena *cairn_arena_create(void);

/* `bytes` zeroed bytes, aligned to 64 (to 2 MiB, and on huge pages where the kernel has them, when
 * larger than that). Owned by the arena. NULL, with the error text set, when memory is short: for
 * all that the arena holds together, of which large buffers take none before they are used. */
void *cairn_arena_alloc(cairn_arena *arena, size_t bytes);

/* Frees everything; NULL is allowed. */
void cairn_arena_destroy(cairn_arena *arena);

#endif
