/* openai.h: OpenAI's API for embeddings, so that its clients work with another base_url: POST /v1/embeddings, GET
 * /v1/models and GET /v1/models/{id}. Front end.
 *
 * A request is a job of the hidden type "openai-embeddings", whose params are the body, and whose result is the answer.
 * It is synchronous, however long it takes, and is never stored. All errors of these routes have OpenAI's shape
 * (openai_error.h). */
#ifndef OFFLOAD_API_OPENAI_H
#define OFFLOAD_API_OPENAI_H

#include "server/api/server.h"

route_handler api_embeddings, api_models, api_model;
/* From http_events.begin: says how the body is to be taken, or rejects it. */
void api_embeddings_begin(struct server *s, struct http_request *r);

#endif
