/* coding.h: bodies of requests that are compressed (Content-Encoding; RFC 9110, section 8.4): gzip, deflate or zstd. A
 * worker inflates them, by the hidden type "body-inflate", so the event loop never does. Front end; all from the event
 * loop. */
#ifndef OFFLOAD_API_CODING_H
#define OFFLOAD_API_CODING_H

#include "server/api/deferred.h"

/* Inflates the only data part of the request, and keeps the bytes in d->upload->inflated. Then it calls `ready`. It does
 * not if the body is wrong, for then the request is answered; nor if the client leaves meanwhile. */
void coding_inflate(struct deferred_request *d, enum coding coding, void (*ready)(struct deferred_request *d));

#endif
