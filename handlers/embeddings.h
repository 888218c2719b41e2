/* embeddings.h: what the job types that embed texts have in common: "embeddings" and, for OpenAI's API,
 * "openai-embeddings". They differ in their parameters and in how the result is written. For these handlers only. */
#ifndef OFFLOAD_EMBEDDINGS_H
#define OFFLOAD_EMBEDDINGS_H

#include "handlers/handler.h"

enum embeddings_encoding { EMBEDDINGS_FLOAT, EMBEDDINGS_BASE64 };
#define EMBEDDINGS_ENCODINGS                                                                                           \
    { "float", "base64", NULL } /* choices of a PARAM_ENUM, in that order */

/* What a client asks for. The texts are the parameter "input". */
struct embeddings_request {
    const char *model; /* not an empty one; borrowed for the call */
    size_t model_size;
    enum call_error
        unknown_model;  /* how a call fails that names none there is, at "/model": CALL_INVALID or _NOT_FOUND */
    int64_t dimensions; /* 0: those of the model */
    enum embeddings_encoding encoding;
    bool normalize, truncate;
    size_t max_texts;
    uint64_t max_tokens; /* of all texts together; 0: any number */
};

/* Checks the request, and plans it. 0, or -1 after call_fail. */
int embeddings_plan_request(struct call *c, const struct params *p, const struct embeddings_request *request);
/* The run of both handlers. */
int embeddings_run(struct call *c, struct bytes common, struct bytes chunk);

/* The name of the model, NUL-terminated, and the dimensions that a merge has to write; NULL after call_fail. */
const char *embeddings_merge_model(struct call *c, struct bytes common, uint32_t *dimensions);
/* Writes the vectors in the order of the texts: each as an array of numbers or as a string in base64, between a call of
 * `before` and one of `after`; both may be NULL. Adds the tokens of all texts to *tokens. 0, or -1 after call_fail or
 * call_cancelled. */
int embeddings_write(struct call *c, struct bytes common, const struct bytes *parts, size_t count,
                     void (*before)(struct call *c, size_t index), void (*after)(struct call *c), uint64_t *tokens);
/* Writes the member "usage". */
void embeddings_write_usage(struct call *c, uint64_t tokens);

#endif
