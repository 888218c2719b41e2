/* request_id.h: the X-Request-Id, by which a request is found in logs. It is the client's if that is a good one, and
 * ours otherwise. */
#ifndef OFFLOAD_HTTP_REQUEST_ID_H
#define OFFLOAD_HTTP_REQUEST_ID_H

#define HTTP_ID_SIZE 33 /* with the NUL */

/* Writes the id of a request. `given` is the id that the client has sent, or NULL. */
void http_id_make(char id[HTTP_ID_SIZE], const char *given);

#endif
