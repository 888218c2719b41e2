/* zygote_link.h: the front end's end of the control socket to one zygote. It sends requests, and passes the zygote's
 * reports to its owner. A slot is only a number here. Front end; the event loop's thread.
 *
 *     open ──► LOADING ──┬──► LOADED ──┐
 *                 │      │             │     LOADING → LOADED   [report LOADED]        loaded
 *                 │      └──► FAILED ──┤     LOADING → FAILED   [report LOAD_FAILED]   load_failed
 *                 │                    │     any → LOST         [EOF, bad datagram]    lost
 *                 └────────────────────┴──► LOST
 *
 * A zygote that takes too long to load is sent SIGKILL: LOADING → FAILED as if it had reported that.
 *
 * LOADED: it forks workers. FAILED: it has no handlers; the owner closes the link. LOST: the zygote is dead or was sent
 * SIGKILL. Its workers die with it (PDEATHSIG), and become children of the front end, which is a subreaper.
 */
#ifndef OFFLOAD_ZYGOTE_LINK_H
#define OFFLOAD_ZYGOTE_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/loop.h"

struct zygote_link;

/* The zygote reaped a worker. */
struct zygote_exit {
    unsigned slot; /* as in the request; not checked, like all that a zygote says */
    pid_t pid;
    int status; /* as waitpid(2) gives it */
    bool oom;   /* the kernel's OOM killer was at work in our control group since the last report */
    uint64_t max_rss_bytes, cpu_ms;
};

/* What a link reports to its owner. Each callback can close the link. */
struct zygote_link_events {
    void *owner;
    /* From now on zygote_link_spawn can be called. types: a descriptor of the memfd that describes the types that are
     * not built in, borrowed for the call; -1: there are none. */
    void (*loaded)(void *owner, struct zygote_link *z, int types);
    /* why: one line that says what could not be loaded; borrowed for the call. */
    void (*load_failed)(void *owner, struct zygote_link *z, const char *why);
    /* A worker was forked for this slot. The owner takes both descriptors: the worker's socket and the reading end of
     * its stderr. Both are -1 if they did not arrive; the process lives all the same. */
    void (*spawned)(void *owner, struct zygote_link *z, unsigned slot, pid_t pid, int socket, int stderr_fd);
    void (*not_spawned)(void *owner, struct zygote_link *z, unsigned slot, int error); /* error: an errno */
    void (*exited)(void *owner, struct zygote_link *z, const struct zygote_exit *e);
    /* The zygote closed its socket, or sent a datagram of a wrong size or version. It was sent SIGKILL, unless it is
     * reaped. This is the last event of a link: the owner closes it. */
    void (*lost)(void *owner, struct zygote_link *z, bool was_loaded);
};

/* A link over a connected SOCK_SEQPACKET socket to the child `pid`. Takes the socket, also if it fails. NULL with
 * errno. */
MUST_CHECK struct zygote_link *zygote_link_open(struct loop *loop, const struct zygote_link_events *events, int socket,
                                                pid_t pid);
/* Limits how long it can load the source of some types (ZYGOTE_LOADING): call it at once after zygote_link_open. */
void zygote_link_limit_load(struct zygote_link *z, int64_t limit_ns);
/* What it is loading, or has loaded last; "" if it has not said that. Valid as long as the link. */
const char *zygote_link_loading(const struct zygote_link *z);
/* Closes the socket, which makes the zygote kill its workers and exit; one that loads is sent SIGKILL. The caller reaps the zygote. Frees the link. */
void zygote_link_close(struct zygote_link *z);

pid_t zygote_link_pid(const struct zygote_link *z);
bool zygote_link_is_loaded(const struct zygote_link *z);

/* Asks for a worker: `spawned` or `not_spawned` follows, unless the zygote is lost. nice: what is added to the nice value of
 * the service. start_type: START_FORKED, or the handler that the process is to load by itself. Requests that the socket does not take wait, and are sent in their
 * order. 0, or -1 with errno: the zygote will not get it, because it is dying or memory ran out. */
MUST_CHECK int zygote_link_spawn(struct zygote_link *z, unsigned slot, unsigned nice, uint32_t start_type);
/* Makes the zygote send a signal to one of its children. The zygote does nothing if it has reaped that one. 0 or -1 as
 * above. */
MUST_CHECK int zygote_link_signal(struct zygote_link *z, pid_t pid, int signal);

/* The owner has reaped the zygote, so that its pid is not ours any more. `lost` follows when the socket is at EOF.
 * status: as waitpid(2) gives it. */
void zygote_link_set_reaped(struct zygote_link *z, int status);
bool zygote_link_is_reaped(const struct zygote_link *z);
int zygote_link_status(const struct zygote_link *z); /* if it is reaped */

#endif
