/* parts.h: the data parts of a request: the whole body, or the fields "data" of a form (multipart/form-data, RFC 7578),
 * which libmicrohttpd takes apart while it comes. For this room only. Event loop's thread.
 *
 *     a small part (up to 32 KiB)      on the heap
 *     a larger one                     in a memfd, which is sealed against a change of its size when it is whole
 *     the same, http_spool_to_files    in a file without a name (O_TMPFILE of open(2)): if the process dies, it is gone
 *
 * Each byte is written once, as it arrives. */
#ifndef OFFLOAD_HTTP_PARTS_H
#define OFFLOAD_HTTP_PARTS_H

#include "server/http/parts_state.h"
#include "server/http/request.h"

/* True: the large ones of its parts are files. */
bool http_parts_go_to_files(const struct http_request *r);
/* Bytes of the body have come. The text of a form goes to r->body and r->spool_fd, as other texts do. */
struct parts_fault http_parts_take(struct http_request *r, const char *bytes, size_t size);
/* The whole body has come. */
struct parts_fault http_parts_end(struct http_request *r);

#endif
