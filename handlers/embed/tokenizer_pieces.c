/* tokenizer_pieces.c: a vocabulary of WordPiece, as a hash table with open addressing. It is made in the zygote, and
 * read in workers.
 *
 * The hash takes one byte after the other, so one pass over the bytes gives that of each beginning, and the longest is
 * looked up first. First and inner pieces are in one table, with hashes that begin differently. */
#include "handlers/embed/tokenizer_pieces.h"

#include <string.h>

#include "handlers/embed/tokenizer_text.h"

#define PIECE_FREE  UINT32_MAX
#define PIECE_INNER (UINT32_C(1) << 31)

static uint64_t hash_begin(bool inner) {
    return inner ? UINT64_C(0x9ae16a3b2f90404f) : UINT64_C(0xcbf29ce484222325);
}

static uint64_t hash_byte(uint64_t h, uint8_t byte) {
    return (h ^ byte) * UINT64_C(0x100000001b3);
}

/* The low bits choose the slot, and the high ones are compared. */
static uint64_t hash_end(uint64_t h) {
    h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

size_t pieces_slots(uint32_t count) {
    size_t slots = 16;
    while (slots < (size_t)count * 4) /* twice for each token: it can be a first piece and an inner one */
        slots *= 2;
    return slots;
}

static void insert(struct pieces *p, uint32_t id, bool inner) {
    uint32_t from = p->starts[id] + (inner ? p->prefix : 0), size = p->starts[id + 1] - from;
    uint64_t h = hash_begin(inner);
    for (uint32_t i = 0; i < size; i++)
        h = hash_byte(h, (uint8_t)p->bytes[from + i]);
    h = hash_end(h);
    uint64_t at = h & p->mask;
    while (p->slots[at].id != PIECE_FREE)
        at = (at + 1) & p->mask;
    p->slots[at] = (struct piece_slot){.hash = (uint32_t)(h >> 32), .id = id | (inner ? PIECE_INNER : 0)};
    if (p->longest[inner] < size)
        p->longest[inner] = size;
}

void pieces_init(struct pieces *p, struct piece_slot *slots, const char *bytes, const uint32_t *starts, uint32_t count,
                 const char *prefix, uint32_t prefix_size) {
    size_t room = pieces_slots(count);
    *p = (struct pieces){.slots = slots, .mask = room - 1, .bytes = bytes, .starts = starts, .prefix = prefix_size};
    memset(slots, 0xff, room * sizeof *slots);
    for (uint32_t id = 0; id < count; id++) {
        uint32_t size = starts[id + 1] - starts[id];
        insert(p, id, false);
        if (size >= prefix_size && memcmp(bytes + starts[id], prefix, prefix_size) == 0)
            insert(p, id, true);
    }
}

static bool find(const struct pieces *p, uint64_t h, const uint8_t *bytes, size_t size, bool inner, uint32_t *id) {
    h = hash_end(h);
    for (uint64_t at = h & p->mask; p->slots[at].id != PIECE_FREE; at = (at + 1) & p->mask) {
        if (p->slots[at].hash != (uint32_t)(h >> 32) || (p->slots[at].id & PIECE_INNER) != (inner ? PIECE_INNER : 0))
            continue;
        uint32_t found = p->slots[at].id & ~PIECE_INNER, from = p->starts[found] + (inner ? p->prefix : 0);
        if (p->starts[found + 1] - from == size && memcmp(p->bytes + from, bytes, size) == 0) {
            *id = found;
            return true;
        }
    }
    return false;
}

/* A token is whole characters, and so are the bytes: one that is found never ends within a character. */
size_t pieces_longest(const struct pieces *p, const uint8_t *bytes, size_t size, bool inner, uint32_t *id) {
    uint64_t hashes[4 * TOKENIZER_MAX_CHARACTERS];
    size_t n = size < p->longest[inner] ? size : p->longest[inner];
    uint64_t h = hash_begin(inner);
    for (size_t i = 0; i < n; i++)
        hashes[i] = h = hash_byte(h, bytes[i]);
    while (n > 0 && !find(p, hashes[n - 1], bytes, n, inner, id))
        n--;
    return n;
}
