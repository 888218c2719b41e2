/* compression.h: answers that are compressed, because they are large and the client accepts that. A worker does it, by
 * the hidden type "result-deflate". If the workers are busy, or it takes too long, the answer goes as it is. Front end; all
 * from the event loop. */
#ifndef OFFLOAD_API_COMPRESSION_H
#define OFFLOAD_API_COMPRESSION_H

#include "server/api/deferred.h"

/* For http_events.compress; arg is the server. The request has a deferred request. */
bool compression_begin(void *arg, struct http_request *r, const char *media_type, const struct slice *body,
                       enum http_coding coding, const char *tag);

#endif
