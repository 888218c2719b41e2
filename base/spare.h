/* spare.h: freed structs of one size, kept for the next ones. What is made and freed for each request comes in batches,
 * for which the allocator's own lists are too short: then it merges and splits free memory all the time. Any process; a
 * list belongs to one thread, so make it _Thread_local if the struct can be freed by another one. */
#ifndef OFFLOAD_SPARE_H
#define OFFLOAD_SPARE_H

#include <stdlib.h>
#include <string.h>

/* With AddressSanitizer nothing is kept, so that it sees every use after free. */
#ifdef __SANITIZE_ADDRESS__
#define SPARE_MAX 0
#else
#define SPARE_MAX 64
#endif

struct spare {
    void *first; /* each begins with a pointer to the next one */
    unsigned count;
};

/* size: of the struct, always the same for a list. All zeros; NULL if memory ran out. */
static inline void *spare_take(struct spare *s, size_t size) {
    void *p = s->first;
    if (p == NULL)
        return calloc(1, size);
    memcpy(&s->first, p, sizeof s->first);
    s->count--;
    memset(p, 0, size);
    return p;
}

static inline void spare_give(struct spare *s, void *p) {
    if (p == NULL || s->count + 1 > SPARE_MAX) {
        free(p);
        return;
    }
    memcpy(p, &s->first, sizeof s->first);
    s->first = p;
    s->count++;
}

#endif
