/* hash384.h: the embedding model "hash-384": signed feature hashing of words, word pairs and character n-grams into 384
 * dimensions. docs/hash-384.md is its specification. The same text gives the same bits on every machine. The model has
 * no tables, and no state but scratch memory. One thread at a time may use it.
 */
#ifndef OFFLOAD_HASH384_H
#define OFFLOAD_HASH384_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HASH384_DIMENSIONS = 384,
    HASH384_MAX_TOKENS = 8192,  /* of one text; what is behind them is not read */
    HASH384_MAX_BYTES = 131072, /* the same */
    /* A text of at most so many bytes is within both limits: no character makes more than two tokens for each of its
     * bytes. */
    HASH384_SURELY_SHORT = HASH384_MAX_TOKENS / 2
};

struct hash384; /* scratch memory and the text that was read last */

struct hash384 *hash384_new(void); /* NULL if memory ran out; the caller frees with hash384_free */
void hash384_free(struct hash384 *m);

struct hash384_extent {
    uint32_t tokens; /* that are read, at most HASH384_MAX_TOKENS */
    bool truncated;  /* the text goes on behind a limit */
};
/* Folds a UTF-8 text (RFC 3629) and splits it into words. 0, or -1 if it is not UTF-8. Borrows the text until it
 * returns. */
int hash384_read(struct hash384 *m, const char *text, size_t size, struct hash384_extent *extent);
/* Writes the first `dimensions` components of the vector of the text that was read last. With `normalize` they are
 * scaled to length 1, otherwise they are the plain sums. */
void hash384_embed(struct hash384 *m, size_t dimensions, bool normalize, float *vector);

#endif
