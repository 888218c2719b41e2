/* ndjson.h: the items of a map as application/x-ndjson. There is a line for each item when it is finished,
 * {"index":i,"status":...,"result" or "error":...}. The last line is {"summary":{"total":n,"succeeded":a,"failed":b}},
 * or {"error":{problem}} if the job itself failed. A stream that was cut off has no last line. Front end; all from the
 * event loop.
 *
 * A reader has its place in the job's history, and no copy of anything. While more than --stream-buffer is finished
 * and not taken by the reader, the job is throttled, so a slow reader slows its job down.
 */
#ifndef OFFLOAD_NDJSON_H
#define OFFLOAD_NDJSON_H

#include <stdbool.h>

#include "base/attributes.h"
#include "server/api/answers.h"

#define NDJSON_TYPE "application/x-ndjson"

/* True if the client prefers this type to JSON, by its Accept (RFC 9110, section 12.5.1). */
bool ndjson_is_wanted(struct http_request *r);

/* Answers with the items of a live map that is planned. If the client leaves before the end, the job is cancelled,
 * unless `keep`. False: out of memory, and the request is not answered. */
MUST_CHECK bool ndjson_from_job(struct server *s, struct http_request *r, struct job *job,
                                const struct answer_terms *terms, bool keep);
/* The same of one that has ended, in the order of its items. Takes a reference to the record. */
MUST_CHECK bool ndjson_from_record(struct server *s, struct http_request *r, struct record *record,
                                   const struct answer_terms *terms);

#endif
