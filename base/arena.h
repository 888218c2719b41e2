/* arena.h: many small pieces of memory that are freed together. Any process; not thread-safe.
 *
 *     struct arena a = {0};
 *     char *name = arena_text(&a, bytes, size);
 *     if (a.failed) ...
 *     arena_deinit(&a);
 */
#ifndef OFFLOAD_ARENA_H
#define OFFLOAD_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena {
    struct arena_piece *pieces;
    bool failed; /* memory ran out: look at it once, at the end */
};

/* Zeroed memory, aligned for any type; NULL if memory ran out. */
void *arena_take(struct arena *a, size_t size);
/* A copy of the bytes, with a NUL behind it; NULL if memory ran out. */
char *arena_text(struct arena *a, const char *bytes, size_t size);
void arena_deinit(struct arena *a); /* the arena is empty and usable again */

#endif
