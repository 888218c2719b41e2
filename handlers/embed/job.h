/* job.h: what plan, run and merge of the type "embeddings" tell each other.
 *
 *     common   struct embed_settings
 *     chunk    for each text: struct embed_text, and then its ids, 4 bytes each; hash-384: its UTF-8, padded to 4 bytes
 *     part     for each text: struct embed_row, and then its vector: `dimensions` floats
 *
 * A plan puts the texts into another order, so each of them has its place in the input. */
#ifndef OFFLOAD_EMBED_JOB_H
#define OFFLOAD_EMBED_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "handlers/embed/models.h"
#include "handlers/handler.h"

enum embeddings_encoding { EMBEDDINGS_FLOAT, EMBEDDINGS_BASE64, EMBEDDINGS_NPY };
#define EMBEDDINGS_ENCODINGS                                                                                           \
    { "float", "base64", NULL } /* choices of a PARAM_ENUM, in that order */

struct embed_settings {
    char model[MODEL_NAME]; /* its name: after a restart its place in the list can be another */
    uint32_t texts, dimensions;
    uint32_t encoding; /* enum embeddings_encoding */
    uint32_t normalize;
};

struct embed_text {
    uint32_t place;
    uint32_t tokens; /* of the whole text: it can have been cut; hash-384: not known yet */
    uint32_t size;   /* ids, or bytes */
};

struct embed_row {
    uint32_t place, tokens;
};

enum {
    EMBED_CALL_TOKENS = 1024, /* of a call of the encoder: with more its memory no longer stays in the caches */
};

enum embed_counter { EMBED_TOKENS, EMBED_TEXTS, EMBED_TRUNCATED, EMBED_CALLS }; /* as in embeddings_counters */

/* How many tokens a chunk of this model has that takes HANDLER_CHUNK_NS. */
uint32_t embed_chunk_tokens(const struct embed_model *m);

/* The settings and the model of a job. NULL after call_fail: the bytes are damaged, or the model is gone. */
const struct embed_model *embed_settings_read(struct call *c, struct bytes common, struct embed_settings *to);

/* Takes the next text and its bytes from the rest of a chunk. False if it does not begin with one. */
bool embed_next_text(const struct embed_model *m, struct bytes *rest, struct embed_text *text, struct bytes *bytes);

#endif
