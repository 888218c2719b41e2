/* scheduler.h: whose turn it is. It holds entries (jobs that have a task to send) in three classes, short, long and
 * isolated, and decides the order within each class. Which worker takes a task is decided in dispatch.c.
 *
 *   - The most urgent level goes first (RFC 9218 section 4.1: 0 to 7, and 0 is the most).
 *   - In a level the tenants take turns. A turn is as many tasks as the tenant's weight says. So one entry of a tenant
 *     waits for one turn of each other tenant, and not for their hundred thousand entries.
 *   - The entries of one tenant in a level take turns, too: one that was served goes to the tail, so a job of ten
 *     thousand chunks and a job of one chunk alternate.
 *   - Urgency ages: a level gains one for each SCHEDULER_AGE_NS that it waits, so nothing starves. Among equals the
 *     level that has waited longest goes first.
 *
 *     class and level                          all ──► e1 ── e2 ── e3 ── e4 ── e5     as they came, or were last served
 *       │ ring                                            (when the oldest of all came)
 *       ▼
 *     group of ann ──► group of bob ──► (to the head)     the head's turn lasts until `left` is 0, then it goes to the
 *       │ entries        │ entries                        tail
 *       ▼                ▼
 *      e1 ── e2 ── e4   e3 ── e5                          in the same order
 *
 * How long does a level wait? While the entries of one tenant alone wait, in whatever class and level, it is as long as
 * the longest-waiting of the entries. While those of more tenants do, it is as long as the group at the head has waited
 * for its turn: for what counts between tenants is the turn. If it were the entry, the old entries of a tenant with a
 * long backlog would have aged above all that another one can submit, and that one's most urgent job would wait for the
 * whole backlog. For the same reason a group keeps its place in the ring as long as it has any entry, and one that
 * comes back goes to the tail: it has collected nothing meanwhile.
 *
 * It only keeps the books: it has no clock and no memory of its own, and knows no processes. Times are monotonic. Every
 * call takes the same time, however many entries and tenants there are. Front end. */
#ifndef OFFLOAD_SCHEDULER_H
#define OFFLOAD_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEDULER_LEVELS 8
#define SCHEDULER_AGE_NS INT64_C(5000000000)

enum sched_class { SCHED_SHORT, SCHED_LONG, SCHED_ISOLATED, SCHED_CLASSES };

/* The entries of a tenant in one class and level. */
struct sched_group {
    struct sched_group *prev, *next; /* in the ring; NULL: it has no entries, and is in no ring */
    struct sched_entry *entries;
    int64_t since_ns; /* when it came into the ring, or its last turn was over */
    unsigned left;    /* how many tasks are left of its turn, or of its next one */
};

/* A tenant's share. Embedded in its owner, who keeps it in place while it has entries. All zero: it has none, and the
 * weight 1. */
struct sched_tenant {
    unsigned weight; /* tasks in a turn. The owner can change it: less holds at once, more from the next turn on */
    size_t count;    /* entries */
    struct sched_group groups[SCHED_CLASSES][SCHEDULER_LEVELS];
};

/* Embedded in its owner, who keeps it in place while it is queued. All zero: not queued, and of no tenant. */
struct sched_entry {
    struct sched_entry *prev, *next;         /* among all of its class and level */
    struct sched_entry *own_prev, *own_next; /* among those of its tenant */
    struct sched_tenant *tenant;             /* set by the owner before it is queued; NULL: it is of no tenant */
    int64_t since_ns;                        /* when it came, or was last served */
    uint8_t urgency, class;
    bool queued;
};

struct sched_level {
    struct sched_entry *all;  /* lists of utlist.h */
    struct sched_group *ring; /* the head has the turn */
};

struct scheduler {
    struct sched_level levels[SCHED_CLASSES][SCHEDULER_LEVELS];
    size_t count[SCHED_CLASSES];
    size_t tenants;             /* that have entries */
    struct sched_tenant nobody; /* of the entries that are of no tenant: one more tenant */
};

/* Puts it at the tail of its class and urgency. now_ns must not go back from call to call. No effect if it is
 * queued. */
void sched_put(struct scheduler *s, struct sched_entry *e, enum sched_class class, unsigned urgency, int64_t now_ns);
/* The same, wherever it is queued before. If it stays in its class and level, its tenant keeps the place in the ring,
 * and what is left of the turn. */
void sched_put_again(struct scheduler *s, struct sched_entry *e, enum sched_class class, unsigned urgency,
                     int64_t now_ns);
/* It has had no turn. No effect if not queued. */
void sched_remove(struct scheduler *s, struct sched_entry *e);

/* The entry whose turn it is in a class, or NULL; it stays queued. *urgency: its level after ageing, which is below 0
 * if it has waited very long. */
struct sched_entry *sched_peek(const struct scheduler *s, enum sched_class class, int64_t now_ns, int *urgency);
/* A task of the entry, which sched_peek has given, is served: counts it as one of its tenant's turn. The entry stays
 * where it is. */
void sched_serve(struct scheduler *s, struct sched_entry *e, int64_t now_ns);
/* Since when the class and level of a queued entry waits, as sched_peek sees it: to compare what it gave of two
 * classes. */
int64_t sched_waits_since_ns(const struct scheduler *s, const struct sched_entry *e);

/* When the longest-waiting entry came: of the class and level of a queued entry; of a class, or 0 if it is empty; and
 * of a tenant, or 0 if it has none. */
int64_t sched_level_oldest_ns(const struct scheduler *s, const struct sched_entry *e);
int64_t sched_oldest_ns(const struct scheduler *s, enum sched_class class);
int64_t sched_tenant_oldest_ns(const struct sched_tenant *t);

#endif
