/* lifetime.h: the stage of a job, as the tables show it, and how a job leaves the tables. Within a transaction. Store
 * thread; the front end while it opens or recovers the store, or when that thread has ended. Errors stay in the struct
 * sql (statement.h). */
#ifndef OFFLOAD_STORE_LIFETIME_H
#define OFFLOAD_STORE_LIFETIME_H

#include "server/store/sqlite/statement.h"

/* The diagram is in lifetime.c. */
enum stage { STAGE_ABSENT, STAGE_OPEN, STAGE_ENDED, STAGE_BURIED };

struct lifetime {
    enum stage stage;
    /* 0 unless the job is open or has ended: */
    uint64_t bytes; /* what it counts against max_ended_bytes */
    int64_t ttl_ms;
    bool binary; /* its result is not JSON */
};

struct lifetime lifetime_read(struct sql *s, const struct id *job);
bool lifetime_is_buried(struct sql *s, const struct id *job);
/* Whether the job, which can be buried, is of that tenant. NULL: who sees all jobs. */
bool lifetime_is_seen(struct sql *s, const struct id *job, const char *tenant);

/* Drops the job's files of the roles `from` to `to`, and their rows. The files are removed after the commit. */
void lifetime_drop_files(struct sql *s, const struct id *job, enum file_role from, enum file_role to);
/* Drops the plan and what was made of its chunks, so that the job is planned again. What was lost stays lost. */
void lifetime_drop_plan(struct sql *s, const struct id *job);
/* Drops what only an open job has: its request, plan and chunks. */
void lifetime_drop_work(struct sql *s, const struct id *job);

/* Makes a tombstone of an open or ended job, for one more TTL. Returns when the tombstone expires (wall clock); 0: the
 * job was neither open nor ended, and nothing was done. */
int64_t lifetime_bury(struct sql *s, const struct id *job, int64_t now_ms);

/* When the next job, tombstone or key expires (wall clock); 0: nothing will expire. */
int64_t lifetime_next_due_ms(struct sql *s);

#endif
