/* pool.h: the worker processes, as the front end sees them. The pool knows nothing of jobs: it carries tasks (an opaque
 * pointer each) to workers, and brings back a reply or the news that the worker is lost.
 *
 *     offloadd (front end)
 *       │ fork or posix_spawn, control socket ─────► zygote ──fork──► worker slot 0 .. workers-1      main lane
 *       │                                              │        └──► worker .. + express_workers-1   express lane
 *       │                                              └──fork, exec of itself──► worker of one type, in a main slot
 *       └──────── one SOCK_SEQPACKET per worker, passed by SCM_RIGHTS ─────┘
 *
 *     who            inherits                              ends by
 *     front end      -                                     drain, or a second signal
 *     zygote         control socket, scoreboard, stderr    EOF on the control socket; PDEATHSIG of the front end
 *     worker         its socket, its scoreboard page,      WIRE_EXIT, EOF, PDEATHSIG of the zygote, SIGKILL
 *                    a pipe as stderr
 *
 * The owner of the pool needs this header only. It brings along:
 *
 *     pool_types.h    configuration, events
 *     worker_view.h   questions about a worker
 *     tasks.h         to send tasks, and to stop them
 *     isolation.h     workers that work for one owner alone
 *
 * How it is built. Each module includes and calls only those that are listed below it; all run in the front end:
 *
 *     pool            the slots and the zygotes: which one forks, when the next is started (zygote_start)
 *     life            the processes of a slot, one after the other
 *     receiving       a worker's socket, and the replies from it
 *     isolation       a slot belongs to one owner for a time
 *     tasks           tasks are sent and stopped
 *     held_back       tasks that are held back by a slow one
 *     retiring        a process is asked to leave
 *     stopping        a task does not stop: SIGTERM, SIGKILL
 *     sending         datagrams to a worker, and what waits for its socket
 *     memory_limit    a worker uses too much memory
 *     worker_view     questions about a worker
 *     slot            struct worker, its state machines, its tasks in flight
 *     zygote_link     the control socket to a zygote
 *     stderr_tail, death, scoreboard, wire, blob
 *
 * All functions and callbacks run in the event loop's thread.
 */
#ifndef OFFLOAD_POOL_H
#define OFFLOAD_POOL_H

#include <stddef.h>

#include "base/attributes.h"
#include "base/loop.h"
#include "pool/isolation.h"
#include "pool/pool_types.h"
#include "pool/tasks.h"
#include "pool/worker_view.h"

struct pool;

/* A pool without processes: pool_start starts them. Copies both structs; `events.owner` and `events.arg` are borrowed
 * as long as the pool lives. events: NULL if pool_set_events will be called. NULL with errno. */
MUST_CHECK struct pool *pool_new(struct loop *loop, const struct pool_config *config, const struct pool_events *events);
/* No event comes before the loop runs, so a pool can be started while its owner still opens what the events need. */
void pool_set_events(struct pool *p, const struct pool_events *events);
MUST_CHECK int pool_start(struct pool *p); /* 0, or -1 with errno */
/* Takes the limits from `config`. The numbers of workers stay as they are. */
void pool_configure(struct pool *p, const struct pool_config *config);
/* Starts a new zygote, which loads the handlers anew. When it has loaded, the workers of the old one finish their tasks
 * and are replaced. 0, or -1 with errno. */
MUST_CHECK int pool_reload(struct pool *p);
/* Reaps children of the front end: zygotes, and orphans, because it is a subreaper, see prctl(2). Call on SIGCHLD. */
void pool_reap(struct pool *p);
/* Ends every process and waits for it, which takes some milliseconds. Tasks in flight are forgotten: no event
 * follows. */
void pool_free(struct pool *p);

/* The slots: i is 0 .. pool_size - 1. The pointers are valid as long as the pool lives. */
size_t pool_size(const struct pool *p);
/* What the handlers have counted in all workers (host_counter). It is a hint, as all is that workers say. */
uint64_t pool_counted(const struct pool *p, size_t counter);
size_t pool_owned(const struct pool *p); /* how many of them have an owner */
struct worker *pool_worker(const struct pool *p, size_t i);

#endif
