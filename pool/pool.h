/* pool.h: the worker processes, as the front end sees them. The pool knows nothing of jobs: it carries tasks (an opaque
 * pointer each) to workers, and brings back a reply or the news that the worker is lost.
 *
 *     offloadd (front end)
 *       │ posix_spawn of itself, control socket ──► zygote ──fork──► worker slot 0 .. workers-1      main lane
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
 *     worker_view.h   what can be seen of a worker
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
 *     retiring        a process is asked to leave
 *     stopping        a task does not stop: SIGTERM, SIGKILL
 *     sending         datagrams to a worker, and what waits for its socket
 *     memory_limit    a worker uses too much memory
 *     worker_view     questions about a worker
 *     slot            struct worker, its state machines, its tasks in flight
 *     zygote_link     the control socket to a zygote
 *     stderr_tail, death, scoreboard, wire, blob
 *
 * All functions and callbacks: the event loop's thread.
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

/* NULL with errno. Nothing runs before pool_start. Copies both structs. */
MUST_CHECK struct pool *pool_new(struct loop *loop, const struct pool_config *config, const struct pool_events *events);
MUST_CHECK int pool_start(struct pool *p); /* 0, or -1 with errno */
/* Takes over changed limits; the numbers of workers stay. */
void pool_configure(struct pool *p, const struct pool_config *config);
/* Starts a new zygote, and so new handlers; when it has loaded, the workers of the old one finish what they do and are
 * replaced. 0, or -1 with errno. */
MUST_CHECK int pool_reload(struct pool *p);
/* Reaps children of the front end: zygotes, and orphans, for it is a subreaper. Call on SIGCHLD. */
void pool_reap(struct pool *p);
/* Ends every process and waits for them, some milliseconds. Tasks in flight are forgotten without a word. */
void pool_free(struct pool *p);

/* The slots; pointers stay valid as long as the pool. */
size_t pool_size(const struct pool *p);
struct worker *pool_worker(const struct pool *p, size_t i);

#endif
