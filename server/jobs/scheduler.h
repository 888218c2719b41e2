/* scheduler.h: whose turn it is. It holds entries (jobs that have a task to send) in three classes, short, long and
 * isolated, and decides the order within each class. Which worker takes a task is decided in dispatch.c.
 *
 *   - The most urgent entry goes first (RFC 9218 section 4.1: 0 to 7, and 0 is the most). Entries of one urgency take
 *     turns: one that was served goes to the tail, so a job of ten thousand chunks and a job of one chunk alternate.
 *   - Urgency ages: an entry gains one level for each SCHEDULER_AGE_NS since it came or was last served, so nothing
 *     starves. Among equals the one that has waited longest goes first.
 *
 * It only keeps the books: it has no clock and no memory of its own, and knows no processes. Times are monotonic. Every
 * call takes the same time, however many entries there are. Front end. */
#ifndef OFFLOAD_SCHEDULER_H
#define OFFLOAD_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEDULER_LEVELS 8
#define SCHEDULER_AGE_NS INT64_C(5000000000)

enum sched_class { SCHED_SHORT, SCHED_LONG, SCHED_ISOLATED, SCHED_CLASSES };

/* Embedded in its owner, who keeps it in place while it is queued. All zero: not queued. */
struct sched_entry {
    struct sched_entry *prev, *next;
    int64_t since_ns; /* when it came, or was last served */
    uint8_t urgency, class;
    bool queued;
};

struct scheduler {
    struct sched_entry *head[SCHED_CLASSES][SCHEDULER_LEVELS]; /* lists of utlist.h */
    size_t count[SCHED_CLASSES];
};

/* Puts it at the tail of its class and urgency. now_ns must not go back from call to call. No effect if it is
 * queued. */
void sched_put(struct scheduler *s, struct sched_entry *e, enum sched_class class, unsigned urgency, int64_t now_ns);
void sched_remove(struct scheduler *s, struct sched_entry *e); /* no effect if not queued */

/* The entry whose turn it is in a class, or NULL; it stays queued. *urgency: its level after ageing, which is below 0
 * if it has waited very long. */
struct sched_entry *sched_peek(const struct scheduler *s, enum sched_class class, int64_t now_ns, int *urgency);

/* When the longest-waiting entry of a class came, or 0 if it is empty. */
int64_t sched_oldest_ns(const struct scheduler *s, enum sched_class class);

#endif
