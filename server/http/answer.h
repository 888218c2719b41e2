/* answer.h: answers of any kind get their headers here. For this room; what handlers call is in http.h. */
#ifndef OFFLOAD_HTTP_ANSWER_H
#define OFFLOAD_HTTP_ANSWER_H

#include "server/http/request.h"

/* Adds the headers, and answers the request. The response is taken; NULL: there was no memory for it, and the request
 * is dropped. */
void http_queue_answer(struct http_request *r, unsigned status, const char *media_type, struct MHD_Response *response);
/* Answers a rejected request with its problem. */
void http_answer_rejection(struct http_request *r);

#endif
