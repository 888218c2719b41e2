/* ndjson.h: a map job's items as application/x-ndjson: a line for each as it is finished, {"index":i,"status":...,"result" or
 * "error":...}, and at last {"summary":{"total":n,"succeeded":a,"failed":b}}, or {"error":{problem}} if the job itself
 * failed: a stream that was cut has neither. Front end.
 *
 * A reader has its place in the job's history, and no copy of anything. While more than --stream-buffer is finished and not yet
 * taken the job is throttled, so a slow reader slows its job down.
 */
#ifndef OFFLOAD_NDJSON_H
#define OFFLOAD_NDJSON_H

#include <stdbool.h>

#include "base/attributes.h"
#include "server/api/answers.h"

#define NDJSON_TYPE "application/x-ndjson"

/* True if the request would rather have this type than JSON. */
bool ndjson_is_wanted(struct http_request *r);

/* Answers with the items of a live map job that is planned. A client that leaves before the end cancels it, unless `keep`.
 * False: out of memory, nothing was answered. */
MUST_CHECK bool ndjson_from_job(struct server *s, struct http_request *r, struct job *job,
                                const struct answer_terms *terms, bool keep);
/* The same of one that has ended, in the order of its items; takes a reference. */
MUST_CHECK bool ndjson_from_record(struct server *s, struct http_request *r, struct record *record,
                                   const struct answer_terms *terms);

#endif
