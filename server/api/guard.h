/* guard.h: lets requests in: by their key, certificate or user, what these may do, and what they may use. Front end.
 *
 *     the head ──► who? ──► may it? ──► has it any left? ──► the route
 *                   └─ 401   └─ 403      └─ 429
 *
 * Without keys and certificates all are let in, and nobody has a name. */
#ifndef OFFLOAD_API_GUARD_H
#define OFFLOAD_API_GUARD_H

#include "server/api/server.h"

/* From `begin`, before anything else is done with the request. submits: it is to make a job. False: it is rejected. */
bool guard_begin(struct server *s, struct http_request *r, enum access_scope scope, bool submits);
/* From `more`: counts what has come of a body that did not say how long it is. It can be rejected. */
void guard_more(struct server *s, struct http_request *r, size_t size);
/* From `done`: what was announced and has not come does not count. */
void guard_done(struct http_request *r);
/* Before a job is made for it: the jobs and the CPU time of its caller, who is NULL without keys. False: it is answered 429.
 * r: NULL if it is gone. */
bool guard_admits_job(struct server *s, struct caller *c, struct http_request *r);

/* The name that its jobs and its Idempotency-Keys belong to. NULL: there are no keys. */
const char *guard_tenant(const struct http_request *r);
/* Whose jobs it sees: jobs_find has what that means. */
const char *guard_view(const struct http_request *r);

void guard_write_metrics(struct server *s, struct buf *out);

#endif
