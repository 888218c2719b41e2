/* arena.c: see arena.h. Front end. Not under AddressSanitizer, which could then not see a use after free. */
#include "handlers/host/arena.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define BLOCK_SIZE (32 * 1024)
#define ALIGNMENT  16

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ALLOWED false
#else
#define ARENA_ALLOWED true
#endif

static struct {
    bool open;
    size_t used;
    unsigned live; /* pieces that are not freed */
    _Alignas(ALIGNMENT) unsigned char block[BLOCK_SIZE];
} arena;

static void *take(size_t size) {
    size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (!arena.open || size > BLOCK_SIZE || rounded > BLOCK_SIZE - arena.used)
        return malloc(size);
    void *piece = arena.block + arena.used;
    arena.used += rounded;
    arena.live++;
    return piece;
}

static void give(void *piece) {
    uintptr_t at = (uintptr_t)piece, start = (uintptr_t)arena.block;
    if (at < start || at >= start + BLOCK_SIZE) {
        free(piece);
        return;
    }
    arena.live--;
    if (arena.live == 0)
        arena.used = 0;
}

void arena_install(void) {
    if (ARENA_ALLOWED)
        json_set_alloc_funcs(take, give);
}

void arena_open(void) {
    arena.open = ARENA_ALLOWED;
}

void arena_close(void) {
    arena.open = false;
}
