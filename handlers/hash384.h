/* hash384.h: the embedding model "hash-384", specified in docs/hash-384.md: signed feature hashing of
 * words, word pairs and character n-grams into 384 dimensions. The same text gives the same bits on
 * every machine. No tables, no state but scratch memory; a model is used by one thread at a time.
 */
#ifndef OFFLOAD_HASH384_H
#define OFFLOAD_HASH384_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HASH384_DIMENSIONS = 384,
    HASH384_MAX_TOKENS = 8192,  /* of one text: what is behind them is not looked at */
    HASH384_MAX_BYTES = 131072, /* likewise */
    /* A text of at most this many bytes is within both limits: no character has more than two tokens a byte. */
    HASH384_SURELY_SHORT = HASH384_MAX_TOKENS / 2
};

struct hash384; /* scratch memory and the text that was read last */

struct hash384 *hash384_new(void); /* NULL when memory runs out; caller frees with hash384_free */
void hash384_free(struct hash384 *m);

struct hash384_extent {
    uint32_t tokens; /* that count: at most HASH384_MAX_TOKENS */
    bool truncated;  /* the text went on behind a limit */
};
/* Folds a UTF-8 text and splits it into words. 0, or -1: it is not UTF-8. */
int hash384_read(struct hash384 *m, const char *text, size_t size, struct hash384_extent *extent);
/* Writes the first `dimensions` components of the vector of the text that was read last: of unit length, or
 * the plain sums. */
void hash384_embed(struct hash384 *m, size_t dimensions, bool normalize, float *vector);

#endif
