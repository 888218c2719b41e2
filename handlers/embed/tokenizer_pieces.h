/* tokenizer_pieces.h: a vocabulary of WordPiece: which token is the longest that a word begins with. For tokenizer.c. */
#ifndef OFFLOAD_EMBED_TOKENIZER_PIECES_H
#define OFFLOAD_EMBED_TOKENIZER_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A token as it stands in the file. */
struct tokenizer_token {
    const char *bytes; /* UTF-8; NULL: none has this id yet */
    uint32_t size;
};

struct piece_slot {
    uint32_t hash; /* half of it */
    uint32_t id;   /* PIECE_FREE, or with PIECE_INNER */
};

/* Does not change after pieces_init. */
struct pieces {
    struct piece_slot *slots; /* open addressing; at most half of them are taken */
    uint64_t mask;
    const char *bytes;      /* of all tokens, one after the other */
    const uint32_t *starts; /* where each begins; one more at the end */
    uint32_t prefix;        /* bytes of "##" */
    uint32_t longest[2];    /* bytes of the longest piece at the beginning of a word, and of the longest inner one */
};

/* How many slots such a vocabulary needs. */
size_t pieces_slots(uint32_t count);

/* `slots` are pieces_slots(count) of them. Borrows all of it. A token that begins with the prefix can be an inner piece;
 * every token can be the first one. */
void pieces_init(struct pieces *p, struct piece_slot *slots, const char *bytes, const uint32_t *starts, uint32_t count,
                 const char *prefix, uint32_t prefix_size);

/* The longest token that the bytes begin with; `inner`: one with the prefix, which does not count. Returns its bytes, and
 * its id in *id; or 0: there is none. */
size_t pieces_longest(const struct pieces *p, const uint8_t *bytes, size_t size, bool inner, uint32_t *id);

#endif
