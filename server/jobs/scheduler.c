/* scheduler.c: see scheduler.h. Front end. Entries are only ever appended, with the present time, so each list is in
 * the order of since_ns; and so is a ring, whose groups come to its tail alone. Therefore only the eight heads have to be
 * compared. */
#include "server/jobs/scheduler.h"

#include <utlist.h>

static struct sched_tenant *tenant_of(struct scheduler *s, const struct sched_entry *e) {
    return e->tenant == NULL ? &s->nobody : e->tenant;
}

static struct sched_group *group_of(struct scheduler *s, const struct sched_entry *e) {
    return &tenant_of(s, e)->groups[e->class][e->urgency];
}

static struct sched_level *level_of(struct scheduler *s, const struct sched_entry *e) {
    return &s->levels[e->class][e->urgency];
}

/* Its next turn is a whole one. */
static void begin_to_wait(struct sched_group *g, const struct sched_tenant *t, int64_t now_ns) {
    g->since_ns = now_ns;
    g->left = t->weight;
}

static void leave_ring(struct sched_level *l, struct sched_group *g) {
    DL_DELETE(l->ring, g);
    g->prev = g->next = NULL;
}

/* To the tail of both of its lists. */
static void append(struct scheduler *s, struct sched_entry *e, int64_t now_ns) {
    struct sched_group *g = group_of(s, e);
    e->since_ns = now_ns;
    DL_APPEND(level_of(s, e)->all, e);
    DL_APPEND2(g->entries, e, own_prev, own_next);
}

static void take_out(struct scheduler *s, struct sched_entry *e) {
    struct sched_group *g = group_of(s, e);
    DL_DELETE(level_of(s, e)->all, e);
    DL_DELETE2(g->entries, e, own_prev, own_next);
}

static unsigned level_for(unsigned urgency) {
    return urgency < SCHEDULER_LEVELS ? urgency : SCHEDULER_LEVELS - 1;
}

void sched_put(struct scheduler *s, struct sched_entry *e, enum sched_class class, unsigned urgency, int64_t now_ns) {
    struct sched_tenant *t = tenant_of(s, e);
    if (e->queued)
        return;
    e->class = (uint8_t) class;
    e->urgency = (uint8_t)level_for(urgency);
    e->queued = true;
    append(s, e, now_ns);
    struct sched_group *g = group_of(s, e);
    if (g->prev == NULL) {
        DL_APPEND(level_of(s, e)->ring, g);
        begin_to_wait(g, t, now_ns);
    }
    s->tenants += t->count == 0;
    t->count++;
    s->count[class]++;
}

void sched_put_again(struct scheduler *s, struct sched_entry *e, enum sched_class class, unsigned urgency,
                     int64_t now_ns) {
    if (e->queued && e->class == class && e->urgency == level_for(urgency)) {
        take_out(s, e);
        append(s, e, now_ns);
        return;
    }
    sched_remove(s, e);
    sched_put(s, e, class, urgency, now_ns);
}

void sched_remove(struct scheduler *s, struct sched_entry *e) {
    struct sched_tenant *t = tenant_of(s, e);
    if (!e->queued)
        return;
    take_out(s, e);
    struct sched_group *g = group_of(s, e);
    if (g->entries == NULL)
        leave_ring(level_of(s, e), g);
    s->count[e->class]--;
    t->count--;
    s->tenants -= t->count == 0;
    *e = (struct sched_entry){.tenant = e->tenant};
}

/* Since when a level that is not empty waits. */
static int64_t waits_since_ns(const struct scheduler *s, const struct sched_level *l) {
    return s->tenants > 1 ? l->ring->since_ns : l->all->since_ns;
}

static int aged(unsigned level, int64_t since_ns, int64_t now_ns) {
    int64_t levels = (now_ns - since_ns) / SCHEDULER_AGE_NS;
    return (int)level - (int)(levels > 1000000 ? 1000000 : levels);
}

struct sched_entry *sched_peek(const struct scheduler *s, enum sched_class class, int64_t now_ns, int *urgency) {
    struct sched_entry *best = NULL;
    int64_t best_since_ns = 0;
    for (unsigned level = 0; s->count[class] > 0 && level < SCHEDULER_LEVELS; level++) {
        const struct sched_level *l = &s->levels[class][level];
        if (l->ring == NULL)
            continue;
        int64_t since_ns = waits_since_ns(s, l);
        int u = aged(level, since_ns, now_ns);
        if (best == NULL || u < *urgency || (u == *urgency && since_ns < best_since_ns)) {
            best = l->ring->entries;
            best_since_ns = since_ns;
            *urgency = u;
        }
    }
    return best;
}

void sched_serve(struct scheduler *s, struct sched_entry *e, int64_t now_ns) {
    const struct sched_tenant *t = tenant_of(s, e);
    struct sched_level *l = level_of(s, e);
    struct sched_group *g = group_of(s, e);
    g->left = g->left < t->weight ? g->left : t->weight; /* the weight can have become less */
    if (g->left > 1) {
        g->left--;
        return;
    }
    begin_to_wait(g, t, now_ns);
    if (g->next == NULL)
        return; /* it is alone, since the head is served */
    DL_DELETE(l->ring, g);
    DL_APPEND(l->ring, g);
}

int64_t sched_waits_since_ns(const struct scheduler *s, const struct sched_entry *e) {
    return waits_since_ns(s, &s->levels[e->class][e->urgency]);
}

int64_t sched_level_oldest_ns(const struct scheduler *s, const struct sched_entry *e) {
    return s->levels[e->class][e->urgency].all->since_ns;
}

static int64_t older_of(int64_t oldest_ns, const struct sched_entry *head) {
    return head != NULL && (oldest_ns == 0 || head->since_ns < oldest_ns) ? head->since_ns : oldest_ns;
}

int64_t sched_oldest_ns(const struct scheduler *s, enum sched_class class) {
    int64_t oldest_ns = 0;
    for (unsigned level = 0; s->count[class] > 0 && level < SCHEDULER_LEVELS; level++)
        oldest_ns = older_of(oldest_ns, s->levels[class][level].all);
    return oldest_ns;
}

int64_t sched_tenant_oldest_ns(const struct sched_tenant *t) {
    int64_t oldest_ns = 0;
    for (int class = 0; t->count > 0 && class < SCHED_CLASSES; class ++)
        for (unsigned level = 0; level < SCHEDULER_LEVELS; level++)
            oldest_ns = older_of(oldest_ns, t->groups[class][level].entries);
    return oldest_ns;
}
