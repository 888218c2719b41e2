/* request_id.h: X-Request-Id, by which a request is found in logs: the client's if it is a good one, else ours. */
#ifndef OFFLOAD_HTTP_REQUEST_ID_H
#define OFFLOAD_HTTP_REQUEST_ID_H

#define HTTP_ID_SIZE 33 /* with the NUL */

/* Writes the id for a request whose client gave this one, or none (NULL). */
void http_id_make(char id[HTTP_ID_SIZE], const char *given);

#endif
