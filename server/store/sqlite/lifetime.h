/* lifetime.h: how far a job is, as the tables say, and how it leaves them. Within a transaction; store thread, and the
 * front end while it opens or recovers the store. */
#ifndef OFFLOAD_STORE_LIFETIME_H
#define OFFLOAD_STORE_LIFETIME_H

#include "server/store/sqlite/statement.h"

enum stage { STAGE_ABSENT, STAGE_OPEN, STAGE_ENDED, STAGE_BURIED };

struct lifetime {
    enum stage stage;
    uint64_t bytes; /* what it counts against max_ended_bytes; open or ended */
    int64_t ttl_ms; /* open or ended */
};

struct lifetime lifetime_read(struct sql *s, const struct id *job);
bool lifetime_is_buried(struct sql *s, const struct id *job);

/* Drops the files of those roles, from `from` to `to`, with their rows; they are removed after the commit. */
void lifetime_drop_files(struct sql *s, const struct id *job, enum file_role from, enum file_role to);
/* Drops the plan, and the chunks made by it: the job is planned again. */
void lifetime_drop_plan(struct sql *s, const struct id *job);
/* Drops what only an open job has: request, plan and chunks. */
void lifetime_drop_work(struct sql *s, const struct id *job);

/* An open or ended job becomes a tombstone for one more TTL. Returns when that expires (wall clock); 0: the job was
 * neither open nor ended, and nothing was done. */
int64_t lifetime_bury(struct sql *s, const struct id *job, int64_t now_ms);

/* When the first job, tombstone or key expires (wall clock); 0: nothing does. */
int64_t lifetime_next_due_ms(struct sql *s);

#endif
