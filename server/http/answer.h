/* answer.h: gives an answer of any kind to libmicrohttpd, with its headers. For this room only; handlers call what
 * http.h has. Event loop's thread. */
#ifndef OFFLOAD_HTTP_ANSWER_H
#define OFFLOAD_HTTP_ANSWER_H

#include "server/http/request.h"

/* Adds the headers, and answers the request. Takes the response. NULL: there was no memory for it, and the answer
 * says so. */
void http_queue_answer(struct http_request *r, unsigned status, const char *media_type, struct MHD_Response *response);
/* The answer to a request for whose answer there is no memory. NULL: there is none for this one either. */
MUST_CHECK struct MHD_Response *http_no_memory_response(void);
/* True: only the head of the answer is sent. */
bool http_is_head(const struct http_request *r);
/* For HEAD: stands for a body whose size is not known before it is made. No byte of it is sent. NULL if memory ran
 * out. */
struct MHD_Response *http_head_response(void);
/* Answers a rejected request with its problem. */
void http_answer_rejection(struct http_request *r);

#endif
