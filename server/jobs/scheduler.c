/* scheduler.c: see scheduler.h. Front end. Each class and urgency has one list. Entries are only ever appended, with
 * the present time, so a list is in the order of since_ns, and only the eight heads have to be compared. */
#include "server/jobs/scheduler.h"

#include <utlist.h>

void sched_put(struct scheduler *s, struct sched_entry *e, enum sched_class class, unsigned urgency, int64_t now_ns) {
    unsigned level = urgency < SCHEDULER_LEVELS ? urgency : SCHEDULER_LEVELS - 1;
    if (e->queued)
        return;
    *e = (struct sched_entry){.since_ns = now_ns, .urgency = (uint8_t)level, .class = (uint8_t) class, .queued = true};
    DL_APPEND(s->head[class][level], e);
    s->count[class]++;
}

void sched_remove(struct scheduler *s, struct sched_entry *e) {
    if (!e->queued)
        return;
    DL_DELETE(s->head[e->class][e->urgency], e);
    s->count[e->class]--;
    *e = (struct sched_entry){0};
}

static int aged(const struct sched_entry *e, int64_t now_ns) {
    int64_t levels = (now_ns - e->since_ns) / SCHEDULER_AGE_NS;
    return (int)e->urgency - (int)(levels > 1000000 ? 1000000 : levels);
}

struct sched_entry *sched_peek(const struct scheduler *s, enum sched_class class, int64_t now_ns, int *urgency) {
    struct sched_entry *best = NULL;
    for (unsigned level = 0; s->count[class] > 0 && level < SCHEDULER_LEVELS; level++) {
        struct sched_entry *e = s->head[class][level];
        if (e == NULL)
            continue;
        int u = aged(e, now_ns);
        if (best == NULL || u < *urgency || (u == *urgency && e->since_ns < best->since_ns)) {
            best = e;
            *urgency = u;
        }
    }
    return best;
}

int64_t sched_oldest_ns(const struct scheduler *s, enum sched_class class) {
    int64_t oldest = 0;
    for (unsigned level = 0; s->count[class] > 0 && level < SCHEDULER_LEVELS; level++) {
        const struct sched_entry *e = s->head[class][level];
        if (e != NULL && (oldest == 0 || e->since_ns < oldest))
            oldest = e->since_ns;
    }
    return oldest;
}
