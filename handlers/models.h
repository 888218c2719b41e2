/* models.h: the embedding models that there are: for the job types that use them, and for handlers/host, which tells the
 * front end. Any process and any thread may call it. */
#ifndef OFFLOAD_MODELS_H
#define OFFLOAD_MODELS_H

#include <stddef.h>
#include <stdint.h>

struct embeddings_model {
    const char *name;
    int64_t created_s; /* when it was released or installed, in seconds since 1970 */
    const char *owner; /* who has made it, or "offload" */
};

/* The default comes first. Lives as long as the process. */
const struct embeddings_model *embeddings_models(size_t *count);

#endif
