/* arena.c: see arena.h. Any process. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct arena_piece {
    struct arena_piece *next;
    alignas(max_align_t) unsigned char bytes[];
};

void *arena_take(struct arena *a, size_t size) {
    struct arena_piece *p = size > SIZE_MAX - sizeof *p ? NULL : calloc(1, sizeof *p + size);
    if (p == NULL) {
        a->failed = true;
        return NULL;
    }
    p->next = a->pieces;
    a->pieces = p;
    return p->bytes;
}

char *arena_text(struct arena *a, const char *bytes, size_t size) {
    char *text = arena_take(a, size + 1);
    if (text != NULL && size > 0)
        memcpy(text, bytes, size);
    return text;
}

void arena_deinit(struct arena *a) {
    while (a->pieces != NULL) {
        struct arena_piece *p = a->pieces;
        a->pieces = p->next;
        free(p);
    }
    a->failed = false;
}
