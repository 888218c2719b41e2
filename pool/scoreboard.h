/* scoreboard.h: a page of shared memory per worker slot, which both ends read and write without a message: what the
 * worker works on, how far it is, which processes work for it, and which of its tasks are cancelled. It is a hint, and the wire is the truth. A
 * worker maps its own page only, so one that writes nonsense misleads the front end about itself and about no other.
 * Front end and workers.
 */
#ifndef OFFLOAD_SCOREBOARD_H
#define OFFLOAD_SCOREBOARD_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/attributes.h"
#include "handlers/host/host.h"
#include "handlers/program/programs.h"
#include "pool/wire.h"

#define SCOREBOARD_PAGE 4096

struct scoreboard_slot {
    _Atomic uint64_t current; /* worker: the ticket being worked on; 0: none */
    /* worker: the last ticket whose work is done. Its reply, and those before it, can still be in the worker. */
    _Atomic uint64_t passed;
    _Atomic uint64_t done, total; /* worker: progress of that ticket; total 0: unknown */
    /* worker: the pids of its program processes, by program; 0: none. Their memory counts as the worker's. */
    _Atomic int32_t programs[PROGRAMS_MAX];
    /* worker: what its handlers count, and what those of the slot's earlier workers have counted */
    _Atomic uint64_t counts[HOST_MAX_COUNTERS];
    /* front end: cancelled[ticket % WIRE_MAX_IN_FLIGHT] == ticket asks the worker to stop that ticket */
    _Atomic uint64_t cancelled[WIRE_MAX_IN_FLIGHT];
};
_Static_assert(sizeof(struct scoreboard_slot) <= SCOREBOARD_PAGE, "a slot is one page");

/* A memfd with `slots` pages, which the caller closes; -1 with errno. */
MUST_CHECK int scoreboard_new(unsigned slots);
/* Maps one slot's page; NULL with errno. Unmapped by scoreboard_unmap. */
MUST_CHECK struct scoreboard_slot *scoreboard_map(int fd, unsigned slot);
void scoreboard_unmap(struct scoreboard_slot *s);
/* The same of all slots, for the front end. Its children do not inherit the mapping: the first zygote is forked, and its
 * workers would have the pages of all others. */
MUST_CHECK void *scoreboard_map_all(int fd, unsigned slots);
void scoreboard_unmap_all(void *all, unsigned slots);
struct scoreboard_slot *scoreboard_at(void *all, unsigned slot);
void scoreboard_clear(struct scoreboard_slot *s); /* before the slot's next worker starts; the counts stay */

#endif
