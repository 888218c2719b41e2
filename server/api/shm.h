/* shm.h: shared memory of a client, which a request names (shm_overview(7)). Front end. */
#ifndef OFFLOAD_API_SHM_H
#define OFFLOAD_API_SHM_H

#include "handlers/host/host.h"
#include "server/http/http.h"

/* Opens the object that the extra names, with the rights of the client at the other end of the Unix socket: the owner,
 * group and mode of the object must let it read. Its supplementary groups do not count. *own: a worker shall write to it;
 * afterwards: it can, because the client may, too. *out is the piece that is meant, with one reference; its blob is NULL if
 * memory ran out. NULL, or what is wrong, for the client. */
MUST_CHECK const char *shm_take(const struct http_request *r, const struct host_extra *e, struct slice *out, bool *own);

#endif
