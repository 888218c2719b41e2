/* embeddings.h: what the job types that embed texts have in common: "embeddings" and, for OpenAI's API,
 * "openai-embeddings". They differ in their parameters and in how the result is written. For these handlers only. */
#ifndef OFFLOAD_EMBEDDINGS_H
#define OFFLOAD_EMBEDDINGS_H

#include "handlers/embed/job.h"

/* What a client asks for. The texts are the parameter "input". */
struct embeddings_request {
    const char *model; /* borrowed for the call; NULL: the default */
    size_t model_size;
    enum call_error
        unknown_model;  /* how a call fails that names none there is, at "/model": CALL_INVALID or _NOT_FOUND */
    int64_t dimensions; /* 0: those of the model */
    enum embeddings_encoding encoding;
    enum {
        NORMALIZE_AS_MODEL,
        NORMALIZE_NEVER,
        NORMALIZE_ALWAYS
    } normalize; /* the first: as the model's files have it */
    bool truncate;
    bool can_truncate; /* there is a parameter for that */
    size_t max_texts;
    uint64_t max_tokens; /* of all texts together; 0: any number */
};

/* Checks the request, and plans it. 0, or -1 after call_fail. */
int embeddings_plan_request(struct call *c, const struct params *p, const struct embeddings_request *request);
/* What both count (call_count). */
extern const struct handler_counter embeddings_counters[];

#endif
