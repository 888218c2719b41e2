/* models.h: the models of the type "embeddings": hash-384, which is built in, and those of the folders below
 * HANDLER_MODEL_DIR. They are loaded in the zygote, once; its workers share their pages. */
#ifndef OFFLOAD_EMBED_MODELS_H
#define OFFLOAD_EMBED_MODELS_H

#include <stddef.h>
#include <stdint.h>

#include "handlers/embed/encoder.h"
#include "handlers/embed/model.h"

enum { MODELS_MAX = 32 }; /* hash-384 is the first of them */

struct embed_model {
    const char *name;
    uint32_t dimensions;
    uint64_t call_cost_ns, unit_cost_ns; /* of a call of the encoder or a text, and of each token or byte beside that */
    /* NULL: this is hash-384. */
    const struct model *files;
    const struct encoder *encoder;
};

/* Loads all of them, with the precision HANDLER_EMBEDDINGS_PRECISION, and measures what they cost. 0, or -1 after a line
 * on stderr, which says what cannot be served and why. */
int models_load(void);

/* NULL: there is none of that name. */
const struct embed_model *models_find(const char *name, size_t size);
/* all-MiniLM-L6-v2 if it is there, else the first folder, else hash-384. */
const struct embed_model *models_default(void);

#endif
