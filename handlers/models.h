/* models.h: the embedding models that there are: for the job types that use them, and for handlers/host, which tells the
 * front end. They are hash-384, and a folder of HANDLER_MODEL_DIR each. One thread of any process may call it. */
#ifndef OFFLOAD_MODELS_H
#define OFFLOAD_MODELS_H

#include <stddef.h>
#include <stdint.h>

struct embeddings_model {
    const char *name;
    int64_t created_s; /* when it was released or installed, in seconds since 1970 */
    const char *owner; /* who has made it, or "offload" */
    /* How it calculates: "fx16", "fx16 avx2". NULL: hash-384, and in processes that have not loaded it. */
    const char *precision, *kernel;
};

/* Looks at the folders anew: before, there is hash-384 alone. 0, or -1 with errno (E2BIG: there are too many); then some
 * may be missing. */
int embeddings_find_models(void);
/* Tells the name of each folder that is no model: it has neither a config.json nor a modules.json. */
void embeddings_skipped(void (*tell)(const char *name));
/* The default comes first. The list and its names live until the folders are looked at anew. */
const struct embeddings_model *embeddings_models(size_t *count);

#endif
