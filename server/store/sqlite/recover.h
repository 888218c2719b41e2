/* recover.h: reads the jobs that had not ended when the last process ended. Front end, at the start, while the store
 * thread is suspended. */
#ifndef OFFLOAD_STORE_RECOVER_H
#define OFFLOAD_STORE_RECOVER_H

#include "server/store/sqlite/statement.h"

/* Reports open jobs, their chunks, and webhooks; see struct store_recovery. If the database turns out to be corrupt, it
 * is set aside and an empty one takes its place. 0, or -1 if it cannot be read (it logs why). */
MUST_CHECK int recover_all(struct sql *s, const struct store_recovery *to);

#endif
